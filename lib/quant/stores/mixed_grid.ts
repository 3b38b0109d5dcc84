// Store "mixed-grid": groups of columns with a bit less, as many, or a bit more than b, all rows alike.
//   bits (groups) 0, 1, 2 for b − 1, b, b + 1 · codes_low, codes_middle, codes_high (out, columns of those groups)
//   scale, zero (out, groups)    Ŵ += scale · (code − zero); one bit: Ŵ += zero ± scale, + where the code is 1
import type { Matrix } from "../../io/tensor.ts";
import {
  arrayOf,
  type ArraySpec,
  fillStore,
  floatSpec,
  intSpec,
  settingOf,
  type Store,
  type StorePlan,
} from "../store.ts";

const PARTS = ["codes_low", "codes_middle", "codes_high"] as const;

/**
 * The arrays of a matrix (out, in).
 *
 * @param base b, from 2. @param bits (groups) b − 1, b or b + 1. Zeros are integers, unless there are 1-bit groups, whose means they are.
 */
export function planMixedGrid(
  rows: number,
  cols: number,
  base: number,
  groupSize: number,
  bits: ArrayLike<number>,
): StorePlan {
  const width = [0, 0, 0], groups = bits.length;
  for (let g = 0; g < groups; g++) width[bits[g] - base + 1] += Math.min(groupSize, cols - g * groupSize);
  const codes: Record<string, ArraySpec> = {};
  PARTS.forEach((name, p) => {
    if (width[p] > 0) codes[name] = intSpec(base + p - 1, [rows, width[p]], "codes");
  });
  return {
    kind: "mixed-grid",
    settings: { base, groupSize },
    arrays: {
      bits: intSpec(2, [groups], "indices"),
      ...codes,
      scale: floatSpec(16, [rows, groups], "scales"),
      zero: base === 2 && width[0] > 0
        ? floatSpec(16, [rows, groups], "zeros")
        : intSpec(base + 1, [rows, groups], "zeros"),
    },
  };
}

/** Walks through all weights: the part and the place in it of each, and its group. */
function forEachWeight(
  rows: number,
  cols: number,
  groupSize: number,
  part: ArrayLike<number>,
  f: (i: number, part: number, at: number, group: number) => void,
): void {
  const width = [0, 0, 0], place = new Int32Array(cols);
  for (let j = 0; j < cols; j++) place[j] = width[part[Math.floor(j / groupSize)]]++;
  for (let r = 0, i = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++, i++) {
      const g = Math.floor(j / groupSize);
      f(i, part[g], r * width[part[g]] + place[j], r * part.length + g);
    }
  }
}

/** A matrix with its values: codes (out, in), scale and zero (out, groups). */
export function mixedGridStore(
  o: { rows: number; cols: number; base: number; groupSize: number },
  v: { bits: ArrayLike<number>; codes: ArrayLike<number>; scale: ArrayLike<number>; zero: ArrayLike<number> },
): Store {
  const plan = planMixedGrid(o.rows, o.cols, o.base, o.groupSize, v.bits);
  const part = Array.from(v.bits, (b) => b - o.base + 1), codes: number[][] = [[], [], []];
  forEachWeight(o.rows, o.cols, o.groupSize, part, (i, p, at) => codes[p][at] = v.codes[i]);
  const parts = Object.fromEntries(PARTS.map((name, p) => [name, codes[p]]));
  return fillStore(plan, { bits: part, ...parts, scale: v.scale, zero: v.zero });
}

/** Adds the groups to W (out, in). */
export function applyMixedGrid(w: Matrix, s: Store): void {
  const scale = arrayOf(s, "scale").values, zero = arrayOf(s, "zero").values, part = arrayOf(s, "bits").values;
  const base = settingOf(s, "base"), codes = PARTS.map((name) => s.arrays[name]?.values ?? []);
  forEachWeight(w.rows, w.cols, settingOf(s, "groupSize"), part, (i, p, at, g) => {
    const code = codes[p][at];
    w.data[i] += base + p === 2 ? zero[g] + scale[g] * (2 * code - 1) : scale[g] * (code - zero[g]);
  });
}
