// A packed matrix as floats: on the device, some rows at a time, and its specification.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";
import { type Matrix, matrix } from "../io/tensor.ts";
import { unpackRows } from "./pack.ts";
import { checkPackedMatrix, type PackedMatrix } from "./packed_matrix.ts";

const f32 = Math.fround;

/**
 * Ŵ of a packed matrix in float32: the specification of wgsl/dequantize.wgsl, to the last bit.
 *
 * ŵ[r, c] = scale[r, g] · (code[r, c] − zero[r, g]), g the group of column c; a weak column's own values over it.
 *
 * @param m (rows, cols).
 * @returns Ŵ (rows, cols).
 * @throws LabError where the matrix is not whole.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { dequantizeTwin } from "./dequantize.ts";
 * const w = dequantizeTwin({
 *   rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *   zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 * assert.deepEqual([...w.data], [1, 7, 1]);
 * ```
 */
export function dequantizeTwin(m: PackedMatrix): Matrix {
  const groups = checkPackedMatrix(m), { rows, cols } = m, k = m.weakIds.length, out = matrix(rows, cols);
  const codes = unpackRows(m.codes, rows, cols, m.bits);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++, i++) {
      const g = r * groups + Math.max(0, m.groupOf ? m.groupOf[c] : 0);
      out.data[i] = f32(m.scale[g] * f32(codes[i] - m.zero[g]));
    }
    for (let j = 0; j < k; j++) out.data[r * cols + m.weakIds[j]] = m.weak[r * k + j];
  }
  return out;
}

/** A packed matrix as it lies on the device. */
export interface PackedOnDevice extends Pick<PackedMatrix, "rows" | "cols" | "bits"> {
  /** Grids a row. */
  readonly groups: number;
  /** How many weak columns there are. */
  readonly weakCount: number;
  readonly codes: GPUBuffer;
  /** Of codes: words from row to row, and from word to word of a row. */
  readonly rowStride: number;
  readonly wordStride: number;
  /** scale and zero: (rows, groups), two floats each. */
  readonly grids: GPUBuffer;
  /** (cols, to a multiple of eight) int32: the group of a column, or −1 − i at weak column i. */
  readonly columns: GPUBuffer;
  /** (weak) */
  readonly weakIds: GPUBuffer;
  /** float32 */
  readonly weak: GPUBuffer;
  /** Of weak: floats from row to row, and from one of a row to the next. */
  readonly weakRowStride: number;
  readonly weakStride: number;
  /** Bytes of all of these. */
  readonly bytes: number;
}

/**
 * Uploads a packed matrix in its stored form, row by row.
 *
 * @param gpu an open device. @param buffers where everything is kept. @param m (rows, cols).
 * @throws LabError of kind "input" where the matrix is not whole, "device" where it does not fit.
 * @example
 * ```ts
 * import { openBuffers } from "../gpu/buffers.ts";
 * import { openGpu } from "../gpu/device.ts";
 * import { uploadPacked } from "./dequantize.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const buffers = openBuffers(gpu);
 *   const lying = uploadPacked(buffers, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 *   console.log(lying.bytes);
 *   buffers.free();
 *   gpu.close();
 * }
 * ```
 */
export function uploadPacked(buffers: Buffers, m: PackedMatrix): PackedOnDevice {
  const groups = checkPackedMatrix(m), { rows, cols, bits } = m, weakCount = m.weakIds.length;
  const grids = new Float32Array(rows * groups * 2);
  for (let i = 0; i < rows * groups; i++) {
    grids[2 * i] = m.scale[i];
    grids[2 * i + 1] = m.zero[i];
  }
  const held = {
    codes: buffers.upload(m.codes, "codes"),
    grids: buffers.upload(grids, "grids"),
    columns: buffers.upload(columnTable(m), "groups of columns"),
    weakIds: buffers.upload(m.weakIds, "weak ids"),
    weak: buffers.upload(m.weak, "weak columns"),
  };
  return {
    ...held,
    rows,
    cols,
    bits,
    groups,
    weakCount,
    rowStride: m.codes.length / rows,
    wordStride: 1,
    weakRowStride: weakCount,
    weakStride: 1,
    bytes: Object.values(held).reduce((n, b) => n + b.size, 0),
  };
}

/** (cols, to a multiple of eight) the group of a column, or −1 − i at weak column i. */
export function columnTable(m: PackedMatrix): Int32Array<ArrayBuffer> {
  const table = new Int32Array(Math.ceil(m.cols / 8) * 8);
  if (m.groupOf) table.set(m.groupOf);
  m.weakIds.forEach((c, i) => table[c] = -1 - i);
  return table;
}

/** Dequantization that can be added to a compute pass. */
export interface Dequantizer {
  /** Floats from row to row of what `record` writes: the columns, rounded up to a multiple of eight. */
  readonly stride: number;
  /**
   * Adds the dequantization of rows first … first + count − 1 into `out` (count, stride) to a compute pass; what lies
   * beyond the last column is zero.
   */
  record(pass: GPUComputePassEncoder, out: GPUBuffer, first: number, count: number): void;
}

/**
 * Prepares the dequantization of a matrix that lies on the device, in parts.
 *
 * @param gpu an open device. @param buffers where uniforms are kept. @param m (rows, cols).
 * @throws LabError of kind "device" where the kernel does not compile.
 * @example
 * ```ts
 * import { openBuffers } from "../gpu/buffers.ts";
 * import { openGpu } from "../gpu/device.ts";
 * import { openDequantizer, uploadPacked } from "./dequantize.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const buffers = openBuffers(gpu);
 *   const dequantizer = await openDequantizer(gpu, buffers, uploadPacked(buffers, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) }));
 *   console.log(dequantizer.stride); // 8
 *   buffers.free();
 *   gpu.close();
 * }
 * ```
 */
export async function openDequantizer(gpu: Gpu, buffers: Buffers, m: PackedOnDevice): Promise<Dequantizer> {
  const { cols, bits, groups, weakCount } = m, { device } = gpu, stride = Math.ceil(cols / 8) * 8;
  const constants = { BITS: bits, GROUPED: groups > 1 ? 1 : 0 }, file = "dequantize.wgsl";
  const unpack = await loadKernel(gpu, { file, entry: "unpack", constants });
  const place = weakCount > 0 ? await loadKernel(gpu, { file, entry: "place_weak", constants }) : null;
  const uniforms = new Map<string, GPUBuffer>();
  const uniformOf = (first: number, count: number) => {
    const key = `${first} ${count}`;
    let uniform = uniforms.get(key);
    if (!uniform) {
      uniform = buffers.uniform(12);
      const { rowStride, wordStride, weakRowStride, weakStride } = m;
      const words = [first, count, cols, rowStride, wordStride, groups, weakCount, stride, weakRowStride, weakStride];
      device.queue.writeBuffer(uniform, 0, Uint32Array.from(words));
      uniforms.set(key, uniform);
    }
    return uniform;
  };
  const step = (pass: GPUComputePassEncoder, pipeline: GPUComputePipeline, all: GPUBuffer[], lanes: number) => {
    const bindings = all.length === 5 ? [0, 1, 2, 3, 4] : [0, 2, 3, 4];
    const entries = all.map((buffer, i) => ({ binding: bindings[i], resource: { buffer } }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(...gridOf(Math.ceil(lanes / 64), device.limits.maxComputeWorkgroupsPerDimension));
  };
  return {
    stride,
    record(pass, out, first, count) {
      const uniform = uniformOf(first, count);
      step(pass, unpack, [uniform, m.codes, m.grids, m.columns, out], count * stride / 8);
      if (place) step(pass, place, [uniform, m.weakIds, m.weak, out], count * weakCount);
    },
  };
}

/**
 * Ŵ of a packed matrix by the device, some rows at a time.
 *
 * @param m (rows, cols). @returns Ŵ (rows, cols), as `dequantizeTwin`.
 * @throws LabError of kind "input" where the matrix is not whole, "device" where the device fails.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { dequantizeGpu } from "./dequantize.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const w = await dequantizeGpu(gpu, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 *   assert.deepEqual([...w.data], [1, 7, 1]);
 *   gpu.close();
 * }
 * ```
 */
export async function dequantizeGpu(gpu: Gpu, m: PackedMatrix): Promise<Matrix> {
  const buffers = openBuffers(gpu), { rows, cols } = m, out = matrix(rows, cols);
  try {
    return await gpu.run(`dequantization of (${rows}, ${cols})`, async () => {
      const codes = await openDequantizer(gpu, buffers, uploadPacked(buffers, m)), { stride } = codes;
      const tile = Math.max(1, Math.min(rows, Math.floor(Math.min(TILE_BYTES, gpu.maxBytes) / (stride * 4))));
      const floats = buffers.scratch(tile * stride * 4, "dequantized rows");
      for (let first = 0; first < rows; first += tile) {
        const count = Math.min(tile, rows - first);
        const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
        codes.record(pass, floats, first, count);
        pass.end();
        gpu.device.queue.submit([encoder.finish()]);
        const back = new Float32Array(await buffers.read(floats, count * stride * 4));
        for (let r = 0; r < count; r++) {
          out.data.set(back.subarray(r * stride, r * stride + cols), (first + r) * cols);
        }
      }
      return out;
    });
  } finally {
    buffers.free();
  }
}

/** A tile's buffer: small enough for any device, large enough to keep one busy. */
const TILE_BYTES = 64 * 2 ** 20;
