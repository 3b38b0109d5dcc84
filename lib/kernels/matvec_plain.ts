// The product of a packed matrix with vectors: its specification in double, and the plainest kernel.
import { openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Floats } from "../io/tensor.ts";
import type { DeviceLinear } from "./linear.ts";
import { unpackRows } from "./pack.ts";
import { checkPackedMatrix, type PackedMatrix } from "./packed_matrix.ts";

/**
 * y = x·Ŵᵀ of a packed matrix, in double: the specification of every packed kernel.
 *
 * @param m (rows, cols). @param x (vectors, cols).
 * @returns y (vectors, rows), and Σ |x|·(scale·(code + |zero|) + |weak|) of each, which rounding bounds are made of.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { multiplyPacked } from "./matvec_plain.ts";
 * const { y } = multiplyPacked({
 *   rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *   zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) }, Float32Array.of(1, 1, 1), 1);
 * assert.deepEqual([...y], [9]); // 0.5 · (3 − 1) + 7 + 0.5 · (3 − 1)
 * ```
 */
export function multiplyPacked(
  m: PackedMatrix,
  x: Floats,
  vectors: number,
): { readonly y: Float64Array<ArrayBuffer>; readonly magnitude: Float64Array<ArrayBuffer> } {
  const groups = checkPackedMatrix(m), { rows, cols } = m, k = m.weakIds.length;
  const codes = unpackRows(m.codes, rows, cols, m.bits), weakAt = new Int32Array(cols).fill(-1);
  m.weakIds.forEach((c, i) => weakAt[c] = i);
  const y = new Float64Array(vectors * rows), magnitude = new Float64Array(vectors * rows);
  for (let v = 0; v < vectors; v++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0, total = 0;
      for (let c = 0; c < cols; c++) {
        const xc = x[v * cols + c], g = r * groups + (m.groupOf ? m.groupOf[c] : 0);
        const code = codes[r * cols + c], weak = weakAt[c];
        sum += xc * (weak < 0 ? m.scale[g] * (code - m.zero[g]) : m.weak[r * k + weak]);
        total += Math.abs(
          xc * (weak < 0 ? m.scale[g] * (code + Math.abs(m.zero[g])) : m.weak[r * k + weak]),
        );
      }
      y[v * rows + r] = sum;
      magnitude[v * rows + r] = total;
    }
  }
  return { y, magnitude };
}

/** The plainest kernel behind the interface of every linear. */
export async function openPlainLinear(gpu: Gpu, m: PackedMatrix): Promise<DeviceLinear> {
  const groups = checkPackedMatrix(m), { rows, cols, bits } = m;
  const buffers = openBuffers(gpu);
  const pipeline = await loadKernel(gpu, { file: "matvec_plain.wgsl" });
  const grids = new Float32Array(rows * groups * 2);
  for (let i = 0; i < rows * groups; i++) grids.set([m.scale[i], m.zero[i]], 2 * i);
  const groupOf = m.groupOf ? m.groupOf.slice() : new Int32Array(cols);
  for (const c of m.weakIds) groupOf[c] = -1;
  const words = m.codes.length / rows;
  const uniform = buffers.uniform(8);
  gpu.device.queue.writeBuffer(uniform, 0, Uint32Array.of(rows, cols, words, groups, m.weakIds.length, bits));
  const parts = [
    uniform,
    buffers.upload(m.codes, "codes"),
    buffers.upload(grids, "grids"),
    buffers.upload(groupOf, "groups of columns"),
    buffers.upload(m.weakIds, "weak ids"),
    buffers.upload(m.weak, "weak columns"),
  ];
  return {
    rows,
    cols,
    variant: "plain",
    bytes: parts.reduce((n, b) => n + b.size, 0),
    record(pass, x, y, vectors) {
      const entries = [...parts, x, y].map((buffer, binding) => ({ binding, resource: { buffer } }));
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, gpu.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      pass.dispatchWorkgroups(Math.ceil(rows / 64), vectors);
    },
    destroy: () => buffers.free(),
  };
}
