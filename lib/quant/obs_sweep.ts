// The sweep of all second-order methods in its general form: column after column is rounded in any way one likes, and
// what it loses is taken up by the columns to come (optimal brain surgeon; GPTQ, arXiv 2210.17323):
//   e_j = (w_j − ŵ_j) / U_jj,   w_k −= e_j · U_jk for k > j,   (H + λI)⁻¹ = Uᵀ U.
// OPTQ on one grid has kernels of its own (lib/kernels/optq_sweep.ts); this one is for what they do not know: grids along
// the outputs, single weights that stay, fixed groups in another order, codes of several widths.
import type { Matrix } from "../io/tensor.ts";
import { LabError } from "../io/errors.ts";
import { upperAt, type UpperFactor } from "./cholesky.ts";
import { dampedCholesky } from "./factor.ts";

/** U (n, n) and how it was won. */
export interface InverseFactor {
  /** U, row-major, upper, in the order of work. */
  readonly u: Float64Array;
  readonly n: number;
  /** The share of the mean diagonal that was added. */
  readonly damp: number;
}

/**
 * U with (H + λI)⁻¹ = Uᵀ U, λ = damp · mean(diag H), rows and columns in the given order.
 *
 * U is the inverse of R in H + λI = R Rᵀ, so that no inverse of H is ever formed.
 *
 * @param h H (in, in). @param order (in). @param damp share of the mean diagonal; raised tenfold where it does not do.
 * @param revive as in dampedCholesky.
 * @throws LabError "numeric" where no damping makes H positive definite.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { inverseFactor } from "./obs_sweep.ts";
 * const { u } = inverseFactor({ data: new Float32Array([4, 0, 0, 1]), rows: 2, cols: 2 }, Int32Array.of(0, 1), 0);
 * assert.deepEqual([...u], [0.5, 0, 0, 1]);
 * ```
 */
export function inverseFactor(h: Matrix, order: Int32Array, damp: number, revive = true): InverseFactor {
  const found = dampedCholesky(h, order, damp, revive);
  if (!found.factor) {
    throw new LabError("numeric", "Hessian", `is not positive definite (${found.failures.join("; ")})`);
  }
  return { u: invertUpper(found.factor), n: h.rows, damp: found.damp };
}

/** R⁻¹ of an upper triangular R, by rows from the last one: row i = (e_i − Σ_{k>i} R_ik · row k) / R_ii. */
function invertUpper(r: UpperFactor): Float64Array {
  const { n } = r, u = new Float64Array(n * n);
  for (let i = n - 1; i >= 0; i--) {
    const row = u.subarray(i * n, (i + 1) * n), pivot = 1 / upperAt(r, i, i);
    row[i] = 1;
    for (let k = i + 1; k < n; k++) {
      const f = upperAt(r, i, k), below = k * n;
      if (f !== 0) { for (let j = k; j < n; j++) row[j] -= f * u[below + j]; }
    }
    for (let j = i; j < n; j++) row[j] *= pivot;
  }
  return u;
}

/** What a sweep is given. */
export interface ObsSweep {
  /** W (out, in), columns in the order of work. Never written to. */
  readonly weight: Matrix;
  /** U (in, in) in the same order. */
  readonly factor: InverseFactor;
  /**
   * Columns between two updates of everything to the right; 1 unless told. Only what a `round` sees of later columns
   * depends on it: with blocks, those beyond the block lack what the block has lost so far.
   */
  readonly blockSize?: number;
  /**
   * Rounds column j: gives ŵ_j (out). `standing[k]` (out) is column k as it stands, what was lost before it included.
   * Its own column is `standing[j]`, not to be written to.
   */
  readonly round: (j: number, standing: readonly Float64Array[]) => ArrayLike<number>;
}

/** What a sweep gives. */
export interface ObsSwept {
  /** ŵ of each column, (in) times (out). */
  readonly columns: readonly Float64Array[];
  /** (in) ½ Σ_rows e², whose sum is ½ tr(D (H + λI) Dᵀ). */
  readonly loss: Float64Array;
}

/**
 * Goes through the columns from left to right.
 *
 * @param p W, U and the way to round a column.
 * @returns the rounded columns, in the order of work, and what each lost.
 * Source: GPTQ, arXiv 2210.17323, algorithm 1.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { inverseFactor, obsSweep } from "./obs_sweep.ts";
 * const h = { data: new Float32Array([2, 1, 1, 2]), rows: 2, cols: 2 };
 * const weight = { data: Float32Array.of(0.25, 1), rows: 1, cols: 2 };
 * const round = (j: number, w: readonly Float64Array[]) => j === 0 ? [0] : w[1]; // the second column takes it all up
 * const { columns } = obsSweep({ weight, factor: inverseFactor(h, Int32Array.of(0, 1), 0), round });
 * assert.ok(Math.abs(columns[1][0] - 1.125) < 1e-12); // 1 + 0.25 · H_01 / H_11
 * ```
 */
export function obsSweep(p: ObsSweep): ObsSwept {
  const { rows, cols, data } = p.weight, { u } = p.factor, block = p.blockSize ?? 1;
  const standing = Array.from(
    { length: cols },
    (_, j) => Float64Array.from({ length: rows }, (_, r) => data[r * cols + j]),
  );
  const columns: Float64Array[] = [], loss = new Float64Array(cols), errors: Float64Array[] = [];
  const push = (j: number, from: number, to: number) => {
    const e = errors[j];
    for (let k = from; k < to; k++) {
      const f = u[j * cols + k], column = standing[k];
      if (f !== 0) { for (let r = 0; r < rows; r++) column[r] -= e[r] * f; }
    }
  };
  for (let from = 0; from < cols; from += block) {
    const to = Math.min(from + block, cols);
    for (let j = from; j < to; j++) {
      const q = Float64Array.from(p.round(j, standing)), w = standing[j], e = new Float64Array(rows);
      for (let r = 0; r < rows; r++) {
        e[r] = (w[r] - q[r]) / u[j * cols + j];
        loss[j] += e[r] * e[r] / 2;
      }
      columns.push(q);
      errors.push(e);
      push(j, j + 1, to);
    }
    for (let j = from; j < to; j++) push(j, to, cols);
  }
  return { columns, loss };
}

/**
 * W (out, in) of columns in another order.
 *
 * @param columns one list a column, in the order of work. @param order (in) where each belongs.
 */
export function fromColumns(columns: readonly ArrayLike<number>[], order: Int32Array): Matrix {
  const cols = columns.length, rows = columns[0]?.length ?? 0, data = new Float32Array(rows * cols);
  for (let k = 0; k < cols; k++) for (let r = 0; r < rows; r++) data[r * cols + order[k]] = columns[k][r];
  return { data, rows, cols };
}
