// BitStack: a matrix as a stack of blocks of about one bit a weight, each the signs of what is left and a low-rank picture
// of its sizes. Any number of blocks from the top is a matrix; each further one makes it better.
import { type Matrix, matrix } from "../io/tensor.ts";
import { topSvd } from "./svd.ts";

/** One block: S ⊙ (U Vᵀ). */
export interface StackBlock {
  /** (out, in) 1 where what was left is not negative. */
  readonly positive: Uint8Array<ArrayBuffer>;
  /** U (out, k) and Vᵀ (k, in), rounded to 16 bits. */
  readonly u: Matrix;
  readonly vt: Matrix;
}

/** Keeps a silent channel's scale away from 0. */
const SMALLEST_SCALE = 1e-3;

/**
 * Scales of the input channels: the mean over samples of ‖x_:,j‖₂ over the sample's tokens, and 0.001.
 *
 * @param samples X (tokens, in) each. @returns (in).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { stackScale } from "./bitstack.ts";
 * const x = { data: Float32Array.of(3, 0, 4, 1), rows: 2, cols: 2 };
 * assert.deepEqual([...stackScale([x])], [5.001, 1.001]);
 * ```
 */
export function stackScale(samples: readonly Matrix[]): Float64Array {
  const scale = new Float64Array(samples[0].cols);
  for (const x of samples) {
    const squares = new Float64Array(x.cols);
    for (let i = 0; i < x.data.length; i++) squares[i % x.cols] += x.data[i] ** 2;
    squares.forEach((v, j) => scale[j] += Math.sqrt(v) / samples.length);
  }
  return scale.map((v) => v + SMALLEST_SCALE);
}

/** √σ on both sides of the r largest singular triples: (rows, r) and (r, cols), row-major. */
function factorsOf(
  data: Float64Array,
  rows: number,
  cols: number,
  rank: number,
): { u: Float64Array; vt: Float64Array } {
  const f = topSvd({ data, rows, cols }, rank), u = new Float64Array(rows * rank), vt = new Float64Array(rank * cols);
  for (let k = 0; k < f.rank; k++) {
    const root = Math.sqrt(f.s[k]);
    for (let i = 0; i < rows; i++) u[i * rank + k] = f.u[i * f.rank + k] * root;
    for (let j = 0; j < cols; j++) vt[k * cols + j] = f.vt[k * cols + j] * root;
  }
  return { u, vt };
}

function product(u: ArrayLike<number>, vt: ArrayLike<number>, rows: number, cols: number): Float64Array {
  const rank = u.length / rows, out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < rank; k++) {
      const x = u[i * rank + k];
      for (let j = 0; j < cols; j++) out[i * cols + j] += x * vt[k * cols + j];
    }
  }
  return out;
}

/**
 * The stack of a matrix.
 *
 * R_0 = W; a block keeps the signs of R_t (0 counts as +) and the rank-k approximation of |R_t|, which is taken off with
 * those signs before its factors are rounded: R_{t+1} = R_t − S ⊙ (U Vᵀ).
 *
 * @param w W (out, in), columns already scaled. @param ranks k of each block.
 * Source: BitStack, arXiv 2410.23918; xinghaow99/BitStack 9f333d6.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { composeStack, stackBlocks } from "./bitstack.ts";
 * const w = { data: Float32Array.of(2, -2, -4, 4), rows: 2, cols: 2 }; // |W| has rank 1
 * assert.deepEqual([...composeStack(stackBlocks(w, [1]), w).data].map((v) => Math.round(v * 100) / 100), [2, -2, -4, 4]);
 * ```
 */
export function stackBlocks(w: Matrix, ranks: readonly number[]): StackBlock[] {
  const { rows, cols } = w, left = Float64Array.from(w.data);
  return ranks.map((rank) => {
    const positive = Uint8Array.from(left, (v) => v >= 0 ? 1 : 0);
    const { u, vt } = factorsOf(left.map(Math.abs), rows, cols, rank);
    product(u, vt, rows, cols).forEach((v, i) => left[i] -= positive[i] ? v : -v);
    return {
      positive,
      u: { data: Float32Array.from(u, Math.f16round), rows, cols: rank },
      vt: { data: Float32Array.from(vt, Math.f16round), rows: rank, cols },
    };
  });
}

/** Σ_t S_t ⊙ (U_t V_tᵀ) of the given blocks, (out, in). */
export function composeStack(blocks: readonly StackBlock[], shape: { rows: number; cols: number }): Matrix {
  const out = matrix(shape.rows, shape.cols), sum = new Float64Array(out.data.length);
  for (const { positive, u, vt } of blocks) {
    product(u.data, vt.data, shape.rows, shape.cols).forEach((v, i) => sum[i] += positive[i] ? v : -v);
  }
  out.data.set(sum);
  return out;
}

/** What the reference compares with: a block without signs, the rank that costs as much, ⌊mn / (16 (m + n))⌋ + k. */
export function plainBlock(w: Matrix, rank: number): Matrix {
  const { rows, cols } = w, { u, vt } = factorsOf(Float64Array.from(w.data), rows, cols, rank);
  return { data: Float32Array.from(product(u, vt, rows, cols)), rows, cols };
}

/** The rank of {@link plainBlock} that costs what a block of rank k with signs costs. */
export function plainRank(rows: number, cols: number, k: number): number {
  return Math.floor(rows * cols / (16 * (rows + cols))) + k;
}
