// The pseudo-inverse of a small symmetric matrix, for least squares whose columns may be alike.
import { symmetricEigen } from "./svd.ts";

/**
 * A⁺ of a symmetric A: eigenvalues below `tolerance` times the largest count as 0, so that of all solutions of
 * least squares the shortest is taken.
 *
 * @param a A (n, n), symmetric; not written to. @returns A⁺ (n, n).
 * @throws RangeError on NaN and infinity.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pseudoInverse } from "./pseudo_inverse.ts";
 * assert.deepEqual([...pseudoInverse(Float64Array.of(4, 0, 0, 0), 2, 1e-6)], [0.25, 0, 0, 0]);
 * const half = pseudoInverse(Float64Array.of(1, 1, 1, 1), 2, 1e-6); // two equal columns share the solution
 * assert(half.every((v) => Math.abs(v - 0.25) < 1e-12));
 * ```
 */
export function pseudoInverse(a: Float64Array, n: number, tolerance: number): Float64Array {
  const { values, vectors } = symmetricEigen(a, n), out = new Float64Array(n * n);
  const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  for (let e = 0; e < n; e++) {
    if (!(Math.abs(values[e]) > tolerance * largest)) continue;
    for (let i = 0; i < n; i++) {
      const f = vectors[e * n + i] / values[e];
      for (let j = 0; j < n; j++) out[i * n + j] += f * vectors[e * n + j];
    }
  }
  return out;
}
