// Store "trits": Ŵ += scale[g] · t, t = −1, 0 or 1: one plane of trits over all groups of columns, or over some of them.
//   trits (out, columns of those groups), each 0, 1, 2 for −1, 0, 1 · scale (out, groups) · groups, ascending, where not all
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, intSpec, settingOf, type Store, type StorePlan, tritSpec } from "../store.ts";

/**
 * The arrays of a plane.
 *
 * @param groupSize columns of a group; 0: the row. @param count groups that the plane covers; whole ones, unless it
 * covers all.
 */
export function planTrits(rows: number, cols: number, groupSize: number, count: number): StorePlan {
  const size = groupSize || cols, all = Math.ceil(cols / size), width = count === all ? cols : count * size;
  return {
    kind: "trits",
    settings: { groupSize },
    arrays: {
      trits: tritSpec([rows, width], "codes"),
      scale: floatSpec(16, [rows, count], "scales"),
      ...(count < all ? { groups: intSpec(Math.max(1, Math.ceil(Math.log2(all))), [count], "indices") } : {}),
    },
  };
}

/** A plane with its values: trits 0 … 2. */
export function tritsStore(plan: StorePlan, values: Readonly<Record<string, ArrayLike<number>>>): Store {
  return fillStore(plan, values);
}

/** Adds the plane to W (out, in). */
export function applyTrits(w: Matrix, s: Store): void {
  const trits = arrayOf(s, "trits"), scale = arrayOf(s, "scale"), size = settingOf(s, "groupSize") || w.cols;
  const count = scale.shape[1], width = trits.shape[1], groups = s.arrays.groups?.values;
  for (let r = 0; r < w.rows; r++) {
    for (let i = 0; i < width; i++) {
      const g = Math.floor(i / size), j = (groups ? groups[g] : g) * size + i % size;
      w.data[r * w.cols + j] += scale.values[r * count + g] * (trits.values[r * width + i] - 1);
    }
  }
}
