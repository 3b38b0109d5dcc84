// The grid search of OWQ ("truncation"): for each row, the range and zero point with the least mean |w − ŵ|^2.4.
// `searchGridReference` is the definition, one line a step; `searchGridTwin` finds the same grid without trying them all.
import type { Floats, Matrix } from "../io/tensor.ts";
import { checkSearch, roundHalfEven } from "./checks.ts";
import { boundCandidates, type Candidates, openMoments } from "./grid_moments.ts";
import type { RowGrid, SearchOptions } from "./kernels.ts";

const f32 = Math.fround;
const SMALLEST_SCALE = f32(1e-8);
/** A candidate must score below this to be taken at all; the reference starts its comparison here. */
const FIRST_BEST = 1e10;

/** What the search of one row is made of: float32 numbers, all rounded where the reference's are. */
interface RowRange {
  readonly min: number;
  readonly max: number;
  /** R / steps */
  readonly step: number;
  /** 2^b − 1, or 2^(b−1) on a symmetric grid */
  readonly levels: number;
}

/** The chosen grid of one row, before it is stored. */
interface Choice {
  readonly scale: number;
  readonly zero: number;
  readonly loss: number;
}

/**
 * The grid search as it is defined: every range and every zero point of every row, in float32.
 * Slow; it is what `searchGridTwin` and wgsl/grid_search.wgsl are held against.
 *
 * R = max(row, 0) − min(row, 0); for i = 1 … steps: t = R·i/steps, s = t / (2^b − 1), r = round(w / s);
 * for z = 0 … 2^b − 1: ŵ = s · (clamp(r + z, 0, 2^b − 1) − z). The first least mean |w − ŵ|^2.4 wins.
 * Symmetric: R = max|w|, s = t / 2^(b−1), z = 2^(b−1) only.
 *
 * @param w W (rows, cols); only `o.columns` of it count.
 * @returns scale, zero and loss, each (rows).
 * @throws LabError on NaN or infinity and on options outside their bounds.
 * @see OWQ (arXiv 2306.02272) section 3.3, as computed by its reference implementation
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { searchGridReference } from "./grid_search.ts";
 * const w = { data: Float32Array.of(-3, -2, 0, 1, 4), rows: 1, cols: 5 };
 * const grid = searchGridReference(w, { bits: 3, symmetric: false, steps: 100, exponent: 2.4 });
 * assert.deepEqual([grid.scale[0], grid.zero[0], grid.loss[0]], [1, 3, 0]);
 * ```
 */
export function searchGridReference(w: Matrix, o: SearchOptions): RowGrid {
  const { start, count } = checkSearch(w, o);
  const out = emptyGrid(w.rows);
  for (let r = 0; r < w.rows; r++) {
    const row = w.data.subarray(r * w.cols + start, r * w.cols + start + count);
    store(out, r, searchRowReference(row, rangeOf(row, o), o));
  }
  return out;
}

function searchRowReference(row: Floats, range: RowRange, o: SearchOptions): Choice {
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

/**
 * The grid search of every row, as `searchGridReference` defines it, in a small part of its time.
 *
 * Each candidate's score is first bounded from both sides in a number of operations that does not depend on the length
 * of the row (lib/kernels/grid_moments.ts); only the candidates whose bounds overlap the best one's are computed in full.
 * Yields to the event loop about every 50 ms.
 *
 * @param w W (rows, cols); only `o.columns` of it count.
 * @returns scale, zero and loss, each (rows).
 * @throws LabError on NaN or infinity and on options outside their bounds.
 * @see OWQ (arXiv 2306.02272) section 3.3
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { searchGridTwin } from "./grid_search.ts";
 * const w = { data: Float32Array.of(-3, -2, 0, 1, 4), rows: 1, cols: 5 };
 * const grid = await searchGridTwin(w, { bits: 3, symmetric: false, steps: 100, exponent: 2.4 });
 * assert.deepEqual([grid.scale[0], grid.zero[0], grid.loss[0]], [1, 3, 0]);
 * ```
 */
export async function searchGridTwin(w: Matrix, o: SearchOptions): Promise<RowGrid> {
  const { start, count } = checkSearch(w, o);
  const out = emptyGrid(w.rows);
  const search = openRowSearch(o);
  let last = performance.now();
  for (let r = 0; r < w.rows; r++) {
    store(out, r, search(w.data.subarray(r * w.cols + start, r * w.cols + start + count)));
    if ((r & 15) === 15 && performance.now() - last > 50) {
      await new Promise((resolve) => setTimeout(resolve));
      last = performance.now();
    }
  }
  return out;
}

/** Makes the function that searches one row; it keeps its scratch memory between rows. */
function openRowSearch(o: SearchOptions): (row: Floats) => Choice {
  const [firstZero, lastZero] = zeroPoints(o);
  const levels = levelsOf(o), top = 2 ** o.bits - 1;
  if (o.steps * levels > 30000) return (row) => searchRowReference(row, rangeOf(row, o), o); // moments would not fit a cache
  const moments = openMoments(o.steps, levels, top);
  const candidates: Candidates = { steps: [], zeros: [], low: [] };
  const losses: number[] = [];
  return (row) => {
    const range = rangeOf(row, o);
    // Near the floor of the scale and where float32 runs out of exponents, only the definition is right.
    const unit = range.step / levels;
    if (!(unit > SMALLEST_SCALE && range.max - range.min < 1000)) return searchRowReference(row, range, o);
    boundCandidates(moments, row, 2 / unit, firstZero, lastZero, top, candidates);
    const { steps, zeros } = candidates;
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
}

/** Two scores closer than this, relative, are a tie that the table below cannot decide. */
const TIE = 3e-7;
const TABLE = 8192;
/** (k / (2 · TABLE))^2.4: linear in between, it is right to 1.2e-9, 2e-8 of the mean over half a cell. */
const POWERS = Float64Array.from({ length: TABLE + 2 }, (_, k) => (k / (2 * TABLE)) ** 2.4);

/** As `lossOf`, to 1.2e-7 relative and mostly 2e-8; gives up with Infinity once the score exceeds `limit`. */
function fastLoss(row: Floats, scale: number, zero: number, top: number, limit: number): number {
  const low = -zero, high = top - zero, inverse = 2 * TABLE / scale;
  const factor = scale ** 2.4 / row.length, stop = limit / factor;
  let sum = 0;
  for (let j = 0; j < row.length;) {
    const end = Math.min(j + 64, row.length);
    for (; j < end; j++) {
      const w = row[j];
      const r = roundHalfEven(f32(w / scale));
      const q = r < low ? low : r > high ? high : r;
      const u = Math.abs(f32(w - f32(scale * q))) * inverse;
      if (u < TABLE) {
        const k = u | 0, p = POWERS[k];
        sum += p + (u - k) * (POWERS[k + 1] - p);
      } else sum += (u / (2 * TABLE)) ** 2.4;
    }
    if (sum > stop) return Infinity;
  }
  // A nearly exact fit lives in the table's first entries, where a line is a poor guess at u^2.4.
  return sum < row.length / 100 ? lossOf(row, scale, zero, top) : sum * factor;
}

/** The range of a row, zero included; a symmetric grid takes the larger side for both. */
function rangeOf(row: Floats, o: SearchOptions): RowRange {
  let min = 0, max = 0;
  for (let j = 0; j < row.length; j++) {
    if (row[j] < min) min = row[j];
    if (row[j] > max) max = row[j];
  }
  if (o.symmetric) {
    max = Math.max(-min, max);
    return { min: 0, max, step: f32(max / o.steps), levels: levelsOf(o) };
  }
  return { min, max, step: f32(f32(max - min) / o.steps), levels: levelsOf(o) };
}

function levelsOf(o: SearchOptions): number {
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

function emptyGrid(rows: number): RowGrid {
  return { scale: new Float32Array(rows), zero: new Float32Array(rows), loss: new Float32Array(rows) };
}

function store(out: RowGrid, row: number, choice: Choice): void {
  out.scale[row] = choice.scale;
  out.zero[row] = choice.zero;
  out.loss[row] = choice.loss;
}
