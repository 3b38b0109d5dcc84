// GWQ: the weights that the loss is most sensitive to stay as they are, the rest is rounded as if they were not there.
import type { Matrix } from "../io/tensor.ts";

/**
 * Marks the weights with the largest scores; of equal ones the first.
 *
 * @param scores (n), such as |∂L/∂W|. @param count how many.
 * @returns (n) 1 where a weight is kept.
 * @throws RangeError on NaN.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { largest } from "./gwq.ts";
 * assert.deepEqual([...largest([3, 1, 3, 2], 2)], [1, 0, 1, 0]);
 * ```
 */
export function largest(scores: ArrayLike<number>, count: number): Uint8Array<ArrayBuffer> {
  const mask = new Uint8Array(scores.length), sorted = Float64Array.from(scores).sort();
  if (sorted.some(Number.isNaN)) throw new RangeError("a score is NaN");
  const n = Math.min(count, scores.length);
  if (n === 0) return mask;
  const bound = sorted[scores.length - n];
  let left = n;
  for (let i = 0; i < mask.length; i++) if (scores[i] > bound) [mask[i], left] = [1, left - 1];
  for (let i = 0; i < mask.length && left > 0; i++) if (scores[i] === bound) [mask[i], left] = [1, left - 1];
  return mask;
}

/**
 * W with the marked weights replaced by the mean of the others in their group, so that a grid fitted to the range of the
 * group does not see them.
 *
 * @param w W (out, in). @param mask (out, in). @param groupSize columns of a group, 0: the row.
 */
export function withoutMarked(w: Matrix, mask: ArrayLike<number>, groupSize: number): Matrix {
  const size = groupSize > 0 ? groupSize : w.cols, data = w.data.slice();
  for (let r = 0; r < w.rows; r++) {
    for (let from = 0; from < w.cols; from += size) {
      const start = r * w.cols + from, end = r * w.cols + Math.min(from + size, w.cols);
      let sum = 0, n = 0;
      for (let i = start; i < end; i++) if (!mask[i]) [sum, n] = [sum + w.data[i], n + 1];
      for (let i = start; i < end; i++) if (mask[i]) data[i] = n > 0 ? sum / n : 0;
    }
  }
  return { ...w, data };
}
