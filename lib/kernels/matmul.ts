// The product of many vectors with a dense matrix, y = x·Wᵀ: its specification in double, and the kernel's host side.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import type { DeviceLinear } from "./linear.ts";

/** "wide" for drivers that run shaders on a CPU, "tiled" for GPUs; "auto" asks the adapter. */
export type MatmulVariant = "auto" | "wide" | "tiled";

/** Vectors and rows that a lane (wide) or a workgroup (tiled) takes, and lanes of a workgroup. */
const SHAPES = { wide: { side: 16, lanes: 8 }, tiled: { side: 64, lanes: 1 } } as const;

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
export interface WeightPart {
  readonly buffer: GPUBuffer;
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

/** A product that can be added to a compute pass. */
export interface BoundMatmul {
  readonly variant: "wide" | "tiled";
  /** Adds y = x·Wᵀ. @param x (vectors, cols) f32. @param y (vectors, rows) f32. Both row-major storage buffers. */
  record(pass: GPUComputePassEncoder, x: GPUBuffer, y: GPUBuffer, vectors: number): void;
}

/**
 * Prepares products with weights that already lie on the device.
 *
 * @param gpu an open device. @param buffers where uniforms and scratch memory are kept. @param o what W is: `parts` of its
 * (rows, cols), in f32 or f16, and which variant to take.
 * @throws LabError of kind "device" where the kernel does not compile.
 * @example
 * ```ts
 * import { openBuffers } from "../gpu/buffers.ts";
 * import { openGpu } from "../gpu/device.ts";
 * import { bindMatmul } from "./matmul.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const buffers = openBuffers(gpu), buffer = buffers.upload(Float32Array.of(1, 2, 0, 0), "W (1, 2)");
 *   const parts = [{ buffer, first: 0, rows: 1, rowStride: 1, quadStride: 1 }];
 *   console.log((await bindMatmul(gpu, buffers, { rows: 1, cols: 2, parts, dtype: "f32" })).variant);
 *   buffers.free();
 *   gpu.close();
 * }
 * ```
 */
export async function bindMatmul(gpu: Gpu, buffers: Buffers, o: {
  readonly rows: number;
  readonly cols: number;
  readonly parts: readonly WeightPart[];
  readonly dtype: "f32" | "f16";
  readonly variant?: MatmulVariant;
}): Promise<BoundMatmul> {
  const { device } = gpu, { rows, cols, parts } = o;
  const variant = chosen(gpu, o.variant), { side, lanes } = SHAPES[variant];
  const entry = o.dtype === "f16" ? `${variant}_half` : variant;
  const multiply = await loadKernel(gpu, { file: "matmul.wgsl", entry });
  const rounding = cols % 4 === 0 ? null : await openPadding(gpu, buffers, cols);
  const uniforms = new Map<number, GPUBuffer[]>();
  const uniformsOf = (vectors: number) => {
    let known = uniforms.get(vectors);
    if (!known) {
      known = parts.map((part) => {
        const { rowStride, quadStride, first } = part, uniform = buffers.uniform(8);
        const words = Uint32Array.of(vectors, part.rows, Math.ceil(cols / 4), rowStride, quadStride, rows, first, cols);
        device.queue.writeBuffer(uniform, 0, words);
        return uniform;
      });
      uniforms.set(vectors, known);
    }
    return known;
  };
  return {
    variant,
    record(pass, x, y, vectors) {
      const own = uniformsOf(vectors);
      const from = rounding ? rounding(pass, x, own[0], vectors) : x;
      pass.setPipeline(multiply);
      for (const [i, part] of parts.entries()) {
        const tiles = Math.ceil(vectors / side) * Math.ceil(part.rows / side);
        bind(gpu, pass, multiply, [own[i], from, part.buffer, y]);
        pass.dispatchWorkgroups(...gridOf(Math.ceil(tiles / lanes), device.limits.maxComputeWorkgroupsPerDimension));
      }
    },
  };
}

/** The variant for a device, where none is asked for. */
export function chosen(gpu: Gpu, variant: MatmulVariant = "auto"): "wide" | "tiled" {
  return variant === "auto" ? gpu.software ? "wide" : "tiled" : variant;
}

/** Buffers by binding, from 0 on, for the next dispatch of a pass. */
export function bind(gpu: Gpu, pass: GPUComputePassEncoder, pipeline: GPUComputePipeline, all: readonly GPUBuffer[]) {
  const entries = all.map((buffer, binding) => ({ binding, resource: { buffer } }));
  pass.setBindGroup(0, gpu.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
}

/** Records a copy of x (vectors, cols) in which each vector has whole quads; gives the buffer it will lie in. */
async function openPadding(gpu: Gpu, buffers: Buffers, cols: number) {
  const pipeline = await loadKernel(gpu, { file: "matmul.wgsl", entry: "pad" }), quads = Math.ceil(cols / 4);
  let padded: GPUBuffer | null = null;
  return (pass: GPUComputePassEncoder, x: GPUBuffer, uniform: GPUBuffer, vectors: number): GPUBuffer => {
    const bytes = vectors * quads * 16;
    // A smaller one may still be in use by an unsubmitted pass: it stays until the linear goes.
    if (!padded || padded.size < bytes) padded = buffers.scratch(bytes, "padded vectors");
    const entries = [uniform, x, padded].map((buffer, i) => ({ binding: [0, 1, 3][i], resource: { buffer } }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, gpu.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    const groups = Math.ceil(vectors * quads / 64);
    pass.dispatchWorkgroups(...gridOf(groups, gpu.device.limits.maxComputeWorkgroupsPerDimension));
    return padded;
  };
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
  const { dtype = "f32" } = o, { rows, cols } = w, buffers = openBuffers(gpu);
  const rowStride = Math.ceil(cols / (dtype === "f16" ? 8 : 4)),
    atOnce = Math.max(1, Math.floor(gpu.maxBytes / (rowStride * 16)));
  const parts: WeightPart[] = [];
  for (let first = 0; first < rows; first += atOnce) {
    const own = Math.min(atOnce, rows - first), data = w.data.subarray(first * cols, (first + own) * cols);
    const stored = dtype === "f16"
      ? halvesOf(data, own, cols, rowStride * 8)
      : paddedRows(data, own, cols, rowStride * 4);
    parts.push({ buffer: buffers.upload(stored, "weights"), first, rows: own, rowStride, quadStride: 1 });
  }
  const { variant, record } = await bindMatmul(gpu, buffers, { rows, cols, parts, dtype, ...o });
  return {
    rows,
    cols,
    variant: dtype === "f32" ? `f32-${variant}` : `f16-${variant}`,
    bytes: parts.reduce((n, p) => n + p.buffer.size, 0),
    record,
    destroy: () => buffers.free(),
  };
}

/** Rows with zeros behind them up to `stride`; the data itself where that is none. */
function paddedRows(data: Floats, rows: number, cols: number, stride: number): Floats {
  if (stride === cols) return data;
  const out = new Float32Array(rows * stride);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * cols, (r + 1) * cols), r * stride);
  return out;
}

/** Rows as f16, zeros behind them up to `stride`. */
function halvesOf(data: Floats, rows: number, cols: number, stride: number): Uint32Array<ArrayBuffer> {
  const out = new Float16Array(rows * stride);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * cols, (r + 1) * cols), r * stride);
  return new Uint32Array(out.buffer);
}
