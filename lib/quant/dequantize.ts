// From codes back to weights: Ŵ = scale · (code − zero), weak columns in their place.
import { type Matrix, matrix } from "../io/tensor.ts";
import { groupsOf } from "./budget.ts";
import type { AnyLayer, QuantizedLayer } from "./layer.ts";
import { dequantizeStores } from "./stores/registry.ts";

/**
 * The group of each column: of act-order's map where there is one, else floor(rank / groupSize) with the rank counted
 * among the columns that get codes; 0 where a row has one scale. Weak columns get group 0, which nothing reads.
 *
 * @returns (in) group numbers.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { columnGroups } from "./dequantize.ts";
 * const groups = columnGroups({ cols: 5, groupSize: 2, groupOf: null, weakIds: Int32Array.of(1) });
 * assert.deepEqual([...groups], [0, 0, 0, 1, 1]);
 * ```
 */
export function columnGroups(
  layer: Pick<QuantizedLayer, "cols" | "groupSize" | "groupOf" | "weakIds">,
): Int32Array<ArrayBuffer> {
  if (layer.groupOf) return layer.groupOf;
  const groups = new Int32Array(layer.cols);
  if (layer.groupSize <= 0) return groups;
  const weak = new Set(layer.weakIds);
  for (let j = 0, rank = 0; j < layer.cols; j++) {
    if (!weak.has(j)) groups[j] = Math.floor(rank++ / layer.groupSize);
  }
  return groups;
}

/**
 * Ŵ (out, in) of a quantized layer: scale[g] · (code − zero[g]) in f32, weak columns as stored; or what its stores give.
 *
 * @returns a new matrix (out, in).
 * @throws RangeError when the layer's arrays do not fit its shape.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { dequantize } from "./dequantize.ts";
 * import { NO_REPORT } from "./layer.ts";
 * const w = dequantize({
 *   name: "doc", method: "owq", rows: 1, cols: 3, bits: 2, groupSize: 0, scaleBits: 32, groupOf: null, report: NO_REPORT,
 *   codes: Uint8Array.of(3, 1, 0), scale: Float32Array.of(0.5), zero: Float32Array.of(1),
 *   weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 * assert.deepEqual([...w.data], [1, 7, -0.5]);
 * ```
 */
export function dequantize(layer: AnyLayer): Matrix {
  if ("stores" in layer) return dequantizeStores(layer);
  const { rows, cols, codes, scale, zero, weakIds, weak } = layer;
  const groups = groupsOf(cols - weakIds.length, layer.groupSize), k = weakIds.length;
  if (codes.length !== rows * cols || scale.length !== rows * groups || zero.length !== rows * groups) {
    throw new RangeError(`${layer.name}: codes, scales or zeros do not fit (${rows}, ${cols}) with ${groups} groups`);
  }
  if (weak.length !== rows * k) throw new RangeError(`${layer.name}: ${weak.length} weak values for ${rows} x ${k}`);
  const out = matrix(rows, cols), groupOf = columnGroups(layer);
  for (let r = 0; r < rows; r++) {
    const at = r * cols, g0 = r * groups;
    for (let j = 0; j < cols; j++) {
      const g = g0 + groupOf[j];
      out.data[at + j] = scale[g] * (codes[at + j] - zero[g]);
    }
    for (let i = 0; i < k; i++) out.data[at + weakIds[i]] = weak[r * k + i];
  }
  return out;
}
