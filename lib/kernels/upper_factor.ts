// The one factorization of OPTQ: H = R Rᵀ with R upper triangular, from the bottom right corner upwards.
// No inverse is needed anywhere (research/performance.md, section 3.2; equivalence with GPTQ: arXiv 2507.18553).
import type { Floats, Matrix } from "../io/tensor.ts";

/** A factor, or the place where the matrix stopped being positive definite. */
export type CholeskyResult =
  | { readonly ok: true; readonly factor: UpperFactor }
  | { readonly ok: false; readonly pivot: number; readonly value: number };

/** R (n, n) of H = R Rᵀ; kept as L of the flipped matrix, so that rows are contiguous where the sums run. */
export interface UpperFactor {
  readonly n: number;
  /** L (n, n) lower, row-major, with R[i, j] = L[n−1−i, n−1−j]. */
  readonly flipped: Float64Array;
}

/** Rows and columns of the register tile: 16 accumulators are what a CPU's 16 vector registers hold. */
const TILE = 4;
/** Columns that are finished before those to their right: a multiple of the tile. */
const BLOCK = 32;

/**
 * Reverse Cholesky: H + λI = R Rᵀ, R upper triangular with a positive diagonal, computed in f64.
 *
 * R[i, j] = (H[i, j] − Σ_{k>j} R[i, k] R[j, k]) / R[j, j], from the last column to the first.
 *
 * @param h H (n, n), symmetric; only its upper triangle is read.
 * @param lambda λ, added to the diagonal (same unit as H).
 * @param order (n) the order in which H's rows and columns are taken; null for their own.
 * @returns the factor, or the pivot (an index into `order`) whose value was not positive and finite.
 * @throws RangeError when H is not square or `order` has another length.
 * Source: Golub and Van Loan, Matrix Computations, 4.2.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { reverseCholesky, upperAt } from "./upper_factor.ts";
 * const h = { data: new Float32Array([5, 2, 2, 4]), rows: 2, cols: 2 };
 * const r = reverseCholesky(h, 0);
 * assert(r.ok);
 * assert.deepEqual([upperAt(r.factor, 0, 0), upperAt(r.factor, 0, 1), upperAt(r.factor, 1, 1)], [2, 1, 2]);
 * ```
 */
export function reverseCholesky(h: Matrix, lambda: number, order: Int32Array | null = null): CholeskyResult {
  const n = h.rows;
  if (h.cols !== n) throw new RangeError(`H must be square, got (${h.rows}, ${h.cols})`);
  if (order && order.length !== n) throw new RangeError(`order has ${order.length} entries for ${n} columns`);
  const padded = Math.ceil(n / TILE) * TILE; // unit rows behind the end keep the tiles whole
  const l = new Float64Array(padded * padded);
  const { data } = h, source = Int32Array.from({ length: n }, (_, i) => order ? order[n - 1 - i] : n - 1 - i);
  for (let i = 0; i < n; i++) {
    const hi = source[i];
    for (let j = 0; j <= i; j++) {
      const hj = source[j];
      l[i * padded + j] = hi < hj ? data[hi * n + hj] : data[hj * n + hi];
    }
    l[i * padded + i] += lambda;
  }
  for (let i = n; i < padded; i++) l[i * padded + i] = 1;
  for (let from = 0; from < padded; from += BLOCK) { // rows from … to − 1 stay in the cache while all below are done with them
    const to = Math.min(from + BLOCK, padded);
    for (let i = from; i < padded; i += TILE) {
      for (let j = from; j < to && j <= i; j += TILE) finishTile(l, padded, i, j);
      const bad = i < to ? factorTile(l, padded, i) : -1;
      if (bad >= 0) return { ok: false, pivot: n - 1 - bad, value: l[bad * padded + bad] };
    }
  }
  return { ok: true, factor: { n, flipped: padded === n ? l : trimmed(l, padded, n) } };
}

/**
 * Tile (i, j) −= L[i…, 0…j) · L[j…, 0…j)ᵀ; where it lies below the diagonal, then ← tile · L[j, j]⁻ᵀ, tile j being done.
 *
 * One function for both: the sums go from register to register, and no call is paid for a tile.
 */
function finishTile(l: Float64Array, ld: number, i: number, j: number): void {
  const a0 = i * ld, a1 = a0 + ld, a2 = a1 + ld, a3 = a2 + ld;
  const b0 = j * ld, b1 = b0 + ld, b2 = b1 + ld, b3 = b2 + ld;
  let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
  for (let k = 0; k < j; k++) {
    const x0 = l[a0 + k], x1 = l[a1 + k], x2 = l[a2 + k], x3 = l[a3 + k];
    const y0 = l[b0 + k], y1 = l[b1 + k], y2 = l[b2 + k], y3 = l[b3 + k];
    s00 += x0 * y0;
    s01 += x0 * y1;
    s02 += x0 * y2;
    s03 += x0 * y3;
    s10 += x1 * y0;
    s11 += x1 * y1;
    s12 += x1 * y2;
    s13 += x1 * y3;
    s20 += x2 * y0;
    s21 += x2 * y1;
    s22 += x2 * y2;
    s23 += x2 * y3;
    s30 += x3 * y0;
    s31 += x3 * y1;
    s32 += x3 * y2;
    s33 += x3 * y3;
  }
  if (i === j) {
    l[a0 + j] -= s00;
    l[a0 + j + 1] -= s01;
    l[a0 + j + 2] -= s02;
    l[a0 + j + 3] -= s03;
    l[a1 + j] -= s10;
    l[a1 + j + 1] -= s11;
    l[a1 + j + 2] -= s12;
    l[a1 + j + 3] -= s13;
    l[a2 + j] -= s20;
    l[a2 + j + 1] -= s21;
    l[a2 + j + 2] -= s22;
    l[a2 + j + 3] -= s23;
    l[a3 + j] -= s30;
    l[a3 + j + 1] -= s31;
    l[a3 + j + 2] -= s32;
    l[a3 + j + 3] -= s33;
    return;
  }
  const d0 = l[b0 + j], l10 = l[b1 + j], d1 = l[b1 + j + 1], l20 = l[b2 + j], l21 = l[b2 + j + 1], d2 = l[b2 + j + 2];
  const l30 = l[b3 + j], l31 = l[b3 + j + 1], l32 = l[b3 + j + 2], d3 = l[b3 + j + 3];
  const x00 = (l[a0 + j] - s00) / d0, x01 = (l[a0 + j + 1] - s01 - x00 * l10) / d1;
  const x02 = (l[a0 + j + 2] - s02 - x00 * l20 - x01 * l21) / d2;
  l[a0 + j] = x00;
  l[a0 + j + 1] = x01;
  l[a0 + j + 2] = x02;
  l[a0 + j + 3] = (l[a0 + j + 3] - s03 - x00 * l30 - x01 * l31 - x02 * l32) / d3;
  const x10 = (l[a1 + j] - s10) / d0, x11 = (l[a1 + j + 1] - s11 - x10 * l10) / d1;
  const x12 = (l[a1 + j + 2] - s12 - x10 * l20 - x11 * l21) / d2;
  l[a1 + j] = x10;
  l[a1 + j + 1] = x11;
  l[a1 + j + 2] = x12;
  l[a1 + j + 3] = (l[a1 + j + 3] - s13 - x10 * l30 - x11 * l31 - x12 * l32) / d3;
  const x20 = (l[a2 + j] - s20) / d0, x21 = (l[a2 + j + 1] - s21 - x20 * l10) / d1;
  const x22 = (l[a2 + j + 2] - s22 - x20 * l20 - x21 * l21) / d2;
  l[a2 + j] = x20;
  l[a2 + j + 1] = x21;
  l[a2 + j + 2] = x22;
  l[a2 + j + 3] = (l[a2 + j + 3] - s23 - x20 * l30 - x21 * l31 - x22 * l32) / d3;
  const x30 = (l[a3 + j] - s30) / d0, x31 = (l[a3 + j + 1] - s31 - x30 * l10) / d1;
  const x32 = (l[a3 + j + 2] - s32 - x30 * l20 - x31 * l21) / d2;
  l[a3 + j] = x30;
  l[a3 + j + 1] = x31;
  l[a3 + j + 2] = x32;
  l[a3 + j + 3] = (l[a3 + j + 3] - s33 - x30 * l30 - x31 * l31 - x32 * l32) / d3;
}

/** Factors the diagonal tile i in place; returns the row of a pivot that is not positive and finite, or −1. */
function factorTile(l: Float64Array, ld: number, i: number): number {
  for (let c = i; c < i + TILE; c++) {
    let s = l[c * ld + c];
    for (let k = i; k < c; k++) s -= l[c * ld + k] ** 2;
    if (!(s > 0 && s < Infinity)) {
      l[c * ld + c] = s;
      return c;
    }
    const d = Math.sqrt(s);
    l[c * ld + c] = d;
    for (let r = c + 1; r < i + TILE; r++) {
      let t = l[r * ld + c];
      for (let k = i; k < c; k++) t -= l[r * ld + k] * l[c * ld + k];
      l[r * ld + c] = t / d;
    }
    for (let r = i; r < c; r++) l[r * ld + c] = 0; // what was above the diagonal of the tile
  }
  return -1;
}

function trimmed(l: Float64Array, ld: number, n: number): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) out.set(l.subarray(i * ld, i * ld + n), i * n);
  return out;
}

/**
 * R[i, j] of a factor (0 below the diagonal).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { upperAt } from "./upper_factor.ts";
 * assert.equal(upperAt({ n: 2, flipped: new Float64Array([2, 0, 1, 3]) }, 0, 1), 1);
 * ```
 */
export function upperAt(f: UpperFactor, i: number, j: number): number {
  return f.flipped[(f.n - 1 - i) * f.n + (f.n - 1 - j)];
}

/**
 * The feedback matrix of OPTQ, M[j, k] = R[j, k] / R[k, k] for j < k and 0 elsewhere: the weights that turn the
 * errors of earlier columns into the correction of column k.
 *
 * @returns M (n, n) in f32, row-major.
 * Source: QuIP, arXiv 2307.13304 (LDLQ); research/performance.md, section 3.2.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { feedbackOf } from "./upper_factor.ts";
 * assert.deepEqual([...feedbackOf({ n: 2, flipped: new Float64Array([2, 0, 1, 3]) })], [0, 0.5, 0, 0]);
 * ```
 */
export function feedbackOf(f: UpperFactor): Floats {
  const { n, flipped } = f, m = new Float32Array(n * n);
  const inverse = new Float64Array(n);
  for (let k = 0; k < n; k++) inverse[k] = 1 / upperAt(f, k, k);
  for (let j = 0; j < n; j++) {
    const row = (n - 1 - j) * n + n - 1;
    for (let k = j + 1; k < n; k++) m[j * n + k] = flipped[row - k] * inverse[k];
  }
  return m;
}
