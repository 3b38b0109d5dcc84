// The grids of groups that are fitted once, by the range of each group: what AWQ, AdaDim, SmoothQuant, SVDQuant, FineQuant
// and the quantizers of activations share. In float32, as their references compute: codes near a tie depend on it.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";
import { f16round } from "./f16.ts";
import { gridGroups, type GridPlan } from "./stores/grid.ts";

/** How groups are cut and their grids chosen. */
export interface GroupGridOptions {
  readonly bits: number;
  /** Values that share a grid; 0: the whole line. */
  readonly groupSize: number;
  /** "in": groups along a row; "out": along a column. */
  readonly axis: "in" | "out";
  /**
   * "range": s = max(max − min, 1e-5)/(2^b − 1), z = −round(min/s) within the codes; 0 need not be in the range.
   * "absmax": s = max(max|w|, 1e-5)/(2^(b−1) − 1), z = 2^(b−1): a signed grid, its lowest code hardly used.
   */
  readonly rule: "range" | "absmax";
  /** 16: scales are rounded to f16 before anything is rounded on them. 32 unless told. */
  readonly scaleBits?: 16 | 32;
}

/** Codes on the grids of their groups. */
export interface GroupGrid {
  /** (rows, cols) */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (groups), counted along the rows (axis "in") or along the columns (axis "out"). */
  readonly scale: Floats;
  readonly zero: Floats;
}

const f32 = Math.fround, SMALLEST = 1e-5;

/**
 * A grid from the least and the largest value of a group.
 *
 * @returns [scale, zero].
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { gridOf } from "./group_grid.ts";
 * assert.deepEqual(gridOf(1, 8, { bits: 3, rule: "range" }), [1, 0]); // 0 is not in the range: the zero point is held at 0
 * assert.deepEqual(gridOf(-3, 1, { bits: 3, rule: "absmax" }), [1, 4]);
 * ```
 */
export function gridOf(
  min: number,
  max: number,
  o: Pick<GroupGridOptions, "bits" | "rule" | "scaleBits">,
): [scale: number, zero: number] {
  const top = 2 ** o.bits - 1, half = 2 ** (o.bits - 1);
  const exact = o.rule === "range"
    ? f32(Math.max(f32(max - min), f32(SMALLEST)) / top)
    : f32(Math.max(-min, max, f32(SMALLEST)) / (half - 1));
  const scale = o.scaleBits === 16 ? f16round(exact) || 2 ** -24 : exact;
  const zero = o.rule === "range" ? Math.max(0, Math.min(top, -roundHalfEven(f32(min / scale)) + 0)) : half;
  return [scale, zero];
}

/**
 * Fits a grid to each group and rounds to it: q = clamp(round(w/s) + z, 0, 2^b − 1).
 *
 * @param w W (rows, cols). @param o how. @returns codes (rows, cols), scale and zero (groups).
 * Source: AWQ, arXiv 2306.00978 (mit-han-lab/llm-awq d6e797a, quantizer.py); SmoothQuant, arXiv 2211.10438.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { groupGrid } from "./group_grid.ts";
 * const w = { data: Float32Array.of(0, 3, 1, 7), rows: 2, cols: 2 };
 * assert.deepEqual([...groupGrid(w, { bits: 2, groupSize: 0, axis: "in", rule: "range" }).scale], [1, 2]);
 * assert.deepEqual([...groupGrid(w, { bits: 3, groupSize: 0, axis: "out", rule: "range" }).codes], [0, 5, 7, 7]);
 * ```
 */
export function groupGrid(w: Matrix, o: GroupGridOptions): GroupGrid {
  const { rows, cols, data } = w, { all } = gridGroups({ rows, cols, ...o }), group = groupIndex(w, o);
  const min = new Float32Array(all).fill(Infinity), max = new Float32Array(all).fill(-Infinity);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++, i++) {
      const g = group(r, j);
      if (data[i] < min[g]) min[g] = data[i];
      if (data[i] > max[g]) max[g] = data[i];
    }
  }
  const scale = new Float32Array(all), zero = new Float32Array(all), codes = new Uint8Array(rows * cols);
  for (let g = 0; g < all; g++) [scale[g], zero[g]] = gridOf(min[g], max[g], o);
  const top = 2 ** o.bits - 1;
  for (let r = 0, i = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++, i++) {
      const g = group(r, j), q = roundHalfEven(f32(data[i] / scale[g])) + zero[g];
      codes[i] = q < 0 ? 0 : q > top ? top : q;
    }
  }
  return { codes, scale, zero };
}

/** The group of each place. */
function groupIndex({ rows, cols }: Matrix, o: GroupGridOptions): (r: number, j: number) => number {
  const { along } = gridGroups({ rows, cols, ...o }), step = o.groupSize > 0 ? o.groupSize : Infinity;
  return o.axis === "in" ? (r, j) => r * along + Math.floor(j / step) : (r, j) => j * along + Math.floor(r / step);
}

/**
 * What W becomes on the grids of its groups: s · (q − z), in float32.
 *
 * @param w W (rows, cols): weights, or inputs (tokens, in) where activations are quantized.
 * @returns a new matrix of the same shape.
 */
export function onGroupGrid(w: Matrix, o: GroupGridOptions): Matrix {
  const g = groupGrid(w, o), out = matrix(w.rows, w.cols), group = groupIndex(w, o);
  for (let r = 0, i = 0; r < w.rows; r++) {
    for (let j = 0; j < w.cols; j++, i++) out.data[i] = f32(g.scale[group(r, j)] * (g.codes[i] - g.zero[group(r, j)]));
  }
  return out;
}

/** The store's plan of such a grid. */
export function groupGridPlan(shape: { rows: number; cols: number }, o: GroupGridOptions): GridPlan {
  const { bits, groupSize, axis } = o, zero = o.rule === "range" ? "code" : { value: 2 ** (bits - 1) };
  return { rows: shape.rows, cols: shape.cols, bits, groupSize, axis, scale: o.scaleBits ?? 32, zero };
}
