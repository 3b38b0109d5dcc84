// Runs a bound kernel on data once, twice, and gives back what it wrote.
import assert from "node:assert/strict";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { rng } from "../../lib/io/rng.ts";
import type { Floats } from "../../lib/io/tensor.ts";
import type { BoundKernel } from "../../lib/kernels/bound_kernel.ts";

/** float32's rounding. */
export const U = 2 ** -24;

/** Buffers for one kernel: `input` uploads, `output` is full of NaN. */
export interface KernelBench {
  input(data: ArrayLike<number>): GPUBuffer;
  words(data: ArrayLike<number>): GPUBuffer;
  output(count: number): GPUBuffer;
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
  bind: (bench: KernelBench) => Promise<{ kernel: BoundKernel; outputs: readonly GPUBuffer[] }>,
): Promise<Floats[]> {
  const runs: Floats[][] = [];
  for (let run = 0; run < 2; run++) {
    const buffers = openBuffers(gpu), step = buffers.uniform(2);
    gpu.device.queue.writeBuffer(step, 0, Uint32Array.of(start, vectors));
    const { kernel, outputs } = await bind({
      input: (data) => buffers.upload(Float32Array.from(data), "input"),
      words: (data) => buffers.upload(Uint32Array.from(data), "words"),
      output: (count) => buffers.scratch(count * 4, "output"),
      step,
    });
    const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
    kernel.record(pass, start, vectors);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    const back: Floats[] = [];
    for (const b of outputs) back.push(new Float32Array(await buffers.read(b, b.size)));
    runs.push(back);
    buffers.free();
  }
  const bits = (all: readonly Floats[]) => all.map((f) => new Uint32Array(f.buffer));
  assert.deepEqual(bits(runs[1]), bits(runs[0]), "the same bits when run twice");
  return runs[0];
}

/** Normal numbers. */
export function normals(count: number, seed: string, scale = 1): Floats {
  const random = rng(5, seed);
  return Float32Array.from({ length: count }, () => scale * random.normal());
}
