// OPTQ as its paper writes it, in f64 and with an explicit inverse: slow, literal, and independent of lib/quant's way.
import { roundHalfEven } from "../../lib/kernels/round.ts";

/** Dense symmetric positive definite inverse by Gauss–Jordan with pivoting; a is (n, n) row-major. */
function inverse(a: Float64Array, n: number): Float64Array {
  const m = Array.from({ length: n }, (_, i) => {
    const row = new Float64Array(2 * n);
    row.set(a.subarray(i * n, (i + 1) * n));
    row[n + i] = 1;
    return row;
  });
  for (let c = 0; c < n; c++) {
    let p = c;
    for (let r = c + 1; r < n; r++) if (Math.abs(m[r][c]) > Math.abs(m[p][c])) p = r;
    [m[c], m[p]] = [m[p], m[c]];
    const d = m[c][c];
    for (let j = 0; j < 2 * n; j++) m[c][j] /= d;
    for (let r = 0; r < n; r++) {
      const f = m[r][c];
      if (r !== c && f !== 0) { for (let j = 0; j < 2 * n; j++) m[r][j] -= f * m[c][j]; }
    }
  }
  return Float64Array.from(m.flatMap((row) => [...row.subarray(n)]));
}

/**
 * Rounds the first `quantized` columns one by one; after each, all columns to the right move against its error by
 * H⁻¹ restricted to what is left (optimal brain surgeon; GPTQ, arXiv 2210.17323, equation 2).
 *
 * @param w W (rows, n) in the order of work. @param h damped H (n, n) in the same order.
 * @param grid scale and zero of each row. @returns Ŵ (rows, n): codes' values, then the compensated weak columns.
 */
export function literalOptq(
  w: Float64Array,
  rows: number,
  n: number,
  h: Float64Array,
  quantized: number,
  grid: { scale: ArrayLike<number>; zero: ArrayLike<number> },
  bits: number,
): Float64Array {
  const x = Float64Array.from(w), top = 2 ** bits - 1;
  for (let k = 0; k < quantized; k++) {
    const m = n - k, rest = new Float64Array(m * m); // H of the columns that are left
    for (let i = 0; i < m; i++) for (let j = 0; j < m; j++) rest[i * m + j] = h[(k + i) * n + k + j];
    const inv = inverse(rest, m);
    for (let r = 0; r < rows; r++) {
      const s = grid.scale[r], z = grid.zero[r], v = x[r * n + k];
      const q = s * (Math.min(Math.max(roundHalfEven(v / s) + z, 0), top) - z);
      const e = (v - q) / inv[0];
      for (let j = 0; j < m; j++) x[r * n + k + j] -= e * inv[j];
      x[r * n + k] = q;
    }
  }
  return x;
}
