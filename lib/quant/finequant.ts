// FineQuant: how fine the groups of a matrix must be, read off the ranges of its weights.
import type { Matrix } from "../io/tensor.ts";

/**
 * The mean over all groups of a group's largest magnitude, R(g).
 *
 * @param w W (out, in). @param groupSize columns of a group.
 */
export function meanRange(w: Matrix, groupSize: number): number {
  const groups = Math.ceil(w.cols / groupSize);
  let total = 0;
  for (let r = 0; r < w.rows; r++) {
    for (let g = 0; g < groups; g++) {
      let most = 0;
      for (let j = g * groupSize; j < Math.min((g + 1) * groupSize, w.cols); j++) {
        most = Math.max(most, Math.abs(w.data[r * w.cols + j]));
      }
      total += most;
    }
  }
  return total / (w.rows * groups);
}

/**
 * The group size of a matrix: from the whole row it is halved while that shrinks the mean range below α times what it was.
 *
 * @param w W (out, in). @param alpha α in (0, 1): near 1 halves easily. @param least the smallest group allowed.
 * @returns columns of a group.
 * Source: Kim et al. 2023, arXiv 2308.09723, which tells of a heuristic on ranges and not its rule; this one is ours.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { adaptiveGroup } from "./finequant.ts";
 * const even = { data: new Float32Array(64).fill(1), rows: 1, cols: 64 };
 * const uneven = { data: Float32Array.from({ length: 64 }, (_, j) => j === 5 ? 100 : 1), rows: 1, cols: 64 };
 * assert.deepEqual([adaptiveGroup(even, 0.9, 8), adaptiveGroup(uneven, 0.9, 8)], [64, 8]);
 * ```
 */
export function adaptiveGroup(w: Matrix, alpha: number, least: number): number {
  let size = w.cols, range = meanRange(w, size);
  for (let next = Math.ceil(size / 2); next >= least && next < size; next = Math.ceil(size / 2)) {
    const finer = meanRange(w, next);
    if (!(finer < alpha * range)) break;
    [size, range] = [next, finer];
  }
  return size;
}
