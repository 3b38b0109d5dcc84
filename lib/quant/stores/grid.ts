// Store "grid": Ŵ += scale[g] · (code − zero[g]), groups along the inputs of a row or along the outputs of a column.
//   codes (out, in) · scale (groups) · zero (groups), as integers, as floats, or one number in the settings
// Groups are counted row by row (axis "in") or column by column (axis "out"). `group_of` (in) names the group of a column
// where the columns of a group do not lie together. Scales and zeros may themselves be codes: see statistic.ts.
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, intSpec, settingOf, type Store, type StorePlan } from "../store.ts";
import { planStatistic, readStatistic, type StatisticPlan } from "./statistic.ts";

/** What a grid looks like, before its values. */
export interface GridPlan {
  readonly rows: number;
  readonly cols: number;
  readonly bits: number;
  /** Weights that share a scale; 0: the whole row (axis "in") or column (axis "out"). */
  readonly groupSize: number;
  readonly axis: "in" | "out";
  /** 16, 32, or codes with statistics of their own. */
  readonly scale: 16 | 32 | StatisticPlan;
  /** "code": an integer of the codes' width; 16 or 32: a float; a number in `value`: the same for all, stored nowhere. */
  readonly zero: "code" | 16 | 32 | StatisticPlan | { readonly value: number };
  /** Whether the columns of a group are told one by one. */
  readonly groupMap?: boolean;
}

/** Groups in all, and along the axis. */
export function gridGroups(o: Pick<GridPlan, "rows" | "cols" | "groupSize" | "axis">): { all: number; along: number } {
  const [length, lines] = o.axis === "in" ? [o.cols, o.rows] : [o.rows, o.cols];
  const along = o.groupSize > 0 ? Math.ceil(length / o.groupSize) : 1;
  return { all: along * lines, along };
}

/**
 * The arrays of a grid.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { planGrid } from "./grid.ts";
 * const plan = planGrid({ rows: 4, cols: 8, bits: 3, groupSize: 4, axis: "in", scale: 16, zero: "code" });
 * assert.deepEqual(plan.arrays.scale.shape, [4, 2]);
 * ```
 */
export function planGrid(o: GridPlan): StorePlan {
  const { all, along } = gridGroups(o), shape = [all / along, along];
  const zero = o.zero === "code"
    ? { zero: intSpec(o.bits, shape, "zeros") }
    : o.zero === 16 || o.zero === 32
    ? { zero: floatSpec(o.zero, shape, "zeros") }
    : "value" in o.zero
    ? {}
    : planStatistic("zero", shape, o.zero, "zeros");
  const value = typeof o.zero === "object" && "value" in o.zero ? { zero: o.zero.value } : {};
  return {
    kind: "grid",
    settings: { groupSize: o.groupSize, axis: o.axis, ...value, ...runOf("scale", o.scale), ...runOf("zero", o.zero) },
    arrays: {
      codes: intSpec(o.bits, [o.rows, o.cols], "codes"),
      ...(typeof o.scale === "number"
        ? { scale: floatSpec(o.scale, shape, "scales") }
        : planStatistic("scale", shape, o.scale, "scales")),
      ...zero,
      ...(o.groupMap ? { group_of: intSpec(Math.max(1, Math.ceil(Math.log2(along))), [o.cols], "indices") } : {}),
    },
  };
}

function runOf(name: string, s: GridPlan["scale"] | GridPlan["zero"]): Record<string, number> {
  return typeof s === "object" && "run" in s ? { [`${name}Run`]: s.run } : {};
}

/** A grid with its values: `codes` (out, in), `scale` and `zero` (groups), or the arrays of their statistics. */
export function gridStore(o: GridPlan, values: Readonly<Record<string, ArrayLike<number>>>): Store {
  return fillStore(planGrid(o), values);
}

/** Adds scale · (code − zero) to W (out, in); in f32, as a kernel does. */
export function applyGrid(w: Matrix, s: Store): void {
  const { rows, cols, data } = w, codes = arrayOf(s, "codes").values, groupSize = settingOf(s, "groupSize");
  const scale = readStatistic(s, "scale"), zero = "zero" in s.settings ? null : readStatistic(s, "zero");
  const flat = zero ? 0 : settingOf(s, "zero"), across = s.settings.axis === "out";
  const { along } = gridGroups({ rows, cols, groupSize, axis: across ? "out" : "in" });
  const groupOf = s.arrays.group_of?.values, step = groupSize > 0 ? groupSize : Infinity;
  for (let r = 0, i = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++, i++) {
      const g = across ? j * along + Math.floor(r / step) : r * along + (groupOf ? groupOf[j] : Math.floor(j / step));
      data[i] += Math.fround(scale[g] * (codes[i] - (zero ? zero[g] : flat)));
    }
  }
}
