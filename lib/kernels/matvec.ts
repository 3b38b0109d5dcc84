// The product of a packed matrix with vectors, in double: what matvec_lane.wgsl and matvec_split.wgsl are held to.
import type { Floats } from "../io/tensor.ts";
import { unpackRows } from "./pack.ts";
import { checkPackedMatrix, type PackedMatrix } from "./packed_matrix.ts";

/**
 * y = x·Ŵᵀ of a packed matrix, in double: the specification of every packed kernel, of dense ones too (all columns weak).
 *
 * @param m (rows, cols). @param x (vectors, cols).
 * @returns y (vectors, rows), and Σ |x|·(scale·(code + |zero|) + |weak|) of each, which rounding bounds are made of.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { multiplyPacked } from "./matvec.ts";
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
