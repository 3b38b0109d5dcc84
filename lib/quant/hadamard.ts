// Random Hadamard rotations: signs, then Sylvester's matrix in blocks. They spread what is large in one channel over all of
// a block, so that the weights look like a normal sample, and are their own inverse up to the signs.
import type { Matrix } from "../io/tensor.ts";

/**
 * The size of the blocks: the largest power of two that divides n.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { hadamardBlock } from "./hadamard.ts";
 * assert.deepEqual([128, 576, 96, 7].map(hadamardBlock), [128, 64, 32, 1]);
 * ```
 */
export function hadamardBlock(n: number): number {
  let block = 1;
  while (n % (2 * block) === 0) block *= 2;
  return block;
}

/** x ← x H / √block for each block of x, in place, by butterflies: n log2(block) additions. */
export function hadamardInPlace(x: Float64Array, block: number): void {
  for (let half = 1; half < block; half *= 2) {
    for (let from = 0; from < x.length; from += 2 * half) {
      for (let i = from; i < from + half; i++) {
        const a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const f = 1 / Math.sqrt(block);
  for (let i = 0; i < x.length; i++) x[i] *= f;
}

/**
 * W diag(signs) H / √block: the rotated weight, row by row.
 *
 * @param w W (out, in). @param signs (in) ±1. @param block as {@link hadamardBlock}.
 * @returns (out, in) in double.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rotateRows, rotateRowsBack } from "./hadamard.ts";
 * const w = { data: Float32Array.of(2, 0, 0, 0), rows: 1, cols: 4 };
 * const r = rotateRows(w, [1, -1, 1, 1], 4);
 * assert.deepEqual([...r], [1, 1, 1, 1]);
 * assert.deepEqual([...rotateRowsBack(r, 4, [1, -1, 1, 1], 4)].map(Math.abs), [2, 0, 0, 0]);
 * ```
 */
export function rotateRows(w: Matrix, signs: ArrayLike<number>, block: number): Float64Array {
  const out = Float64Array.from(w.data, (v, i) => v * signs[i % w.cols]);
  for (let r = 0; r < w.rows; r++) hadamardInPlace(out.subarray(r * w.cols, (r + 1) * w.cols), block);
  return out;
}

/** The inverse of {@link rotateRows}: R H / √block · diag(signs), a new array. */
export function rotateRowsBack(
  r: Float64Array,
  cols: number,
  signs: ArrayLike<number>,
  block: number,
): Float64Array {
  const out = r.slice();
  for (let at = 0; at < out.length; at += cols) hadamardInPlace(out.subarray(at, at + cols), block);
  for (let i = 0; i < out.length; i++) out[i] *= signs[i % cols];
  return out;
}

/** The second moment of the rotated inputs: Qᵀ H Q, Q = diag(signs) Had / √block. */
export function rotateHessian(h: Matrix, signs: ArrayLike<number>, block: number): Matrix {
  const n = h.cols, once = rotateRows(h, signs, block), turned = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) turned[j * n + i] = once[i * n + j] * signs[i];
  for (let r = 0; r < n; r++) hadamardInPlace(turned.subarray(r * n, (r + 1) * n), block);
  return { data: Float32Array.from(turned), rows: n, cols: n };
}
