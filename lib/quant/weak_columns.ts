// OWQ's idea with any way of rounding: a few columns apart in 16 bits, which also take up what the others lose.
import type { Matrix } from "../io/tensor.ts";
import { reverseCholesky, upperAt } from "./cholesky.ts";
import { diagonal } from "./hessian.ts";
import { byScore, columnScores } from "./sensitivity.ts";

/**
 * The k columns with the largest H_jj · ‖W_:,j − Q(W)_:,j‖², ascending.
 *
 * @param w W (out, in). @param rounded Q(W), by whatever rounds the rest. @param h H (in, in). @param count k.
 * Source: OWQ, arXiv 2306.02272, section 3.3.
 */
export function weakestColumns(w: Matrix, rounded: Matrix, h: Matrix, count: number): Int32Array<ArrayBuffer> {
  const scores = columnScores("hessian-error", { name: "weak columns", weight: w, hessian: h, rounded, seed: 0 });
  return byScore(scores).slice(0, count).sort();
}

/**
 * The weak columns that make the output error least, all others being what they are:
 * W_w + (W − Ŵ)_r · H_rw · (H_ww + λI)⁻¹, w the weak columns and r the rest.
 *
 * @param w W (out, in). @param approximation Ŵ (out, in), right outside the weak columns. @param h H (in, in).
 * @param ids w, ascending. @param damp λ as a share of the mean of diag(H_ww).
 * @returns W with its weak columns replaced, (out, in).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { compensateColumns } from "./weak_columns.ts";
 * const m = (...v: number[]) => ({ data: Float32Array.from(v), rows: 1, cols: 2 });
 * const h = { data: Float32Array.of(2, 1, 1, 2), rows: 2, cols: 2 };
 * const out = compensateColumns(m(0.25, 1), m(0, 0), h, Int32Array.of(1), 0); // as in OPTQ: 1 + 0.25 · H_01 / H_11
 * assert.deepEqual([...out.data], [0.25, 1.125]);
 * ```
 */
export function compensateColumns(
  w: Matrix,
  approximation: Matrix,
  h: Matrix,
  ids: Int32Array,
  damp = 1e-4,
): Matrix {
  const k = ids.length, cols = w.cols, weak = new Set(ids), inner = { data: new Float32Array(k * k), rows: k, cols: k };
  for (let a = 0; a < k; a++) for (let b = 0; b < k; b++) inner.data[a * k + b] = h.data[ids[a] * cols + ids[b]];
  const out = { ...w, data: w.data.slice() }, mean = diagonal(inner).reduce((s, v) => s + v, 0) / k;
  const r = reverseCholesky(inner, damp * mean);
  if (!r.ok) return out; // inputs that are all 0 meet these columns: nothing to take up
  const rest = Array.from({ length: cols }, (_, j) => j).filter((j) => !weak.has(j));
  for (let row = 0; row < w.rows; row++) {
    const x = new Float64Array(k);
    for (const j of rest) {
      const d = w.data[row * cols + j] - approximation.data[row * cols + j];
      if (d !== 0) { for (let a = 0; a < k; a++) x[a] += d * h.data[j * cols + ids[a]]; }
    }
    for (let a = k - 1; a >= 0; a--) { // R y = x
      for (let b = a + 1; b < k; b++) x[a] -= upperAt(r.factor, a, b) * x[b];
      x[a] /= upperAt(r.factor, a, a);
    }
    for (let a = 0; a < k; a++) { // Rᵀ z = y
      for (let b = 0; b < a; b++) x[a] -= upperAt(r.factor, b, a) * x[b];
      x[a] /= upperAt(r.factor, a, a);
      out.data[row * cols + ids[a]] += x[a];
    }
  }
  return out;
}
