// Eigenvalues of small symmetric matrices, and what follows from them.

/** Eigenvalues (n) in no order, and eigenvectors as the columns of (n, n). */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

const SWEEPS = 60;

/**
 * Eigenvalues and vectors of a symmetric matrix by cyclic Jacobi rotations, A = V diag(λ) Vᵀ, in f64.
 *
 * @param a A (n, n) row-major, symmetric; not written to. @param n at most a few hundred.
 * Source: Golub and Van Loan, Matrix Computations, 8.5.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { symmetricEigen } from "./eigen.ts";
 * assert.deepEqual([...symmetricEigen([2, 0, 0, 5], 2).values], [2, 5]);
 * const { values } = symmetricEigen([2, 1, 1, 2], 2);
 * assert(Math.abs(Math.min(...values) - 1) < 1e-12 && Math.abs(Math.max(...values) - 3) < 1e-12);
 * ```
 */
export function symmetricEigen(a: ArrayLike<number>, n: number): Eigen {
  const m = Float64Array.from(a), v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let off = 0, on = 0;
    for (let i = 0; i < n; i++) {
      on += m[i * n + i] ** 2;
      for (let j = i + 1; j < n; j++) off += m[i * n + j] ** 2;
    }
    if (off <= 1e-32 * on || off === 0) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = m[p * n + q];
        if (apq === 0) continue;
        const theta = (m[q * n + q] - m[p * n + p]) / (2 * apq);
        const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1), s = t * c;
        for (let k = 0; k < n; k++) [m[k * n + p], m[k * n + q]] = turn(m[k * n + p], m[k * n + q], c, s);
        for (let k = 0; k < n; k++) [m[p * n + k], m[q * n + k]] = turn(m[p * n + k], m[q * n + k], c, s);
        for (let k = 0; k < n; k++) [v[k * n + p], v[k * n + q]] = turn(v[k * n + p], v[k * n + q], c, s);
      }
    }
  }
  return { values: Float64Array.from({ length: n }, (_, i) => m[i * n + i]), vectors: v };
}

function turn(x: number, y: number, c: number, s: number): [number, number] {
  return [c * x - s * y, s * x + c * y];
}

/**
 * The pseudo-inverse of a symmetric matrix: eigenvalues below `tolerance` times the largest count as 0.
 *
 * @param a A (n, n). @returns A⁺ (n, n).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pseudoInverse } from "./eigen.ts";
 * assert.deepEqual([...pseudoInverse([4, 0, 0, 0], 2, 1e-6)], [0.25, 0, 0, 0]);
 * const half = pseudoInverse([1, 1, 1, 1], 2, 1e-6); // two equal columns share the solution
 * assert(half.every((v) => Math.abs(v - 0.25) < 1e-12));
 * ```
 */
export function pseudoInverse(a: ArrayLike<number>, n: number, tolerance: number): Float64Array {
  const { values, vectors } = symmetricEigen(a, n), out = new Float64Array(n * n);
  const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  for (let e = 0; e < n; e++) {
    if (!(Math.abs(values[e]) > tolerance * largest)) continue;
    for (let i = 0; i < n; i++) {
      const f = vectors[i * n + e] / values[e];
      for (let j = 0; j < n; j++) out[i * n + j] += f * vectors[j * n + e];
    }
  }
  return out;
}
