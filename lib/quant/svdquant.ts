// SVDQuant: smooth the inputs, let a small low-rank branch carry the large part of the weight, round what is left.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { type GroupGridOptions, onGroupGrid } from "./group_grid.ts";
import { channelSize, columnMax, linearOutput, scaleColumns, smoothScale } from "./smooth.ts";
import { lowRankProduct, topSvd } from "./svd.ts";

/** A weight as a low-rank branch L = A B and a rounded residual R, both of the smoothed weight. */
export interface Branch {
  /** A (out, r) = U diag(s), B (r, in) = Vᵀ, in float32. */
  readonly a: Matrix;
  readonly b: Matrix;
  /** L = A B (out, in). */
  readonly lowRank: Matrix;
  /** R (out, in). */
  readonly residual: Matrix;
}

/** How well a candidate does: smaller is better, in any unit. */
export type BranchError = (branch: Branch, smooth: Floats) => Promise<number>;

/** The exponents (a, b) of s = max|x|^a / max|w|^b that are tried, in order: (0, 0), (a, 0), (a, 1 − a), a = 1/n … (n − 1)/n. */
export function smoothCandidates(grids: number): [a: number, b: number][] {
  const a = Array.from({ length: grids - 1 }, (_, i) => (i + 1) / grids);
  return [[0, 0], ...a.map((v): [number, number] => [v, 0]), ...a.map((v): [number, number] => [v, 1 - v])];
}

/** s of one candidate; channels of size 0 are left alone. */
export function smoothingOf(act: ArrayLike<number>, weight: ArrayLike<number>, a: number, b: number): Floats {
  return smoothScale(act, weight, a, b, 0).map((s) => Number.isFinite(s) && s > 0 ? s : 1);
}

/**
 * One step: L = SVD_r(W − R'), R = Q(W − L).
 *
 * @param w W diag(s) (out, in). @param before R' of the step before, null at first. @param rank r, 0: no branch.
 * @param round Q.
 */
export function branchStep(w: Matrix, before: Matrix | null, rank: number, round: (m: Matrix) => Matrix): Branch {
  const { rows, cols } = w, data = Float64Array.from(w.data, (v, i) => v - (before ? before.data[i] : 0));
  const f = topSvd({ data, rows, cols }, rank), a = matrix(rows, f.rank), b = matrix(f.rank, cols);
  for (let i = 0; i < a.data.length; i++) a.data[i] = f.u[i] * f.s[i % f.rank];
  b.data.set(f.vt);
  const exact = lowRankProduct(
    { u: Float64Array.from(a.data), s: new Float64Array(f.rank).fill(1), vt: Float64Array.from(b.data), rank: f.rank },
    rows,
    cols,
  );
  const lowRank = { data: Float32Array.from(exact), rows, cols };
  return { a, b, lowRank, residual: round({ ...w, data: w.data.map((v, i) => v - lowRank.data[i]) }) };
}

/** What the smoothing search found. */
export interface Smoothing {
  readonly smooth: Floats;
  readonly chosen: number;
  readonly errors: readonly number[];
}

/**
 * The smoothing with the least error after one step; of equal ones the last.
 *
 * @param w W (out, in). @param x X (tokens, in), for the size of its channels. @param grids 20 in the reference.
 * @param error of a branch under a smoothing.
 */
export async function searchSmoothing(
  w: Matrix,
  x: Matrix,
  grids: number,
  rank: number,
  round: (m: Matrix) => Matrix,
  error: BranchError,
): Promise<Smoothing> {
  const act = channelSize(x, "max"), size = columnMax(w), errors: number[] = [], candidates = smoothCandidates(grids);
  let chosen = 0, smooth = smoothingOf(act, size, 0, 0);
  for (const [a, b] of candidates) {
    const tried = smoothingOf(act, size, a, b);
    errors.push(await error(branchStep(scaleColumns(w, tried), null, rank, round), tried));
    if (errors[errors.length - 1] <= errors[chosen]) [chosen, smooth] = [errors.length - 1, tried];
  }
  return { smooth, chosen, errors };
}

/**
 * Steps until the first that is worse, or `most` of them; the best is kept.
 *
 * @returns the branch and the error of each step.
 * Source: Li et al., ICLR 2025, arXiv 2411.05007; mit-han-lab/deepcompressor 69f3473.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { iterateBranch } from "./svdquant.ts";
 * const w = { data: Float32Array.of(1, 2, 2, 4), rows: 2, cols: 2 }; // of rank 1
 * const round = (m: typeof w) => ({ ...m, data: m.data.map(Math.round) });
 * const left = (b: { residual: typeof w }) => Promise.resolve(b.residual.data.reduce((s, v) => s + v * v, 0));
 * const { branch } = await iterateBranch(w, 1, 100, round, left);
 * assert.ok(Math.abs(branch.lowRank.data[3] - 4) < 1e-6);
 * ```
 */
export async function iterateBranch(
  w: Matrix,
  rank: number,
  most: number,
  round: (m: Matrix) => Matrix,
  error: (branch: Branch) => Promise<number>,
): Promise<{ branch: Branch; errors: number[] }> {
  let branch = branchStep(w, null, rank, round), before = branch.residual;
  const errors = [await error(branch)];
  while (errors.length < most && errors[errors.length - 1] > 0) {
    const next = branchStep(w, before, rank, round);
    errors.push(await error(next));
    if (errors[errors.length - 1] > errors[errors.length - 2]) break;
    [branch, before] = [next, next.residual];
  }
  return { branch, errors };
}

/** Y = Q(X/s) Rᵀ + (X/s) Lᵀ, the activations rounded by groups of each token; bits 16 and above: not rounded. */
export function branchOutput(branch: Branch, smoothed: Matrix, activations: GroupGridOptions): Matrix {
  const x = activations.bits >= 16 ? smoothed : onGroupGrid(smoothed, activations);
  const main = linearOutput(x, branch.residual), side = linearOutput(smoothed, branch.lowRank);
  return { ...main, data: main.data.map((v, i) => v + side.data[i]) };
}
