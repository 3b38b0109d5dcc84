// What a uniform grid does to the weights of a row: its steps, its error, what its range and its zero point cost.
//   ŵ = s · (q − z),  q = clamp(round(w / s) + z, 0, 2^b − 1)
import { LabError } from "../io/errors.ts";
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { minmaxGrid } from "../kernels/minmax.ts";
import { roundToGrid } from "../quant/rtn.ts";

/** The grid of one row. */
export interface Grid {
  /** s: the distance of two levels, in units of the weights. */
  readonly scale: number;
  /** z: the code that means 0. */
  readonly zero: number;
  /** b: codes are 0 … 2^b − 1. */
  readonly bits: number;
}

/** The bits, and whether the zero point is fixed in the middle. */
export interface GridKind {
  readonly bits: number;
  readonly symmetric?: boolean;
}

/**
 * Row r of W as a matrix of one row, sharing its memory.
 *
 * @throws RangeError when there is no such row.
 */
export function rowOf(w: Matrix, r: number): Matrix {
  if (!(Number.isInteger(r) && r >= 0 && r < w.rows)) throw new RangeError(`row ${r} of ${w.rows}`);
  return { data: w.data.subarray(r * w.cols, (r + 1) * w.cols), rows: 1, cols: w.cols };
}

/**
 * The first `count` rows of W, sharing its memory; all of W where it has fewer.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { firstRows } from "./grid_study.ts";
 * assert.deepEqual([...firstRows({ data: Float32Array.of(1, 2, 3, 4), rows: 2, cols: 2 }, 1).data], [1, 2]);
 * ```
 */
export function firstRows(w: Matrix, count: number): Matrix {
  const rows = Math.min(w.rows, Math.max(1, count));
  return { data: w.data.subarray(0, rows * w.cols), rows, cols: w.cols };
}

/**
 * The row whose largest weight stands out most: argmax of max|w| / rms(w).
 *
 * @returns its index, and the ratio.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { peakiestRow } from "./grid_study.ts";
 * assert.equal(peakiestRow({ data: Float32Array.of(1, 1, 1, 9), rows: 2, cols: 2 }).row, 1);
 * ```
 */
export function peakiestRow(w: Matrix): { readonly row: number; readonly peak: number } {
  let row = 0, peak = 0;
  for (let r = 0; r < w.rows; r++) {
    let largest = 0, sum = 0;
    for (const v of rowOf(w, r).data) {
      largest = Math.max(largest, Math.abs(v));
      sum += v * v;
    }
    const ratio = largest / Math.sqrt(sum / w.cols);
    if (ratio > peak) [row, peak] = [r, ratio];
  }
  return { row, peak };
}

/**
 * The min–max grid of one row (lib/kernels/minmax.ts).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { minmaxGridOf } from "./grid_study.ts";
 * const row = { data: Float32Array.of(-3, 0, 4), rows: 1, cols: 3 };
 * assert.deepEqual(minmaxGridOf(row, { bits: 3 }), { scale: 1, zero: 3, bits: 3 });
 * ```
 */
export function minmaxGridOf(row: Matrix, o: GridKind): Grid {
  const g = minmaxGrid(row, { bits: o.bits, symmetric: o.symmetric ?? false });
  return { scale: g.scale[0], zero: g.zero[0], bits: o.bits };
}

/**
 * The grid of one row with the least mean |w − ŵ|^2.4 (lib/kernels/grid_search.ts), `steps` ranges tried.
 */
export async function searchedGridOf(row: Matrix, o: GridKind & { readonly steps: number }, k: Kernels): Promise<Grid> {
  const g = await k.searchGrid(row, { bits: o.bits, symmetric: o.symmetric ?? false, steps: o.steps, exponent: 2.4 });
  return { scale: g.scale[0], zero: g.zero[0], bits: o.bits };
}

/**
 * The 2^b values that a weight can take on a grid, ascending.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { gridLevels } from "./grid_study.ts";
 * assert.deepEqual(gridLevels({ scale: 0.5, zero: 1, bits: 2 }), [-0.5, 0, 0.5, 1]);
 * ```
 */
export function gridLevels(g: Grid): number[] {
  return Array.from({ length: 2 ** g.bits }, (_, q) => g.scale * (q - g.zero));
}

/**
 * A weight on its grid: ŵ = s · (clamp(round(w / s) + z, 0, 2^b − 1) − z), in float32.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { snap } from "./grid_study.ts";
 * const grid = { scale: 0.5, zero: 1, bits: 2 };
 * assert.deepEqual([0.2, 0.3, 9, -9].map((w) => snap(w, grid)), [0, 0.5, 1, -0.5]);
 * ```
 */
export function snap(w: number, g: Grid): number {
  return Math.fround(g.scale * (roundToGrid(w, g.scale, g.zero, g.bits) - g.zero));
}

/** A row on its grid: all its weights by {@link snap}. */
export function snapRow(row: ArrayLike<number>, g: Grid): Floats {
  return Float32Array.from(row, (w) => snap(w, g));
}

/** The corners of a staircase, to be joined by lines. */
export interface Staircase {
  /** w */
  readonly weight: number[];
  /** ŵ(w) */
  readonly rounded: number[];
  /** w − ŵ(w) */
  readonly error: number[];
}

/**
 * The function w → ŵ between two ends, by its corners: level q holds from s·(q − z − ½) to s·(q − z + ½), the outermost
 * levels to the ends.
 *
 * @param from @param to in units of the weights, from < to.
 * @returns two corners a level that lies between the ends.
 * @throws RangeError when from is not below to.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { staircase } from "./grid_study.ts";
 * const s = staircase({ scale: 1, zero: 0, bits: 1 }, -1, 2);
 * assert.deepEqual([s.weight, s.rounded], [[-1, 0.5, 0.5, 2], [0, 0, 1, 1]]);
 * ```
 */
export function staircase(g: Grid, from: number, to: number): Staircase {
  if (!(from < to)) throw new RangeError(`a staircase from ${from} to ${to}`);
  const out: Staircase = { weight: [], rounded: [], error: [] }, levels = gridLevels(g);
  levels.forEach((level, q) => {
    const left = q === 0 ? from : Math.max(from, level - g.scale / 2);
    const right = q === levels.length - 1 ? to : Math.min(to, level + g.scale / 2);
    if (!(left < right)) return;
    for (const w of [left, right]) {
      out.weight.push(w);
      out.rounded.push(level);
      out.error.push(w - level);
    }
  });
  return out;
}

/** Where the squared error of a row comes from, as shares of ‖w‖². */
export interface ErrorParts {
  /** Weights inside the grid's range: at most half a step off. */
  readonly rounding: number;
  /** Weights beyond its ends. */
  readonly clipping: number;
  readonly total: number;
  /** How many weights lie beyond the ends. */
  readonly clipped: number;
}

/**
 * ‖w − ŵ‖² / ‖w‖² of a row, split at half a step: what is farther off than that lies beyond the grid's ends.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { errorParts } from "./grid_study.ts";
 * const e = errorParts([3, 4], { scale: 2, zero: 0, bits: 2 });
 * assert.deepEqual([e.rounding, e.clipping, e.clipped], [1 / 25, 0, 0]); // 3 is halfway: to the even level 4
 * ```
 */
export function errorParts(row: ArrayLike<number>, g: Grid): ErrorParts {
  let rounding = 0, clipping = 0, clipped = 0, size = 0;
  for (let j = 0; j < row.length; j++) {
    const off = Math.abs(row[j] - snap(row[j], g));
    size += row[j] * row[j];
    if (off > g.scale / 2 * (1 + 1e-5)) {
      clipping += off * off;
      clipped++;
    } else rounding += off * off;
  }
  const share = (e: number) => e === 0 ? 0 : e / size;
  return { rounding: share(rounding), clipping: share(clipping), total: share(rounding + clipping), clipped };
}

/** mean |w − ŵ|^2.4 of a row: what the search makes small. */
export function gridLoss(row: ArrayLike<number>, g: Grid): number {
  let sum = 0;
  for (let j = 0; j < row.length; j++) sum += Math.abs(row[j] - snap(row[j], g)) ** 2.4;
  return sum / row.length;
}

/**
 * The grid that covers a share of a row's range: R = max(row, 0) − min(row, 0), s = R · share / (2^b − 1).
 *
 * @param share 0 < share ≤ 1. @param zero the zero point, 0 … 2^b − 1.
 * @throws LabError "input" for a share outside its bounds.
 */
export function gridOfShare(row: Matrix, bits: number, share: number, zero: number): Grid {
  if (!(share > 0 && share <= 1)) {
    throw new LabError("input", "grid", `a share of ${share} of the row's range`, "It lies above 0, up to 1.");
  }
  const whole = minmaxGrid(row, { bits, symmetric: false });
  return { scale: Math.fround(whole.scale[0] * share), zero, bits };
}

/**
 * The loss mean |w − ŵ|^2.4 of one row over range and zero point: the landscape that the grid search walks through.
 *
 * @param row (1, in). @param steps rows of the result: row i stands for i/steps of the row's range, row 0 for a grid
 *   that has shrunk to zero (every ŵ is 0).
 * @returns (steps + 1, 2^b): column z is zero point z.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lossSurface, surfaceMinimum } from "./grid_study.ts";
 * const row = { data: Float32Array.of(-3, 0, 1, 4), rows: 1, cols: 4 };
 * assert.deepEqual(surfaceMinimum(lossSurface(row, 3, 10)), { step: 10, share: 1, zero: 3, loss: 0 });
 * ```
 */
export function lossSurface(row: Matrix, bits: number, steps: number): Matrix {
  const out = matrix(steps + 1, 2 ** bits);
  const nothing = row.data.reduce((sum, w) => sum + Math.abs(w) ** 2.4, 0) / row.data.length;
  out.data.fill(nothing, 0, out.cols);
  for (let i = 1; i <= steps; i++) {
    for (let zero = 0; zero < out.cols; zero++) {
      out.data[i * out.cols + zero] = gridLoss(row.data, gridOfShare(row, bits, i / steps, zero));
    }
  }
  return out;
}

/** The first least value of a surface. */
export function surfaceMinimum(s: Matrix): { step: number; share: number; zero: number; loss: number } {
  let at = 0;
  for (let i = 1; i < s.data.length; i++) if (s.data[i] < s.data[at]) at = i;
  const step = Math.floor(at / s.cols);
  return { step, share: step / (s.rows - 1), zero: at % s.cols, loss: s.data[at] };
}

/** One point of a {@link rangeCurve}. */
export interface RangePoint extends ErrorParts {
  /** The share of the row's range that the grid covers. */
  readonly share: number;
  readonly grid: Grid;
}

/**
 * The error of a row against the share of its range that the grid covers; at each share the zero point of least loss.
 *
 * @param row (1, in). @param bits of the grid. @param steps shares, equally spaced up to 1.
 * @returns one point a share, ascending.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rangeCurve } from "./grid_study.ts";
 * const row = { data: Float32Array.of(0, 1, 2, 3), rows: 1, cols: 4 };
 * assert.equal(rangeCurve(row, 2, 10).at(-1)!.total, 0); // the whole range: all weights on the grid
 * ```
 */
export function rangeCurve(row: Matrix, bits: number, steps: number): RangePoint[] {
  const surface = lossSurface(row, bits, steps), points: RangePoint[] = [];
  for (let i = 1; i <= steps; i++) {
    const losses = surface.data.subarray(i * surface.cols, (i + 1) * surface.cols);
    const grid = gridOfShare(row, bits, i / steps, losses.indexOf(Math.min(...losses)));
    points.push({ share: i / steps, grid, ...errorParts(row.data, grid) });
  }
  return points;
}

/** The point of a curve with the least total error. */
export function bestPoint(points: readonly RangePoint[]): RangePoint {
  return points.reduce((best, p) => p.total < best.total ? p : best);
}
