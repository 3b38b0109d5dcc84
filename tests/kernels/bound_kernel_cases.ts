// Runs a bound kernel on data once, twice, and gives back what it wrote.
import assert from "node:assert/strict";
import { type Buffers, openBuffers } from "../../lib/gpu/buffers.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { rng } from "../../lib/io/rng.ts";
import type { Floats } from "../../lib/io/tensor.ts";
import type { BoundKernel } from "../../lib/kernels/bound_kernel.ts";
import { FOLD, openTexels } from "../../lib/kernels/texels.ts";

/** float32's rounding. */
export const U = 2 ** -24;

/** Buffers for one kernel: `input` uploads, `output` is full of NaN. */
export interface KernelBench {
  input(data: ArrayLike<number>): GPUBuffer;
  words(data: ArrayLike<number>): GPUBuffer;
  output(count: number): GPUBuffer;
  /** A texture of `height` rows of `width` vec4s, folded (texels.ts), full of `data` or of NaN. */
  texels(width: number, height: number, data?: Floats): GPUTexture;
  step: GPUBuffer;
}

/**
 * Runs a kernel for `vectors` tokens from position `start`.
 *
 * @returns the wanted outputs, asserted to be the same bits when it runs a second time.
 */
export async function runKernel(
  gpu: Gpu,
  start: number,
  vectors: number,
  bind: (bench: KernelBench) => Promise<{ kernel: BoundKernel; outputs: readonly (GPUBuffer | GPUTexture)[] }>,
): Promise<Floats[]> {
  const runs: Floats[][] = [];
  for (let run = 0; run < 2; run++) {
    const buffers = openBuffers(gpu), textures: GPUTexture[] = [], step = buffers.uniform(2);
    gpu.device.queue.writeBuffer(step, 0, Uint32Array.of(start, vectors));
    const { kernel, outputs } = await bind({
      input: (data) => buffers.upload(Float32Array.from(data), "input"),
      words: (data) => buffers.upload(Uint32Array.from(data), "words"),
      output: (count) => buffers.scratch(count * 4, "output"),
      texels: (width, height, data) => {
        const { texture } = openTexels(gpu, "texels", width, height), count = texture.width * texture.height * 4;
        const all = new Float32Array(count).fill(NaN), folds = Math.ceil(width / FOLD);
        for (let r = 0; data && r < height; r++) {
          all.set(data.subarray(r * width * 4, (r + 1) * width * 4), r * folds * texture.width * 4);
        }
        gpu.device.queue.writeTexture({ texture }, all, { bytesPerRow: texture.width * 16 }, [
          texture.width,
          texture.height,
        ]);
        textures.push(texture);
        return texture;
      },
      step,
    });
    const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
    kernel.record(pass, start, vectors);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    const back: Floats[] = [];
    for (const b of outputs) {
      if (b instanceof GPUBuffer) back.push(new Float32Array(await buffers.read(b, b.size)));
      else back.push(await readTexels(gpu, buffers, b));
    }
    runs.push(back);
    buffers.free();
    for (const t of textures) t.destroy();
  }
  const bits = (all: readonly Floats[]) => all.map((f) => new Uint32Array(f.buffer));
  assert.deepEqual(bits(runs[1]), bits(runs[0]), "the same bits when run twice");
  return runs[0];
}

/** All texels of a texture, row by row; its rows in memory are padded to 256 bytes. */
async function readTexels(gpu: Gpu, buffers: Buffers, texture: GPUTexture): Promise<Floats> {
  const { width, height } = texture, bytesPerRow = Math.ceil(width * 16 / 256) * 256;
  const copy = buffers.scratch(bytesPerRow * height, "copy"), encoder = gpu.device.createCommandEncoder();
  encoder.copyTextureToBuffer({ texture }, { buffer: copy, bytesPerRow }, [width, height]);
  gpu.device.queue.submit([encoder.finish()]);
  const padded = new Float32Array(await buffers.read(copy, copy.size)), out = new Float32Array(width * height * 4);
  for (let r = 0; r < height; r++) {
    out.set(padded.subarray(r * bytesPerRow / 4, r * bytesPerRow / 4 + width * 4), r * width * 4);
  }
  return out;
}

/** Normal numbers. */
export function normals(count: number, seed: string, scale = 1): Floats {
  const random = rng(5, seed);
  return Float32Array.from({ length: count }, () => scale * random.normal());
}
