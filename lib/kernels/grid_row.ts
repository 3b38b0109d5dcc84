// The grid search of one row: its range, its scores, and the choice among the candidates that bounds have left.
import type { Floats } from "../io/tensor.ts";
import { roundHalfEven } from "./round.ts";
import { boundCandidates, type Candidates, openMoments } from "./grid_moments.ts";
import type { SearchOptions } from "./kernels.ts";

const f32 = Math.fround;
const SMALLEST_SCALE = f32(1e-8);
/** A candidate must score below this to be taken at all; the reference starts its comparison here. */
const FIRST_BEST = 1e10;

/** What the search of one row is made of: float32 numbers, all rounded where the reference's are. */
export interface RowRange {
  readonly min: number;
  readonly max: number;
  /** R / steps */
  readonly step: number;
  /** 2^b − 1, or 2^(b−1) on a symmetric grid */
  readonly levels: number;
}

/** The chosen grid of one row, before it is stored. */
export interface Choice {
  readonly scale: number;
  readonly zero: number;
  readonly loss: number;
}

/** Every candidate of one row, scored as it is defined. */
export function searchRowReference(row: Floats, range: RowRange, o: SearchOptions): Choice {
  const [firstZero, lastZero] = zeroPoints(o), top = 2 ** o.bits - 1;
  let best = FIRST_BEST, step = o.steps, zero = -1;
  for (let i = 1; i <= o.steps; i++) {
    const scale = scaleAt(range, i);
    for (let z = firstZero; z <= lastZero; z++) {
      const loss = lossOf(row, scale, z, top);
      if (loss < best) [best, step, zero] = [loss, i, z];
    }
  }
  return finish(range, step, zero, best, o);
}

/** mean |w − ŵ|^2.4 of one row on one grid: float32 values, the sum in double. */
function lossOf(row: Floats, scale: number, zero: number, top: number): number {
  const low = -zero, high = top - zero;
  let sum = 0;
  for (let j = 0; j < row.length; j++) {
    const r = roundHalfEven(f32(row[j] / scale));
    const q = r < low ? low : r > high ? high : r;
    sum += f32(Math.abs(f32(row[j] - f32(scale * q))) ** 2.4);
  }
  return sum / row.length;
}

/** The search of single rows, with scratch memory that is kept between them. */
export interface RowSearch {
  /** The whole search of a row. */
  search(row: Floats): Choice;
  /** The best of the candidates, scored in full. */
  decide(row: Floats, range: RowRange, candidates: Candidates): Choice;
  /**
   * The score of one likely candidate, as a sum in half units (lib/kernels/grid_moments.ts): what any other has to beat.
   */
  guess(row: Floats, range: RowRange): number;
  /** Near the floor of the scale and where float32 runs out of exponents, only the definition is right. */
  isPlain(range: RowRange): boolean;
}

/** By bits: the scale that suits normal weights of deviation 1, about. */
const NORMAL_SCALE = [0, 0, 1.04, 0.62, 0.36];

/** Opens the search of rows of `count` weights under the given options. */
export function openRowSearch(o: SearchOptions, count: number): RowSearch {
  const [firstZero, lastZero] = zeroPoints(o);
  const levels = levelsOf(o), top = 2 ** o.bits - 1;
  const few = o.steps * levels <= 30000; // beyond, moments would not fit a cache
  const moments = few ? openMoments(o.steps, levels, top, count) : null;
  const candidates: Candidates = { steps: [], zeros: [], low: [] };
  const losses: number[] = [];
  const isPlain = (range: RowRange) => few && range.step / levels > SMALLEST_SCALE && range.max - range.min < 1000;
  const decide = (row: Floats, range: RowRange, { steps, zeros }: Candidates) => {
    let least = Infinity;
    for (let c = 0; c < steps.length; c++) {
      losses[c] = fastLoss(row, scaleAt(range, steps[c]), zeros[c], top, least * (1 + 2 * TIE));
      if (losses[c] < least) least = losses[c];
    }
    const tied = losses.reduce((n, loss, c) => c < steps.length && loss <= least * (1 + TIE) ? n + 1 : n, 0);
    let best = FIRST_BEST, step = o.steps, zero = -1;
    for (let c = 0; c < steps.length; c++) {
      if (losses[c] > least * (1 + TIE)) continue;
      const i = steps[c], z = zeros[c];
      const loss = tied > 1 ? lossOf(row, scaleAt(range, i), z, top) : losses[c]; // a tie: the definition decides
      const earlier = i < step || (i === step && z < zero);
      if (loss < best || (loss === best && earlier)) [best, step, zero] = [loss, i, z];
    }
    return finish(range, step, zero, best, o);
  };
  const search = (row: Floats) => {
    const range = rangeOf(row, o);
    if (!moments || !isPlain(range)) return searchRowReference(row, range, o);
    boundCandidates(moments, row, 2 * levels / range.step, range, firstZero, lastZero, top, candidates);
    return decide(row, range, candidates);
  };
  const guess = (row: Floats, range: RowRange) => {
    if (!isPlain(range)) return Infinity;
    let squares = 0;
    for (let j = 0; j < row.length; j++) squares += row[j] * row[j];
    const wanted = NORMAL_SCALE[o.bits] * Math.sqrt(squares / row.length);
    const i = Math.max(1, Math.min(o.steps, Math.round(wanted * levels / range.step)));
    const t = range.step * i, reach = Math.min(-range.min, Math.max(t / 2, t - range.max));
    const z = o.symmetric ? firstZero : Math.max(0, Math.min(top, Math.round(reach * levels / t)));
    const unit = range.step / levels;
    return fastLoss(row, scaleAt(range, i), z, top, Infinity) * row.length / (unit / 2) ** 2.4;
  };
  return { search, decide, guess, isPlain };
}

/** Two scores closer than this, relative, are a tie that the table below cannot decide. */
const TIE = 1e-6;
const TABLE = 4096;
/** (k / (2 · TABLE))^2.4: linear in between, it is right to 5e-9, 9e-8 of the mean over half a cell. */
const POWERS = Float64Array.from({ length: TABLE + 2 }, (_, k) => (k / (2 * TABLE)) ** 2.4);

/** As `lossOf`, to 5e-7 relative and mostly 1e-7; gives up with Infinity once the score exceeds `limit`. */
function fastLoss(row: Floats, scale: number, zero: number, top: number, limit: number): number {
  const low = -zero, high = top - zero, inverse = 1 / scale, powers = POWERS, n = row.length;
  const factor = scale ** 2.4 / n, stop = limit / factor;
  let sum = 0;
  for (let j = 0; j < n;) {
    const end = Math.min(j + 64, n);
    for (; j < end; j++) {
      const y = row[j] * inverse;
      const r = (y + 6755399441055744) - 6755399441055744; // half to even, as roundHalfEven
      const q = r < low ? low : r > high ? high : r;
      const u = Math.abs(y - q) * (2 * TABLE);
      if (u < TABLE + 1) {
        const k = u | 0, p = powers[k];
        sum += p + (u - k) * (powers[k + 1] - p);
      } else sum += (u / (2 * TABLE)) ** 2.4;
    }
    if (sum > stop) return Infinity;
  }
  // A nearly exact fit lives in the table's first entries, where a line is a poor guess at u^2.4.
  return sum < n / 100 ? lossOf(row, scale, zero, top) : sum * factor;
}

/** The range of a row, zero included; a symmetric grid goes by the larger side. */
export function rangeOf(row: Floats, o: SearchOptions): RowRange {
  let min = 0, max = 0;
  for (let j = 0; j < row.length; j++) {
    if (row[j] < min) min = row[j];
    if (row[j] > max) max = row[j];
  }
  const width = o.symmetric ? Math.max(-min, max) : f32(max - min);
  return { min, max, step: f32(width / o.steps), levels: levelsOf(o) };
}

/** Levels that half the range (symmetric) or the whole range is cut into. */
export function levelsOf(o: SearchOptions): number {
  return o.symmetric ? 2 ** (o.bits - 1) : 2 ** o.bits - 1;
}

function zeroPoints(o: SearchOptions): [number, number] {
  return o.symmetric ? [2 ** (o.bits - 1), 2 ** (o.bits - 1)] : [0, 2 ** o.bits - 1];
}

function scaleAt(range: RowRange, i: number): number {
  return Math.max(f32(f32(range.step * i) / range.levels), SMALLEST_SCALE);
}

/** From the chosen step and zero point to the stored grid, through the range they stand for, as the reference does. */
function finish(range: RowRange, step: number, zero: number, loss: number, o: SearchOptions): Choice {
  const t = f32(range.step * step), { levels } = range;
  if (o.symmetric) return { scale: scaleAt(range, step), zero: levels, loss };
  const shift = f32(scaleAt(range, step) * zero);
  // Nothing scored below the first best (weights beyond 10^4): the whole range stands.
  const min = zero < 0 ? range.min : Math.min(-shift, 0), max = zero < 0 ? range.max : Math.max(f32(t - shift), 0);
  const scale = Math.max(f32(f32(max - min) / levels), SMALLEST_SCALE);
  return { scale, zero: Math.max(0, Math.min(levels, roundHalfEven(f32(-min / scale)))), loss };
}
