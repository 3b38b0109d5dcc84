// The min–max grid: the range of each row, zero included, cut into 2^bits − 1 equal steps. Cheap enough to have no shader.
import type { Matrix } from "../io/tensor.ts";
import { checkSearch } from "./checks.ts";
import { roundHalfEven } from "./round.ts";
import type { RowGrid, SearchOptions } from "./kernels.ts";

/**
 * The min–max grid of each row, in float32 as the reference computes it.
 *
 * Asymmetric: scale = (max − min) / (2^b − 1) with min = min(row, 0), max = max(row, 0); zero = round(−min / scale).
 * Symmetric: scale = max|w| / 2^(b−1), zero = 2^(b−1). A row of zeros counts as −1 … 1. Rounding is half to even.
 *
 * @param w W (rows, cols); only `o.columns` of it count.
 * @returns scale, zero and the mean of |w − ŵ|^2.4, each (rows).
 * @throws LabError on NaN or infinity, on a bit width outside 1 … 8, on columns outside W.
 * @see GPTQ (arXiv 2210.17323), as computed by the reference implementation of OWQ (arXiv 2306.02272)
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { minmaxGrid } from "./minmax.ts";
 * const grid = minmaxGrid({ data: Float32Array.of(-3, 0, 4), rows: 1, cols: 3 }, { bits: 3, symmetric: false });
 * assert.deepEqual([grid.scale[0], grid.zero[0]], [1, 3]);
 * ```
 */
export function minmaxGrid(w: Matrix, o: Pick<SearchOptions, "bits" | "symmetric" | "columns">): RowGrid {
  const { start, count } = checkSearch(w, o);
  const scale = new Float32Array(w.rows), zero = new Float32Array(w.rows), loss = new Float32Array(w.rows);
  const top = 2 ** o.bits - 1, half = 2 ** (o.bits - 1);
  for (let r = 0; r < w.rows; r++) {
    const row = w.data.subarray(r * w.cols + start, r * w.cols + start + count);
    let min = 0, max = 0;
    for (let j = 0; j < count; j++) {
      if (row[j] < min) min = row[j];
      if (row[j] > max) max = row[j];
    }
    if (min === 0 && max === 0) [min, max] = [-1, 1];
    if (o.symmetric) {
      scale[r] = Math.fround(Math.max(-min, max) / half) || 1e-8;
      zero[r] = half;
    } else {
      scale[r] = Math.fround(Math.fround(max - min) / top) || 1e-8; // ||: a range so small that it underflowed
      zero[r] = roundHalfEven(Math.fround(-min / scale[r]));
    }
    let sum = 0;
    for (let j = 0; j < count; j++) {
      const q = Math.max(0, Math.min(top, roundHalfEven(Math.fround(row[j] / scale[r])) + zero[r]));
      sum += Math.abs(row[j] - Math.fround(scale[r] * (q - zero[r]))) ** 2.4;
    }
    loss[r] = sum / count;
  }
  return { scale, zero, loss };
}
