// The product of many vectors with a packed matrix: dequantized as its tiles are multiplied, never whole.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";
import { maxTexels, sharedScratch } from "../gpu/shared.ts";
import { openDequantizer, type PackedOnDevice, uploadPacked } from "./dequantize.ts";
import type { DeviceLinear } from "./linear.ts";
import { bindMatmul, chosen, type MatmulVariant } from "./matmul.ts";
import { checkPackedMatrix, type PackedMatrix } from "./packed_matrix.ts";

/** A product with a packed matrix that can be added to a compute pass. */
export interface BoundPackedMatmul {
  readonly variant: "wide" | "tiled";
  /** Adds y = x·Ŵᵀ. @param x (vectors, cols) f32. @param y (vectors, place.rows) f32. Both row-major storage buffers. */
  record(pass: GPUComputePassEncoder, x: GPUBuffer, y: GPUBuffer, vectors: number): void;
}

/** Floats that software drivers dequantize at a time: they stay in the second cache, and a megabyte is all that it takes. */
const SLICE_FLOATS = 2 ** 18;

/**
 * Prepares products of many vectors with a packed matrix that lies on the device.
 *
 * "tiled" dequantizes as tiles come into shared memory, in one dispatch. "wide" dequantizes some rows into scratch memory
 * of a megabyte that all linears share and multiplies by them, slice after slice: on a software driver the codes of a row
 * are unpacked once, not once for every 16 vectors.
 *
 * @param gpu an open device. @param buffers where uniforms are kept. @param m (rows, cols). @param o which variant; the
 * part of y that these rows are, where there are more: `rows` of all, and the `first` of these.
 * @throws LabError of kind "device" where a kernel does not compile.
 * Source: dequantization inside the product as in onnxruntime's MatMulNBits and llama.cpp's mul_mat for WebGPU.
 * @example
 * ```ts
 * import { openBuffers } from "../gpu/buffers.ts";
 * import { openGpu } from "../gpu/device.ts";
 * import { uploadPacked } from "./dequantize.ts";
 * import { bindPackedMatmul } from "./matmul_packed.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const buffers = openBuffers(gpu);
 *   const product = await bindPackedMatmul(gpu, buffers, uploadPacked(buffers, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) }));
 *   console.log(product.variant);
 *   buffers.free();
 *   gpu.close();
 * }
 * ```
 */
export async function bindPackedMatmul(
  gpu: Gpu,
  buffers: Buffers,
  m: PackedOnDevice,
  o: { readonly variant?: MatmulVariant; readonly place?: { readonly rows: number; readonly first: number } } = {},
): Promise<BoundPackedMatmul> {
  const { rows, cols } = m, place = o.place ?? { rows, first: 0 }, variant = chosen(gpu, o.variant);
  const dense = await bindMatmul(gpu, buffers, { rows: place.rows, cols, dtype: "f32", variant });
  if (variant === "wide") {
    const dequantizer = await openDequantizer(gpu, buffers, m), { stride } = dequantizer;
    const atOnce = Math.max(
      1,
      Math.floor(Math.min(SLICE_FLOATS, gpu.maxBytes / 4, maxTexels(gpu) * 4) / stride / 16) * 16,
    );
    return {
      variant,
      record(pass, x, y, vectors) {
        const whole = dense.quads(pass, x, vectors);
        const slice = sharedScratch(gpu, "dequantized rows", Math.min(atOnce, rows) * stride * 4);
        for (let first = 0; first < rows; first += atOnce) {
          const count = Math.min(atOnce, rows - first);
          dequantizer.record(pass, slice, first, count);
          const part = { first: place.first + first, rows: count, rowStride: stride / 4, quadStride: 1 };
          dense.record(pass, whole, y, vectors, { ...part, buffer: slice });
        }
      },
    };
  }
  const constants = { BITS: m.bits, GROUPED: m.groups > 1 ? 1 : 0 }, { device } = gpu;
  const pipeline = await loadKernel(gpu, { file: "matmul_packed.wgsl", entry: "tiled", constants });
  const uniforms = new Map<number, GPUBuffer>();
  const uniformOf = (vectors: number) => {
    let uniform = uniforms.get(vectors);
    if (!uniform) {
      uniform = buffers.uniform(12);
      const { rowStride, wordStride, groups, weakRowStride, weakStride } = m, quads = Math.ceil(cols / 4);
      const codes = [vectors, rows, quads, rowStride, wordStride, groups, weakRowStride, weakStride];
      device.queue.writeBuffer(uniform, 0, Uint32Array.of(...codes, place.rows, place.first, cols));
      uniforms.set(vectors, uniform);
    }
    return uniform;
  };
  return {
    variant,
    record(pass, x, y, vectors) {
      const whole = dense.quads(pass, x, vectors) as GPUBuffer; // as the tiled product takes it
      const entries = [uniformOf(vectors), whole, m.codes, m.grids, m.columns, m.weak, y]
        .map((buffer, binding) => ({ binding, resource: { buffer } }));
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      const tiles = Math.ceil(vectors / 64) * Math.ceil(rows / 64);
      pass.dispatchWorkgroups(...gridOf(tiles, device.limits.maxComputeWorkgroupsPerDimension));
    },
  };
}

/**
 * Uploads a packed matrix for products with many vectors. Larger ones than a binding holds lie in several parts.
 *
 * @param gpu an open device. @param m the stored form, (out, in). @param o which variant.
 * @returns the linear; `destroy` it when done.
 * @throws LabError of kind "input" where the matrix is not whole, "device" where the device fails.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openPackedMatmul } from "./matmul_packed.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openPackedMatmul(gpu, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 *   console.log(linear.variant, linear.bytes);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openPackedMatmul(
  gpu: Gpu,
  m: PackedMatrix,
  o: { readonly variant?: MatmulVariant } = {},
): Promise<DeviceLinear> {
  const groups = checkPackedMatrix(m), { rows, cols } = m, buffers = openBuffers(gpu);
  const rowBytes = Math.max(4 * m.codes.length / rows, 8 * groups, 4 * m.weakIds.length);
  const atOnce = Math.max(1, Math.floor(gpu.maxBytes / rowBytes));
  const products: BoundPackedMatmul[] = [];
  let bytes = 0;
  for (let first = 0; first < rows; first += atOnce) {
    const lying = uploadPacked(buffers, rowsOf(m, first, Math.min(atOnce, rows - first)));
    bytes += lying.bytes;
    products.push(await bindPackedMatmul(gpu, buffers, lying, { ...o, place: { rows, first } }));
  }
  return {
    rows,
    cols,
    bytes,
    variant: products[0].variant,
    record(pass, x, y, vectors) {
      for (const product of products) product.record(pass, x, y, vectors);
    },
    destroy: () => buffers.free(),
  };
}

/**
 * Some rows of a packed matrix, as one of their own; its arrays are views.
 *
 * @param m (rows, cols). @param first the first row. @param count how many.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rowsOf } from "./matmul_packed.ts";
 * const two = { rows: 2, cols: 1, bits: 2, codes: Uint32Array.of(1, 3), groupOf: null, scale: Float32Array.of(1, 1),
 *   zero: Float32Array.of(0, 0), weakIds: new Int32Array(0), weak: new Float32Array(0) } as const;
 * assert.deepEqual([...rowsOf(two, 1, 1).codes], [3]);
 * ```
 */
export function rowsOf(m: PackedMatrix, first: number, count: number): PackedMatrix {
  const words = m.codes.length / m.rows, groups = m.scale.length / m.rows, k = m.weakIds.length, end = first + count;
  return {
    ...m,
    rows: count,
    codes: m.codes.subarray(first * words, end * words),
    scale: m.scale.subarray(first * groups, end * groups),
    zero: m.zero.subarray(first * groups, end * groups),
    weak: m.weak.subarray(first * k, end * k),
  };
}
