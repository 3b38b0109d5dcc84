// The product of many vectors with a dense matrix, y = x·Wᵀ: its specification in double, and the kernel's host side.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";
import { maxTexels, sharedScratch, sharedTexels, TEXELS_A_ROW } from "../gpu/shared.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import type { DeviceLinear } from "./linear.ts";

/** "wide" for drivers that run shaders on a CPU, "tiled" for GPUs; "auto" asks the adapter. */
export type MatmulVariant = "auto" | "wide" | "tiled";

/** Vectors and rows that a lane (wide) or a workgroup (tiled) takes, and lanes of a workgroup. */
const SHAPES = { wide: { vectors: 16, rows: 8, lanes: 8 }, tiled: { vectors: 64, rows: 64, lanes: 1 } } as const;

/** From so many vectors on a copy of weights from a buffer to a texture pays. */
const MANY = 256;

/**
 * y = x·Wᵀ in double: the specification of wgsl/matmul.wgsl.
 *
 * @param w W (rows, cols). @param x (vectors, cols).
 * @returns y (vectors, rows), and Σ |x·w| of each, which rounding bounds are made of.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { multiplyDense } from "./matmul.ts";
 * const w = { data: Float32Array.of(1, 2, 3, -4), rows: 2, cols: 2 };
 * const { y, magnitude } = multiplyDense(w, Float32Array.of(1, 1), 1);
 * assert.deepEqual([[...y], [...magnitude]], [[3, -1], [3, 7]]);
 * ```
 */
export function multiplyDense(
  w: Matrix,
  x: Floats,
  vectors: number,
): { readonly y: Float64Array<ArrayBuffer>; readonly magnitude: Float64Array<ArrayBuffer> } {
  const { rows, cols } = w, y = new Float64Array(vectors * rows), magnitude = new Float64Array(vectors * rows);
  for (let v = 0, i = 0; v < vectors; v++) {
    for (let r = 0; r < rows; r++, i++) {
      for (let c = 0; c < cols; c++) {
        const product = x[v * cols + c] * w.data[r * cols + c];
        y[i] += product;
        magnitude[i] += Math.abs(product);
      }
    }
  }
  return { y, magnitude };
}

/** Some rows of W on the device, and how they lie there. */
export type WeightPart =
  & {
    /** The first of these rows in y. */
    readonly first: number;
    readonly rows: number;
    /**
     * From row to row and from quad to quad of columns: in quads (f32) or pairs of quads (f16: four words, of which the
     * lower halves come first). What lies beyond the last column up to the whole quad, or pair, is zero.
     */
    readonly rowStride: number;
    readonly quadStride: number;
  }
  & ({ readonly buffer: GPUBuffer } | {
    /** "wide" only, and faster there; quadStride 1: a storage texture in rows of 1024 texels, read as one row. */
    readonly texels: GPUTexture;
  });

/** Vectors as `record` takes them: a buffer of whole quads, or storage textures that hold some vectors each. */
export type Vectors =
  | GPUBuffer
  | readonly {
    readonly texels: GPUTexture;
    readonly first: number;
    readonly count: number;
  }[];

/** A product that can be added to a compute pass. */
export interface BoundMatmul {
  readonly variant: "wide" | "tiled";
  /** x (vectors, cols) f32, row-major, in the form that `record` takes; a copy, where there is one, is added to the pass. */
  quads(pass: GPUComputePassEncoder, x: GPUBuffer, vectors: number): Vectors;
  /** Adds y = x·Wᵀ for the rows of one part. @param y (vectors, rows of all parts) f32, row-major, a storage buffer. */
  record(pass: GPUComputePassEncoder, x: Vectors, y: GPUBuffer, vectors: number, part: WeightPart): void;
}

/**
 * Prepares products with weights that already lie on the device.
 *
 * @param gpu an open device. @param buffers where uniforms are kept. @param o W's (rows, cols), how wide its weights are,
 * and which variant to take.
 * @throws LabError of kind "device" where the kernel does not compile.
 * @example
 * ```ts
 * import { openBuffers } from "../gpu/buffers.ts";
 * import { openGpu } from "../gpu/device.ts";
 * import { bindMatmul } from "./matmul.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const buffers = openBuffers(gpu);
 *   console.log((await bindMatmul(gpu, buffers, { rows: 1, cols: 2, dtype: "f32" })).variant);
 *   buffers.free();
 *   gpu.close();
 * }
 * ```
 */
export async function bindMatmul(gpu: Gpu, buffers: Buffers, o: {
  readonly rows: number;
  readonly cols: number;
  readonly dtype: "f32" | "f16";
  readonly variant?: MatmulVariant;
}): Promise<BoundMatmul> {
  const { device } = gpu, { rows, cols } = o, quads = Math.ceil(cols / 4), file = "matmul.wgsl";
  const variant = chosen(gpu, o.variant), wide = variant === "wide", shape = SHAPES[variant];
  const multiply = await loadKernel(gpu, { file, entry: o.dtype === "f16" ? `${variant}_half` : variant });
  const prepare = wide || cols % 4 > 0 ? await loadKernel(gpu, { file, entry: wide ? "x_to_texels" : "pad" }) : null;
  const copy = wide ? await loadKernel(gpu, { file, entry: "w_to_texels" }) : null;
  const loose = wide ? await loadKernel(gpu, { file, entry: "wide_loose" }) : multiply;
  const uniforms = new Map<string, GPUBuffer>();
  const uniformOf = (
    vectors: number,
    vFirst: number,
    part: Pick<WeightPart, "first" | "rows" | "rowStride" | "quadStride">,
  ) => {
    const words = [vectors, part.rows, quads, part.rowStride, part.quadStride, rows, part.first, cols, vFirst];
    const key = words.join(" ");
    let uniform = uniforms.get(key);
    if (!uniform) {
      uniform = buffers.uniform(12);
      device.queue.writeBuffer(uniform, 0, Uint32Array.from(words));
      uniforms.set(key, uniform);
    }
    return uniform;
  };
  const step = (
    pass: GPUComputePassEncoder,
    pipeline: GPUComputePipeline,
    bound: Readonly<Record<number, GPUBuffer | GPUTexture>>,
    groups: number,
  ) => {
    const entries = Object.entries(bound).map(([binding, r]) => ({
      binding: Number(binding),
      resource: r instanceof GPUTexture ? r.createView() : { buffer: r },
    }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(...gridOf(groups, device.limits.maxComputeWorkgroupsPerDimension));
  };
  const none = { first: 0, rows: 0, rowStride: 0, quadStride: 0 };
  return {
    variant,
    quads(pass, x, vectors) {
      if (!prepare) return x;
      if (!wide) {
        const padded = sharedScratch(gpu, "vectors in whole quads", vectors * quads * 16);
        step(pass, prepare, { 0: uniformOf(vectors, 0, none), 1: x, 3: padded }, Math.ceil(vectors * quads / 64));
        return padded;
      }
      const atOnce = Math.max(1, Math.floor(maxTexels(gpu) / quads)), chunks = [];
      for (let first = 0; first < vectors; first += atOnce) {
        const count = Math.min(atOnce, vectors - first);
        const texels = sharedTexels(gpu, `vectors, chunk ${chunks.length}`, count * quads);
        step(pass, prepare, { 0: uniformOf(count, first, none), 1: x, 3: texels }, Math.ceil(count * quads / 64));
        chunks.push({ texels, first, count });
      }
      return chunks;
    },
    record(pass, x, y, vectors, part) {
      let own = part;
      if (copy && "buffer" in part && vectors >= MANY && part.rows * quads <= maxTexels(gpu)) {
        const texels = sharedTexels(gpu, "rows of weights", part.rows * quads);
        const bound = { 0: uniformOf(0, 0, part), 2: part.buffer, 3: texels };
        step(pass, copy, bound, Math.ceil(part.rows * quads / 64));
        own = { first: part.first, rows: part.rows, rowStride: quads, quadStride: 1, texels };
      }
      const w = "buffer" in own ? own.buffer : own.texels, pipeline = "buffer" in own ? loose : multiply;
      const chunks = x instanceof GPUBuffer ? [{ texels: x, first: 0, count: vectors }] : x;
      for (const { texels, first, count } of chunks) {
        const tiles = Math.ceil(count / shape.vectors) * Math.ceil(own.rows / shape.rows);
        const bound = { 0: uniformOf(count, first, own), 1: texels, 2: w, 3: y };
        step(pass, pipeline, bound, Math.ceil(tiles / shape.lanes));
      }
    },
  };
}

/** The variant for a device, where none is asked for. */
export function chosen(gpu: Gpu, variant: MatmulVariant = "auto"): "wide" | "tiled" {
  return variant === "auto" ? gpu.software ? "wide" : "tiled" : variant;
}

/**
 * Uploads a dense matrix for products with many vectors. Larger ones than a binding holds lie in several parts.
 *
 * @param gpu an open device. @param w W (rows, cols). @param o which kernel, and how wide weights lie on the device.
 * @returns the linear; `destroy` it when done.
 * @throws LabError of kind "device" where the device fails.
 * Source: register tiles as in surfgrad's and jax-js's WGSL products, shared ones as in tfjs-backend-webgpu's.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openMatmul } from "./matmul.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openMatmul(gpu, { data: Float32Array.of(1, 2), rows: 1, cols: 2 });
 *   console.log(linear.variant, linear.bytes);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openMatmul(
  gpu: Gpu,
  w: Matrix,
  o: { readonly variant?: MatmulVariant; readonly dtype?: "f32" | "f16" } = {},
): Promise<DeviceLinear> {
  const { dtype = "f32" } = o, { rows, cols } = w, buffers = openBuffers(gpu), textures: GPUTexture[] = [];
  const rowStride = Math.ceil(cols / (dtype === "f16" ? 8 : 4)), wide = chosen(gpu, o.variant) === "wide";
  const atOnce = Math.max(1, Math.floor((wide ? maxTexels(gpu) : gpu.maxBytes / 16) / rowStride));
  const parts: WeightPart[] = [];
  let bytes = 0;
  for (let first = 0; first < rows; first += atOnce) {
    const own = Math.min(atOnce, rows - first), data = w.data.subarray(first * cols, (first + own) * cols);
    const height = Math.ceil(own * rowStride / TEXELS_A_ROW), all = wide ? height * TEXELS_A_ROW : own * rowStride;
    const stored = dtype === "f16"
      ? halvesOf(data, own, cols, rowStride * 8, all * 8)
      : paddedRows(data, own, cols, rowStride * 4, all * 4);
    bytes += stored.byteLength;
    const part = { first, rows: own, rowStride, quadStride: 1 };
    if (wide) {
      const texels = gpu.device.createTexture({
        label: "weights",
        size: [TEXELS_A_ROW, height],
        format: dtype === "f16" ? "rgba32uint" : "rgba32float",
        usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
      });
      textures.push(texels);
      const layout = { bytesPerRow: TEXELS_A_ROW * 16 };
      gpu.device.queue.writeTexture({ texture: texels }, stored, layout, [TEXELS_A_ROW, height]);
      parts.push({ ...part, texels });
    } else parts.push({ ...part, buffer: buffers.upload(stored, "weights") });
  }
  const product = await bindMatmul(gpu, buffers, { ...o, rows, cols, dtype }), { variant } = product;
  return {
    rows,
    cols,
    variant: dtype === "f32" ? `f32-${variant}` : `f16-${variant}`,
    bytes,
    record(pass, x, y, vectors) {
      const whole = product.quads(pass, x, vectors);
      for (const part of parts) product.record(pass, whole, y, vectors, part);
    },
    destroy() {
      buffers.free();
      for (const texture of textures.splice(0)) texture.destroy();
    },
  };
}

/** Rows with zeros behind them up to `stride`, and `size` in all; the data itself where that is none. */
function paddedRows(data: Floats, rows: number, cols: number, stride: number, size: number): Floats {
  if (size === data.length) return data;
  const out = new Float32Array(size);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * cols, (r + 1) * cols), r * stride);
  return out;
}

/** Rows as f16, zeros behind them up to `stride`, and `size` in all. */
function halvesOf(data: Floats, rows: number, cols: number, stride: number, size: number): Uint32Array<ArrayBuffer> {
  const out = new Float16Array(size);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * cols, (r + 1) * cols), r * stride);
  return new Uint32Array(out.buffer);
}
