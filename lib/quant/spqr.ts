// SpQR: an OPTQ sweep in very small groups, whose scales and zeros are themselves codes, and with the single weights that
// rounding hurts most kept in 16 bits.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";
import { f16round } from "./f16.ts";
import { diagonal } from "./hessian.ts";
import { inverseFactor, obsSweep } from "./obs_sweep.ts";
import { permuteColumns } from "./optq.ts";
import { byScore } from "./sensitivity.ts";

/** How SpQR rounds. */
export interface SpqrOptions {
  readonly bits: number;
  /** Columns of a group; 0: the row. */
  readonly groupSize: number;
  /** Bits of the codes of scales and of zeros. */
  readonly scaleCodeBits: number;
  readonly zeroCodeBits: number;
  /** Rows of a group column that share a second-level grid. */
  readonly run: number;
  /** Keep a weight whose (error / U_jj)² is above `threshold` times the mean of var(W_:,j)/U_jj²; Infinity: keep none. */
  readonly threshold: number;
  /** Do without the test that fits a group's grid to all but one of its weights. */
  readonly simplified: boolean;
  readonly actOrder: boolean;
  readonly damp: number;
  readonly blockSize: number;
  /** 16: second-level grids and kept weights are rounded to f16 as they come up. */
  readonly storeBits: 16 | 32;
}

/** SpQR's near-lossless settings, at 3 bits. */
export const SPQR_DEFAULTS: SpqrOptions = {
  bits: 3,
  groupSize: 16,
  scaleCodeBits: 3,
  zeroCodeBits: 3,
  run: 16,
  threshold: 0.2,
  simplified: false,
  actOrder: true,
  damp: 1,
  blockSize: 128,
  storeBits: 16,
};

/** Scales or zeros as codes: value = qqScale · (code − qqZero). */
export interface CodedStatistic {
  /** (out, groups) */
  readonly values: Floats;
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (runs, groups) */
  readonly qqScale: Floats;
  readonly qqZero: Floats;
}

/** What SpQR gives; all columns in the order of work. */
export interface SpqrLayer {
  /** (in) the column that was done at each step. */
  readonly order: Int32Array<ArrayBuffer>;
  /** (out, in); a kept weight has the code of 0. */
  readonly codes: Uint8Array<ArrayBuffer>;
  readonly scale: CodedStatistic;
  readonly zero: CodedStatistic;
  /** (out, in) 1 where a weight is kept. */
  readonly mask: Uint8Array<ArrayBuffer>;
  /** (out, in) the kept weights as they stood, 0 elsewhere. */
  readonly kept: Matrix;
  /** The mean of var(W_:,j)/U_jj², and the bound of (error / U_jj)². */
  readonly unit: number;
  readonly bound: number;
  /** (out, in) (error / U_jj)² of each weight on its first rounding. */
  readonly scores: Float64Array;
  readonly damp: number;
}

interface RowGrid {
  readonly scale: Float64Array;
  readonly zero: Float64Array;
}

const SMALLEST = 1e-9;

/** A min–max grid with a real zero point; a constant row counts as −1 … 1. */
function gridOf(min: number, max: number, top: number): [number, number] {
  if (min === max) [min, max] = [-1, 1];
  const scale = (max - min) / top;
  return [scale, -min / scale];
}

function roundOn(w: number, scale: number, zero: number, top: number): number {
  return Math.max(0, Math.min(top, roundHalfEven(w / Math.max(scale, SMALLEST) + zero)));
}

/**
 * SpQR.
 *
 * Column by column as OPTQ. At the first column of a group its grid is fitted to the columns as they stand, without the
 * weights whose absence lowers the group's error Σ ((w − ŵ)/U_jj)² by more than the bound; then scales and zeros are
 * rounded to codes. A weight whose own error is above the bound is kept as it stands and loses nothing.
 *
 * @param w W (out, in). @param h H (in, in). @param o options.
 * @throws LabError as inverseFactor.
 * Source: Dettmers et al., ICLR 2024, arXiv 2306.03078; Vahe1994/SpQR 543d10e.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { spqr, SPQR_DEFAULTS } from "./spqr.ts";
 * const w = { data: Float32Array.of(0.1, 0.2, -0.1, 9, 0.3, -0.2, 0.2, 0.1), rows: 2, cols: 4 };
 * const h = { data: Float32Array.from({ length: 16 }, (_, i) => i % 5 === 0 ? 1 : 0), rows: 4, cols: 4 };
 * const { mask } = spqr(w, h, { ...SPQR_DEFAULTS, threshold: 0.01, actOrder: false });
 * assert.deepEqual([...mask].slice(0, 4), [0, 0, 0, 1]); // the 9 is kept
 * ```
 */
export function spqr(w: Matrix, h: Matrix, o: SpqrOptions): SpqrLayer {
  const { rows, cols } = w, natural = Int32Array.from({ length: cols }, (_, j) => j);
  const order = o.actOrder ? byScore(diagonal(h)) : natural, permuted = permuteColumns(w, order);
  const factor = inverseFactor(h, order, o.damp, false), u = (j: number) => factor.u[j * cols + j];
  const size = o.groupSize > 0 ? o.groupSize : cols, groups = Math.ceil(cols / size), top = 2 ** o.bits - 1;
  const unit = meanVariance(permuted, u), bound = o.threshold * unit, runs = Math.ceil(rows / o.run);
  const room = (): CodedStatistic => ({
    values: new Float32Array(rows * groups),
    codes: new Uint8Array(rows * groups),
    qqScale: new Float32Array(runs * groups),
    qqZero: new Float32Array(runs * groups),
  });
  const scale = room(), zero = room(), kept = matrix(rows, cols), mask = new Uint8Array(rows * cols);
  const codes = new Uint8Array(rows * cols), scores = new Float64Array(rows * cols);
  const round = (j: number, standing: readonly Float64Array[]) => {
    const g = Math.floor(j / size);
    if (j % size === 0) {
      const group = standing.slice(j, j + size), weights = group.map((_, k) => u(j + k));
      const leaveOut = o.simplified || bound === Infinity ? null : { weights, bound };
      const grid = fitGroup(group, top, leaveOut);
      codeStatistic(grid.scale, o.scaleCodeBits, g, groups, o, scale);
      codeStatistic(grid.zero, o.zeroCodeBits, g, groups, o, zero);
    }
    return standing[j].map((v, r) => {
      const s = scale.values[r * groups + g], z = zero.values[r * groups + g], at = r * cols + j;
      const first = roundOn(v, s, z, top);
      scores[at] = ((v - s * (first - z)) / u(j)) ** 2;
      if (!(scores[at] > bound)) {
        codes[at] = first;
        return s * (first - z);
      }
      mask[at] = 1;
      codes[at] = roundOn(0, s, z, top);
      kept.data[at] = o.storeBits === 16 ? f16round(v) : v;
      return o.storeBits === 16 ? kept.data[at] : v;
    });
  };
  obsSweep({ weight: permuted, factor, blockSize: o.blockSize, round });
  return { order, codes, scale, zero, mask, kept, unit, bound, scores, damp: factor.damp };
}

/** The mean over columns of var(W_:,j) / U_jj², the variance unbiased. */
function meanVariance(w: Matrix, u: (j: number) => number): number {
  let total = 0;
  for (let j = 0; j < w.cols; j++) {
    let mean = 0, squares = 0;
    for (let r = 0; r < w.rows; r++) mean += w.data[r * w.cols + j] / w.rows;
    for (let r = 0; r < w.rows; r++) squares += (w.data[r * w.cols + j] - mean) ** 2;
    total += squares / Math.max(1, w.rows - 1) / u(j) ** 2 / w.cols;
  }
  return total;
}

/** One grid a row over a group of columns, likely outliers replaced by the mean of the others. */
function fitGroup(
  group: readonly Float64Array[],
  top: number,
  leaveOut: { readonly weights: readonly number[]; readonly bound: number } | null,
): RowGrid {
  const rows = group[0].length, scale = new Float64Array(rows), zero = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    let values = group.map((column) => column[r]);
    if (leaveOut) {
      const gains = leaveOneOut(values, leaveOut.weights, top), keep = gains.map((gain) => !(gain > leaveOut.bound));
      const others = values.filter((_, k) => keep[k]),
        mean = sum(others) / Math.max(1, others.length);
      values = values.map((v, k) => keep[k] ? v : mean);
    }
    [scale[r], zero[r]] = gridOf(Math.min(...values), Math.max(...values), top);
  }
  return { scale, zero };
}

/** How much the group's error Σ ((w − ŵ)/U_jj)² falls when one weight is exact and the grid is fitted to the others. */
function leaveOneOut(values: readonly number[], u: readonly number[], top: number): number[] {
  const errors = (min: number, max: number) => {
    const [scale, zero] = gridOf(min, max, top);
    return values.map((v, k) => ((v - scale * (roundOn(v, scale, zero, top) - zero)) / u[k]) ** 2);
  };
  const min = Math.min(...values), max = Math.max(...values), all = errors(min, max), total = sum(all);
  return values.map((v, k) => {
    if (v > min && v < max) return all[k]; // the grid hangs on the two ends alone
    const others = values.filter((_, i) => i !== k);
    if (others.length === 0) return total;
    const without = errors(Math.min(...others), Math.max(...others));
    return total - (sum(without) - without[k]);
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** Codes of a statistic of group g, one grid for each run of rows, into `out`. */
function codeStatistic(
  values: Float64Array,
  bits: number,
  g: number,
  groups: number,
  o: SpqrOptions,
  out: CodedStatistic,
): void {
  const top = 2 ** bits - 1, stored = (v: number) => o.storeBits === 16 ? f16round(v) : Math.fround(v);
  for (let from = 0, q = 0; from < values.length; from += o.run, q++) {
    const run = values.subarray(from, from + o.run),
      [s, z] = gridOf(Math.min(...run), Math.max(...run), top).map(stored);
    out.qqScale[q * groups + g] = s;
    out.qqZero[q * groups + g] = z;
    for (let i = 0; i < run.length; i++) {
      const code = roundOn(run[i], s, z, top), at = (from + i) * groups + g;
      out.codes[at] = code;
      out.values[at] = s * (code - z);
    }
  }
}

/**
 * SpQR that keeps at most a share of the weights: the threshold is taken from the scores of a sweep that keeps none, and
 * raised until what is kept is no more.
 *
 * @param share of all weights, 0 … 1; 0 keeps none.
 */
export function spqrWithShare(w: Matrix, h: Matrix, o: SpqrOptions, share: number): SpqrLayer {
  const none = spqr(w, h, { ...o, threshold: Infinity }), most = Math.floor(share * w.data.length);
  if (most === 0) return none;
  const sorted = none.scores.slice().sort();
  let threshold = sorted[sorted.length - 1 - most] / none.unit;
  for (;; threshold *= 1.15) {
    const found = spqr(w, h, { ...o, threshold });
    if (found.mask.reduce((a, b) => a + b, 0) <= most) return found;
  }
}
