// The product of many vectors with a dense matrix, y = x·Wᵀ: its specification in double, and the kernel's host side.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";
import { sharedScratch } from "../gpu/shared.ts";
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
  /**
   * Adds y = x·Wᵀ for the rows of one part.
   *
   * @param x (vectors, cols) f32. @param y (vectors, rows of all parts) f32. Both row-major storage buffers.
   */
  record(pass: GPUComputePassEncoder, x: GPUBuffer, y: GPUBuffer, vectors: number, part: WeightPart): void;
  /** x (vectors, cols) with whole quads, as `record` takes it: itself, or a copy that is added to the pass. */
  quads(pass: GPUComputePassEncoder, x: GPUBuffer, vectors: number): GPUBuffer;
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
  const { device } = gpu, { rows, cols } = o, quads = Math.ceil(cols / 4);
  const variant = chosen(gpu, o.variant), { side, lanes } = SHAPES[variant];
  const entry = o.dtype === "f16" ? `${variant}_half` : variant, file = "matmul.wgsl";
  const multiply = await loadKernel(gpu, { file, entry });
  const pad = cols % 4 === 0 ? null : await loadKernel(gpu, { file, entry: "pad" });
  const uniforms = new Map<string, GPUBuffer>();
  const uniformOf = (vectors: number, part: Omit<WeightPart, "buffer">) => {
    const words = [vectors, part.rows, quads, part.rowStride, part.quadStride, rows, part.first, cols];
    const key = words.join(" ");
    let uniform = uniforms.get(key);
    if (!uniform) {
      uniform = buffers.uniform(8);
      device.queue.writeBuffer(uniform, 0, Uint32Array.from(words));
      uniforms.set(key, uniform);
    }
    return uniform;
  };
  const step = (
    pass: GPUComputePassEncoder,
    pipeline: GPUComputePipeline,
    all: readonly [number, GPUBuffer][],
    groups: number,
  ) => {
    const entries = all.map(([binding, buffer]) => ({ binding, resource: { buffer } }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(...gridOf(groups, device.limits.maxComputeWorkgroupsPerDimension));
  };
  return {
    variant,
    quads(pass, x, vectors) {
      if (!pad) return x;
      const padded = sharedScratch(gpu, "vectors in whole quads", vectors * quads * 16);
      const uniform = uniformOf(vectors, { first: 0, rows: 0, rowStride: 0, quadStride: 0 });
      step(pass, pad, [[0, uniform], [1, x], [3, padded]], Math.ceil(vectors * quads / 64));
      return padded;
    },
    record(pass, x, y, vectors, part) {
      const tiles = Math.ceil(vectors / side) * Math.ceil(part.rows / side);
      const all = [[0, uniformOf(vectors, part)], [1, x], [2, part.buffer], [3, y]] as [number, GPUBuffer][];
      step(pass, multiply, all, Math.ceil(tiles / lanes));
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
  const product = await bindMatmul(gpu, buffers, { ...o, rows, cols, dtype }), { variant } = product;
  return {
    rows,
    cols,
    variant: dtype === "f32" ? `f32-${variant}` : `f16-${variant}`,
    bytes: parts.reduce((n, p) => n + p.buffer.size, 0),
    record(pass, x, y, vectors) {
      const whole = product.quads(pass, x, vectors);
      for (const part of parts) product.record(pass, whole, y, vectors, part);
    },
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
