// The OPTQ sweep in plain TypeScript: the specification of the kernels (optq_sweep.ts) and the CPU path.
import { type Floats, matrix } from "../io/tensor.ts";
import { checkSweep } from "./checks.ts";
import { searchGridTwin } from "./grid_search.ts";
import type { SweepProblem, SweepResult } from "./kernels.ts";
import { openPause } from "./pause.ts";
import { roundHalfEven } from "./round.ts";
import { blockOf, chooseGroupGrids, emptySweep, groupCount, groupReach } from "./sweep_groups.ts";

const f32 = Math.fround;
type Pause = ReturnType<typeof openPause>;

/**
 * One OPTQ pass over a layer, in plain TypeScript: the specification of wgsl/optq_sweep.wgsl and the CPU path.
 *
 * For k = 0, 1, …: w_k' = w_k + Σ_{j<k} e_j M[j, k]; code_k = clamp(round(w_k' / scale) + zero, 0, 2^b − 1),
 * ŵ_k = scale · (code_k − zero), e_k = w_k − ŵ_k. For the weak columns, which come last, ŵ_k = w_k'.
 *
 * Done in blocks from the left: first what the blocks before feed into this one (a matrix product), then, row by row,
 * what its columns feed into each other. Sums are in double, w' is rounded to float32.
 * A group that begins in a block has its grid chosen on the weights as they stood when the block began, that is with
 * none of the block's columns rounded; it may reach into the columns of later blocks, never into weak ones.
 *
 * @param p W (rows, cols), M (cols, cols) strictly upper, and the grids or the way to choose them.
 * @returns codes (rows, quantized), weak (rows, cols − quantized), scale and zero (rows, groups), residual (quantized).
 * @throws LabError on NaN or infinity and on shapes that do not fit.
 * @see GPTQ (arXiv 2210.17323); the feedback form with M = R / diag(R) of H = R Rᵀ is LDLQ (QuIP, arXiv 2307.13304)
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sweepTwin } from "./sweep_twin.ts";
 * const result = await sweepTwin({
 *   weight: { data: Float32Array.of(0.75, 0.5, 2), rows: 1, cols: 3 },
 *   feedback: Float32Array.of(0, 1, 0, 0, 0, 1, 0, 0, 0),
 *   quantized: 2,
 *   bits: 3,
 *   grid: { scale: Float32Array.of(1), zero: Float32Array.of(3) },
 *   groupSize: 0,
 *   search: null,
 *   scaleBits: 32,
 *   blockSize: 128,
 * });
 * assert.deepEqual([...result.codes], [4, 3]); // 0.75 → 1; its error −0.25 makes the 0.5 a 0.25 → 0
 * assert.deepEqual([...result.weak], [2.5]);
 * ```
 */
export async function sweepTwin(p: SweepProblem): Promise<SweepResult> {
  checkSweep(p);
  const { rows, cols, data } = p.weight, out = emptySweep(p), groups = groupCount(p);
  const pause = openPause();
  const tile = Math.max(2, Math.floor(TWIN_TILE / cols));
  for (let first = 0; first < rows; first += tile) {
    const end = Math.min(first + tile, rows);
    const weight = { data: data.subarray(first * cols, end * cols), rows: end - first, cols };
    const grid = p.grid && { scale: p.grid.scale.subarray(first, end), zero: p.grid.zero.subarray(first, end) };
    const part = await sweepRows({ ...p, weight, grid }, pause);
    out.codes.set(part.codes, first * p.quantized);
    out.weak.set(part.weak, first * (cols - p.quantized));
    out.scale.set(part.scale, first * groups);
    out.zero.set(part.zero, first * groups);
    for (let k = 0; k < p.quantized; k++) out.residual[k] += part.residual[k];
  }
  return out;
}

/** Weights the twin takes at a time: rows are independent, and their errors in double must not fill the memory. */
const TWIN_TILE = 2 ** 21;

async function sweepRows(p: SweepProblem, pause: Pause): Promise<SweepResult> {
  const { cols } = p.weight, { quantized } = p, blockSize = blockOf(p);
  const out = emptySweep(p);
  const errors = new Float64Array(p.weight.rows * cols); // e (rows, cols)
  for (let from = 0; from < cols;) {
    const to = Math.min(from + blockSize, from < quantized ? quantized : cols);
    const reach = Math.max(to, groupReach(p, from, to));
    const fed = await feedForward(p, errors, from, reach, pause);
    if (groupReach(p, from, to) > 0) {
      const standing = matrix(fed.rows, fed.cols);
      sweepBlock(p, fed, from, reach, errors, null, { data: standing.data, stride: fed.cols, at: 0 });
      await chooseGroupGrids(p, standing, from, to, out, searchGridTwin);
    }
    if (from < quantized) sweepBlock(p, fed, from, to, errors, out, null);
    else sweepBlock(p, fed, from, to, errors, null, { data: out.weak, stride: cols - quantized, at: from - quantized });
    from = to;
  }
  return out;
}

/** What the columns before `from` feed into columns from … to − 1: E M (rows, to − from), in double. */
async function feedForward(p: SweepProblem, errors: Float64Array, from: number, to: number, pause: Pause) {
  const { rows, cols } = p.weight, width = to - from;
  const data = new Float64Array(rows * width);
  const quads = Math.ceil(width / 4), packed = new Float64Array(quads * from * 4); // M as [k / 4][j][k % 4]
  for (let j = 0; j < from; j++) {
    for (let k = 0; k < width; k++) packed[((k >> 2) * from + j) * 4 + (k & 3)] = p.feedback[j * cols + from + k];
  }
  const product = new Float64Array(8);
  for (let r = 0; r < rows; r += 2) {
    const pair = r + 1 < rows;
    for (let quad = 0; quad < quads; quad++) {
      productOf2x4(errors, r * cols, (pair ? r + 1 : r) * cols, packed, quad * from * 4, from, product);
      for (let i = 0, k = quad * 4; i < 4 && k < width; i++, k++) {
        data[r * width + k] = product[i];
        if (pair) data[(r + 1) * width + k] = product[4 + i];
      }
    }
    if ((r & 14) === 0) await pause();
  }
  return { data, rows, cols: width };
}

/** Two rows of `a` times four packed columns of `b`: product = Σ_j a[row + j] · b[4j + …]. */
function productOf2x4(
  a: Float64Array,
  row0: number,
  row1: number,
  b: Float64Array,
  at: number,
  n: number,
  product: Float64Array,
): void {
  let x0 = 0, x1 = 0, x2 = 0, x3 = 0, y0 = 0, y1 = 0, y2 = 0, y3 = 0;
  for (let j = 0; j < n; j++, at += 4) {
    const x = a[row0 + j], y = a[row1 + j];
    const b0 = b[at], b1 = b[at + 1], b2 = b[at + 2], b3 = b[at + 3];
    x0 += x * b0;
    x1 += x * b1;
    x2 += x * b2;
    x3 += x * b3;
    y0 += y * b0;
    y1 += y * b1;
    y2 += y * b2;
    y3 += y * b3;
  }
  product[0] = x0;
  product[1] = x1;
  product[2] = x2;
  product[3] = x3;
  product[4] = y0;
  product[5] = y1;
  product[6] = y2;
  product[7] = y3;
}

/** Where the values of columns that are not rounded go: w' of column `from + k` of row r to `data[r · stride + at + k]`. */
interface Kept {
  readonly data: Floats;
  readonly stride: number;
  readonly at: number;
}

/** Goes through columns from … to − 1, each row by itself: rounds them into `out`, or leaves them as they are in `kept`. */
function sweepBlock(
  p: SweepProblem,
  fed: { readonly data: Float64Array; readonly cols: number },
  from: number,
  to: number,
  errors: Float64Array,
  out: SweepResult | null,
  kept: Kept | null,
): void {
  const { rows, cols, data } = p.weight, { quantized, groupSize } = p;
  const width = to - from, top = 2 ** p.bits - 1, groups = groupCount(p);
  const own = new Float64Array(width * width); // the block's own part of M, transposed: what feeds one column lies together
  for (let k = 0; k < width; k++) {
    for (let j = 0; j < k; j++) own[k * width + j] = p.feedback[(from + j) * cols + from + k];
  }
  const e = new Float64Array(width);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < width; k++) {
      const original = data[r * cols + from + k];
      const w = f32(original + fed.data[r * fed.cols + k] + dot(e, own, k * width, k));
      let value = w;
      if (out) {
        const g = r * groups + (groupSize === 0 ? 0 : Math.floor((from + k) / groupSize));
        const scale = out.scale[g], zero = out.zero[g];
        const code = roundHalfEven(f32(w / scale)) + zero;
        const q = code < 0 ? 0 : code > top ? top : code;
        value = f32(scale * (q - zero));
        out.codes[r * quantized + from + k] = q;
        out.residual[from + k] += (w - value) ** 2;
      } else kept!.data[r * kept!.stride + kept!.at + k] = w;
      e[k] = original - value;
    }
    errors.set(e, r * cols + from);
  }
}

function dot(a: Float64Array, b: Float64Array, at: number, n: number): number {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, j = 0;
  for (; j + 3 < n; j += 4) {
    s0 += a[j] * b[at + j];
    s1 += a[j + 1] * b[at + j + 1];
    s2 += a[j + 2] * b[at + j + 2];
    s3 += a[j + 3] * b[at + j + 3];
  }
  for (; j < n; j++) s0 += a[j] * b[at + j];
  return (s0 + s1) + (s2 + s3);
}
