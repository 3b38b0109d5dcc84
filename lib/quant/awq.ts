// AWQ: scale up the input channels that meet large activations before rounding, then clip each group where it pays.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { type GroupGridOptions, onGroupGrid } from "./group_grid.ts";
import { scaleColumns } from "./smooth.ts";

/** What a search of the scale found. */
export interface AwqScale {
  /** s (in). */
  readonly scale: Floats;
  readonly ratio: number;
  /** The loss at each ratio 0/n … (n − 1)/n. */
  readonly losses: readonly number[];
}

const f32 = Math.fround;

/**
 * AWQ's scale at one ratio: s = max(a^ratio, 1e-4) / √(max s · min s).
 *
 * @param act a (in), mean|x_j|.
 * @returns s (in).
 */
export function awqScaleAt(act: ArrayLike<number>, ratio: number): Floats {
  const s = Float32Array.from(act, (a) => Math.max(f32(a ** ratio), f32(1e-4)));
  const norm = f32(Math.sqrt(f32(s.reduce((m, v) => Math.max(m, v)) * s.reduce((m, v) => Math.min(m, v)))));
  return s.map((v) => v / norm);
}

/**
 * The scale with the least loss; of equal ones the first.
 *
 * @param act a (in), mean|x_j| over the tokens. @param steps ratios tried, 0/steps … (steps − 1)/steps.
 * @param loss of a scale: the output error of everything that shares it, after scaling, rounding and scaling back.
 * Source: AWQ, arXiv 2306.00978, section 3.2; mit-han-lab/llm-awq d6e797a, auto_scale.py.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { searchAwqScale } from "./awq.ts";
 * const found = await searchAwqScale([1, 4], 20, (s) => Promise.resolve(Math.abs(s[1] / s[0] - 2)));
 * assert.equal(found.ratio, 0.5);
 * ```
 */
export async function searchAwqScale(
  act: ArrayLike<number>,
  steps: number,
  loss: (scale: Floats) => Promise<number>,
): Promise<AwqScale> {
  let best = 0;
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    losses.push(await loss(awqScaleAt(act, i / steps)));
    if (losses[i] < losses[best]) best = i;
  }
  return { scale: awqScaleAt(act, best / steps), ratio: best / steps, losses };
}

/** W as it comes out of scaling, rounding on the grids of its groups, and scaling back. */
export function roundScaled(w: Matrix, scale: ArrayLike<number>, o: GroupGridOptions): Matrix {
  return scaleColumns(onGroupGrid(scaleColumns(w, scale), o), scale, true);
}

/** How the clip search goes. */
export interface ClipOptions extends GroupGridOptions {
  /** Bounds tried: max|w| · (1 − i/steps) for i < shrink · steps. */
  readonly steps: number;
  readonly shrink: number;
}

/**
 * The bound of each group that makes the error of the group's part of the output least: d H_gg dᵀ, d = ŵ − w over the
 * group, H_gg the group's block of the second moment. Of equal ones the first, that is the largest bound.
 *
 * @param w W (out, in), already scaled. @param h H (in, in) of the scaled inputs; its overall factor does not matter.
 * @param o groups along the rows.
 * @returns (out, groups) bounds of |w|.
 * Source: AWQ's reference, mit-han-lab/llm-awq d6e797a, auto_clip.py (the same error, over tokens instead of by H).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { searchClip } from "./awq.ts";
 * const w = { data: Float32Array.of(0.3, -0.3, 0.31, 1), rows: 1, cols: 4 };
 * const h = { data: Float32Array.from({ length: 16 }, (_, i) => i % 5 === 0 ? (i === 15 ? 1e-3 : 1) : 0), rows: 4, cols: 4 };
 * const o = { bits: 2, groupSize: 0, axis: "in", rule: "range", steps: 20, shrink: 0.5 } as const;
 * assert.ok(searchClip(w, h, o)[0] < 1); // the last input hardly matters: its weight may be clipped
 * ```
 */
export function searchClip(w: Matrix, h: Matrix, o: ClipOptions): Floats {
  const size = o.groupSize > 0 ? o.groupSize : w.cols, groups = Math.ceil(w.cols / size);
  const tried = Math.floor(o.shrink * o.steps), best = new Float32Array(w.rows * groups);
  for (let g = 0; g < groups; g++) {
    const start = g * size, count = Math.min(size, w.cols - start), part = matrix(w.rows, count);
    const most = new Float32Array(w.rows), least = new Float64Array(w.rows).fill(1e9), clipped = matrix(w.rows, count);
    for (let r = 0; r < w.rows; r++) {
      part.data.set(w.data.subarray(r * w.cols + start, r * w.cols + start + count), r * count);
      for (let j = 0; j < count; j++) most[r] = Math.max(most[r], Math.abs(part.data[r * count + j]));
      best[r * groups + g] = most[r];
    }
    for (let i = 0; i < tried; i++) {
      const bound = most.map((m) => m * f32(1 - i / o.steps));
      clampRows(part, bound, clipped);
      const q = onGroupGrid(clipped, { ...o, groupSize: 0 });
      for (let r = 0; r < w.rows; r++) {
        const error = blockError(q.data, part.data, r * count, count, h, start);
        if (!(error < least[r])) continue;
        least[r] = error;
        best[r * groups + g] = bound[r];
      }
    }
  }
  return best;
}

function clampRows(w: Matrix, bound: ArrayLike<number>, out: Matrix): void {
  for (let r = 0, i = 0; r < w.rows; r++) {
    for (let j = 0; j < w.cols; j++, i++) out.data[i] = Math.max(-bound[r], Math.min(bound[r], w.data[i]));
  }
}

/** d H dᵀ over one group of one row. */
function blockError(q: Floats, w: Floats, at: number, count: number, h: Matrix, start: number): number {
  let total = 0;
  for (let j = 0; j < count; j++) {
    const d = q[at + j] - w[at + j], row = (start + j) * h.cols + start;
    if (d === 0) continue;
    let sum = 0;
    for (let k = j + 1; k < count; k++) sum += h.data[row + k] * (q[at + k] - w[at + k]);
    total += d * (h.data[row + j] * d + 2 * sum);
  }
  return total;
}

/**
 * W with each group clamped to its bound.
 *
 * @param w W (out, in). @param bounds (out, groups). @param groupSize columns of a group, 0: the row.
 */
export function clipGroups(w: Matrix, bounds: ArrayLike<number>, groupSize: number): Matrix {
  const size = groupSize > 0 ? groupSize : w.cols, groups = Math.ceil(w.cols / size), out = matrix(w.rows, w.cols);
  for (let r = 0, i = 0; r < w.rows; r++) {
    for (let j = 0; j < w.cols; j++, i++) {
      const c = bounds[r * groups + Math.floor(j / size)];
      out.data[i] = Math.max(-c, Math.min(c, w.data[i]));
    }
  }
  return out;
}
