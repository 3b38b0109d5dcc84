// Bit allocation over the input columns: a first OPTQ pass shows what each column loses, a second one gives each column as
// many levels as make all of them lose the same.
import type { Floats, Matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";
import { diagonal } from "./hessian.ts";
import { fromColumns, inverseFactor, obsSweep } from "./obs_sweep.ts";

/** How BAQ rounds. */
export interface BaqOptions {
  /** Bits of each column in the first pass. */
  readonly bits: number;
  /** Mean log2(levels) that the second pass aims at; `bits` unless told. */
  readonly rate?: number;
  /** What a bit more divides a column's loss by is 2^theta; theory says 2. */
  readonly theta: number;
  readonly damp: number;
  /** Most levels of a column. */
  readonly mostLevels: number;
  /** 16: the rows' ranges are rounded to f16 before anything is rounded on them. */
  readonly scaleBits: 16 | 32;
}

/** The defaults of CSU-ModelCompression/BAQ, at 3 bits; it has no bound on the levels. */
export const BAQ_DEFAULTS: BaqOptions = {
  bits: 3,
  theta: 1.95,
  damp: 0.01,
  mostLevels: Infinity,
  scaleBits: 32,
};

/** One range a row, 0 in it. */
export interface RowRange {
  /** (out) */
  readonly min: Floats;
  readonly max: Floats;
}

/** A pass with a number of levels for each column. */
export interface LevelsPass {
  /** (in) levels of each column, 1: the column is 0. */
  readonly levels: Int32Array<ArrayBuffer>;
  /** (out, in) 0 … levels_j − 1. */
  readonly codes: Int32Array<ArrayBuffer>;
  /** (out, in) Ŵ. */
  readonly approximation: Matrix;
  /** (in) ½ Σ_rows ((w − ŵ)/U_jj)². */
  readonly loss: Float64Array;
  readonly damp: number;
}

/** What BAQ gives: the pass before and the one with levels of each column's own. */
export interface BaqLayer extends LevelsPass {
  readonly first: LevelsPass;
  readonly range: RowRange;
}

const f32 = Math.fround, LOG_FLOOR = 1e-8;

/** The range of each row with 0 in it; −1 … 1 where the row is all 0. */
export function rowRange(w: Matrix, round: (x: number) => number = f32): RowRange {
  const min = new Float32Array(w.rows), max = new Float32Array(w.rows);
  for (let i = 0; i < w.data.length; i++) {
    const r = Math.floor(i / w.cols);
    min[r] = Math.min(min[r], w.data[i]);
    max[r] = Math.max(max[r], w.data[i]);
  }
  for (let r = 0; r < w.rows; r++) {
    [min[r], max[r]] = [round(min[r]), round(max[r])];
    if (min[r] === 0 && max[r] === 0) [min[r], max[r]] = [-1, 1];
  }
  return { min, max };
}

/** The grid of `levels` levels over a range: [step, zero point]; one level is the value 0. */
export function levelsGrid(min: number, max: number, levels: number): [scale: number, zero: number] {
  if (levels < 2) return [0, 0];
  const scale = f32(f32(max - min) / (levels - 1));
  return [scale, roundHalfEven(f32(-min / scale))];
}

/**
 * Levels that make all columns lose the same: L_j = round(max(1, (ℓ_j / GM)^(1/θ) · 2^rate)), GM the geometric mean.
 *
 * @param loss ℓ (in) of a pass with equal levels. @param rate mean log2 of the levels. @param o θ and the most levels.
 * @returns (in) integers from 1.
 * Source: BAQ, arXiv 2506.05664; CSU-ModelCompression/BAQ 4f2e027.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { BAQ_DEFAULTS, levelsOf } from "./baq.ts";
 * assert.deepEqual([...levelsOf([1, 1, 1], 3, BAQ_DEFAULTS)], [8, 8, 8]);
 * assert.deepEqual([...levelsOf([1 / 16, 1, 16], 2, { ...BAQ_DEFAULTS, theta: 2 })], [1, 4, 16]);
 * ```
 */
export function levelsOf(
  loss: ArrayLike<number>,
  rate: number,
  o: Pick<BaqOptions, "theta" | "mostLevels">,
): Int32Array<ArrayBuffer> {
  const n = loss.length, logs = Array.from(loss, (v) => Math.log(v + LOG_FLOOR));
  const mean = Math.exp(logs.reduce((a, b) => a + b, 0) / n);
  return Int32Array.from(loss, (v) => {
    const levels = Math.max(1, v / mean * 2 ** (o.theta * rate)) ** (1 / o.theta);
    return Math.min(o.mostLevels, roundHalfEven(levels));
  });
}

/** GM/AM of the columns' losses: 1 where all lose the same, small where there is much to win. */
export function lossGain(loss: ArrayLike<number>): number {
  const n = loss.length, values = Array.from(loss);
  const logs = values.reduce((a, v) => a + Math.log(v + LOG_FLOOR), 0);
  return Math.exp(logs / n) / (values.reduce((a, v) => a + v, 0) / n);
}

/** What both passes share. */
interface Prepared {
  readonly weight: Matrix;
  readonly range: RowRange;
  readonly factor: ReturnType<typeof inverseFactor>;
}

function prepare(w: Matrix, h: Matrix, o: BaqOptions): Prepared {
  const order = Int32Array.from({ length: w.cols }, (_, j) => j), d = diagonal(h);
  const weight = { ...w, data: w.data.map((v, i) => d[i % w.cols] === 0 ? 0 : v) };
  const range = rowRange(weight, o.scaleBits === 16 ? Math.f16round : f32);
  return { weight, range, factor: inverseFactor(h, order, o.damp) };
}

function pass({ weight, range, factor }: Prepared, levels: Int32Array<ArrayBuffer>): LevelsPass {
  const { rows, cols } = weight, codes = new Int32Array(rows * cols);
  const round = (j: number, standing: readonly Float64Array[]) =>
    standing[j].map((v, r) => {
      const [scale, zero] = levelsGrid(range.min[r], range.max[r], levels[j]);
      if (scale === 0) return 0;
      const code = Math.max(0, Math.min(levels[j] - 1, roundHalfEven(v / scale) + zero));
      codes[r * cols + j] = code;
      return scale * (code - zero);
    });
  const { columns, loss } = obsSweep({ weight, factor, round });
  const approximation = fromColumns(columns, Int32Array.from({ length: cols }, (_, j) => j));
  return { levels, codes, approximation, loss, damp: factor.damp };
}

/**
 * BAQ: OPTQ on one range a row with 2^bits levels everywhere, levels from what each column lost, OPTQ again from the
 * original weights.
 *
 * @param w W (out, in). @param h H (in, in). @param o options.
 * @param choose levels from the first pass's losses; {@link levelsOf} at `rate` unless told.
 * @throws LabError as inverseFactor.
 * Source: BAQ, arXiv 2506.05664; CSU-ModelCompression/BAQ 4f2e027.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { baq, BAQ_DEFAULTS } from "./baq.ts";
 * const w = { data: Float32Array.of(1, -0.6, 0.3, 0.2, 0.9, -1), rows: 2, cols: 3 };
 * const h = { data: Float32Array.of(100, 0, 0, 0, 1, 0, 0, 0, 0.01), rows: 3, cols: 3 };
 * const { levels } = baq(w, h, { ...BAQ_DEFAULTS, bits: 2, damp: 0 });
 * assert(levels[0] > levels[1] && levels[1] > levels[2]); // the loud column gets the levels
 * ```
 */
export function baq(
  w: Matrix,
  h: Matrix,
  o: BaqOptions,
  choose: (loss: Float64Array) => Int32Array<ArrayBuffer> = (loss) => levelsOf(loss, o.rate ?? o.bits, o),
): BaqLayer {
  const prepared = prepare(w, h, o), first = pass(prepared, new Int32Array(w.cols).fill(2 ** o.bits));
  return { ...pass(prepared, choose(first.loss)), first, range: prepared.range };
}
