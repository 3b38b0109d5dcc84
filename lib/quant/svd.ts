// The singular value decomposition, as far as low-rank methods need it: the few largest values of a matrix, in double.
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { rng } from "../io/rng.ts";

/** A matrix in double, row-major. */
export interface Doubles {
  readonly data: Float64Array;
  readonly rows: number;
  readonly cols: number;
}

/** M ≈ U diag(s) Vᵀ, the r largest singular values descending. */
export interface TopSvd {
  /** U (rows, r), columns orthonormal. */
  readonly u: Float64Array;
  /** (r) */
  readonly s: Float64Array;
  /** Vᵀ (r, cols). */
  readonly vt: Float64Array;
  readonly rank: number;
}

/** Up to this smaller side all eigenvalues of the Gram matrix are computed; beyond it only a subspace is followed. */
const EXACT_SIDE = 128;
/** Rounds of the subspace iteration, and vectors more than are asked for: enough to miss less than 1 % of the energy on a flat spectrum. */
const ROUNDS = 24, SPARE = 8;

/**
 * The r largest singular values with their vectors; signs are free.
 *
 * From the eigenvectors of M Mᵀ (or Mᵀ M, whichever is smaller): values below 1e-7 of the largest are noise. Where the
 * smaller side is above 128 and r at most an eighth of it, a subspace iteration with a fixed seed stands in, whose product is as good for rounding
 * errors but not exact to the last digit; `exact` asks for all eigenvalues there too.
 *
 * @param m M (rows, cols). @param rank r, at most the smaller side.
 * @returns U, s, Vᵀ; fewer than r where M has a smaller rank.
 * Source: Golub and Van Loan, Matrix Computations, 8.2, 8.3 and 8.6.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { topSvd } from "./svd.ts";
 * const { s, rank } = topSvd({ data: Float64Array.of(3, 0, 0, 0, 0, 4), rows: 2, cols: 3 }, 2);
 * assert.equal(rank, 2);
 * assert.ok(Math.abs(s[0] - 4) < 1e-12 && Math.abs(s[1] - 3) < 1e-12);
 * ```
 */
export function topSvd(m: Doubles, rank: number, exact = false): TopSvd {
  const wide = m.cols > m.rows, side = Math.min(m.rows, m.cols), most = Math.min(rank, side);
  const a = wide ? m : transpose(m); // (side, long)
  const { values, vectors } = exact || side <= EXACT_SIDE || most > side / 8
    ? symmetricEigen(gram(a), side)
    : subspaceEigen(gram(a), side, Math.min(side, most + SPARE));
  const s: number[] = [];
  for (let k = 0; k < most; k++) {
    const v = Math.sqrt(Math.max(0, values[k]));
    if (v > 1e-7 * (s[0] ?? 0) && v > 0) s.push(v);
  }
  const r = s.length, short = new Float64Array(side * r), long = new Float64Array(r * a.cols);
  for (let k = 0; k < r; k++) {
    for (let i = 0; i < side; i++) {
      const f = vectors[k * side + i];
      short[i * r + k] = f;
      for (let j = 0; j < a.cols; j++) long[k * a.cols + j] += f * a.data[i * a.cols + j] / s[k];
    }
  }
  const sv = Float64Array.from(s);
  if (wide) return { u: short, s: sv, vt: long, rank: r };
  const u = transpose({ data: long, rows: r, cols: a.cols }).data,
    vt = transpose({ data: short, rows: side, cols: r }).data;
  return { u, s: sv, vt, rank: r };
}

/** U diag(s) Vᵀ (rows, cols), the best approximation of that rank. */
export function lowRankProduct(f: TopSvd, rows: number, cols: number): Float64Array {
  const out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < f.rank; k++) {
      const x = f.u[i * f.rank + k] * f.s[k];
      for (let j = 0; j < cols; j++) out[i * cols + j] += x * f.vt[k * cols + j];
    }
  }
  return out;
}

/** Mᵀ. */
export function transpose(m: Doubles): Doubles {
  const data = new Float64Array(m.data.length);
  for (let i = 0; i < m.rows; i++) for (let j = 0; j < m.cols; j++) data[j * m.rows + i] = m.data[i * m.cols + j];
  return { data, rows: m.cols, cols: m.rows };
}

/** A Aᵀ (rows, rows), two rows by two at a time: four sums for four loads. */
function gram(a: Doubles): Float64Array {
  const { rows: n, cols, data } = a, g = new Float64Array(n * n);
  const put = (i: number, j: number, v: number) => g[i * n + j] = g[j * n + i] = v;
  for (let i = 0; i < n; i += 2) {
    const i0 = i * cols, i1 = Math.min(i + 1, n - 1) * cols;
    for (let j = 0; j <= i; j += 2) {
      const j0 = j * cols, j1 = Math.min(j + 1, n - 1) * cols;
      let s00 = 0, s01 = 0, s10 = 0, s11 = 0;
      for (let k = 0; k < cols; k++) {
        const x0 = data[i0 + k], x1 = data[i1 + k], y0 = data[j0 + k], y1 = data[j1 + k];
        s00 += x0 * y0;
        s01 += x0 * y1;
        s10 += x1 * y0;
        s11 += x1 * y1;
      }
      put(i, j, s00);
      if (j + 1 < n) put(i, j + 1, s01);
      if (i + 1 < n) put(i + 1, j, s10);
      if (i + 1 < n && j + 1 < n) put(i + 1, j + 1, s11);
    }
  }
  return g;
}

/**
 * All eigenvalues of a symmetric matrix, descending, and its eigenvectors as rows.
 *
 * By ml-matrix (Householder reflections, then implicit QL): as fast here as our own was, and kept by others.
 *
 * @param a A (n, n). Not written to.
 * @throws RangeError on NaN and infinity.
 */
export function symmetricEigen(a: Float64Array, n: number): { values: Float64Array; vectors: Float64Array } {
  if (!a.every(Number.isFinite)) throw new RangeError("a matrix with NaN or infinity has no eigenvalues");
  const found = new EigenvalueDecomposition(Matrix.from1DArray(n, n, a), { assumeSymmetric: true });
  const d = found.realEigenvalues, v = found.eigenvectorMatrix, vectors = new Float64Array(n * n);
  const order = d.map((_, k) => k).sort((x, y) => d[y] - d[x]);
  order.forEach((from, to) => vectors.set(v.getColumn(from), to * n));
  return { values: Float64Array.from(order, (k) => d[k]), vectors };
}

/** The largest eigenvalues of a symmetric G (n, n) by a subspace iteration with Rayleigh–Ritz at the end; vectors as rows. */
function subspaceEigen(g: Float64Array, n: number, count: number): { values: Float64Array; vectors: Float64Array } {
  const random = rng(0, "subspace of an SVD"), basis = Float64Array.from({ length: count * n }, () => random.normal());
  const times = () => { // B G, rows of B being the vectors
    const y = new Float64Array(count * n);
    for (let i = 0; i < n; i++) {
      const row = g.subarray(i * n, (i + 1) * n);
      for (let k = 0; k < count; k++) {
        const f = basis[k * n + i], to = k * n;
        for (let j = 0; j < n; j++) y[to + j] += f * row[j];
      }
    }
    return y;
  };
  for (let round = 0; round < ROUNDS; round++) {
    basis.set(times());
    orthonormalize(basis, count, n);
  }
  // Ritz values of the subspace: B G Bᵀ is count × count.
  const y = times(), ritz = new Float64Array(count * count);
  for (let a = 0; a < count; a++) {
    for (let b = 0; b <= a; b++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += y[a * n + j] * basis[b * n + j];
      ritz[a * count + b] = ritz[b * count + a] = sum;
    }
  }
  const small = symmetricEigen(ritz, count), vectors = new Float64Array(count * n);
  for (let k = 0; k < count; k++) {
    for (let i = 0; i < count; i++) {
      const f = small.vectors[k * count + i];
      for (let j = 0; j < n; j++) vectors[k * n + j] += f * basis[i * n + j];
    }
  }
  return { values: small.values, vectors };
}

/** Rows made orthonormal, twice over, because once leaves rounding. */
function orthonormalize(b: Float64Array, count: number, n: number): void {
  for (let k = 0; k < count; k++) {
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i < k; i++) {
        let dot = 0;
        for (let j = 0; j < n; j++) dot += b[k * n + j] * b[i * n + j];
        for (let j = 0; j < n; j++) b[k * n + j] -= dot * b[i * n + j];
      }
    }
    let norm = 0;
    for (let j = 0; j < n; j++) norm += b[k * n + j] ** 2;
    norm = Math.sqrt(norm) || 1;
    for (let j = 0; j < n; j++) b[k * n + j] /= norm;
  }
}
