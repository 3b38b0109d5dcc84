// Store "rotated": Ŵ += (scale_i · entry[code]) Had / √block · diag(signs): codebooks of vectors in a rotated basis, one for
// the columns before `split`, another for the rest.
//   signs (in) 1 bit, + where it is 1 · scale (out) · low_codes (out, vectors), low_entries (2^L, dim) · high_codes, high_entries
// The blocks of the Hadamard matrix are as long as the largest power of two that divides in.
import type { Matrix } from "../../io/tensor.ts";
import { hadamardBlock, rotateRowsBack } from "../hadamard.ts";
import { arrayOf, fillStore, floatSpec, intSpec, settingOf, type Store, type StorePlan } from "../store.ts";

/** What it looks like, before its values. */
export interface RotatedPlan {
  readonly rows: number;
  readonly cols: number;
  /** Numbers of a vector. */
  readonly dim: number;
  /** log2 of the entries of the first book; the second has twice as many. */
  readonly lutBits: number;
  /** Columns of the first book: whole vectors, 0 … in. */
  readonly split: number;
}

/** The arrays of a rotated matrix. */
export function planRotated(o: RotatedPlan): StorePlan {
  const part = (name: string, width: number, bits: number) =>
    width === 0 ? {} : {
      [`${name}_codes`]: intSpec(bits, [o.rows, width / o.dim], "codes"),
      [`${name}_entries`]: floatSpec(16, [2 ** bits, o.dim], "other"),
    };
  return {
    kind: "rotated",
    settings: { dim: o.dim, split: o.split },
    arrays: {
      signs: intSpec(1, [o.cols], "other"),
      scale: floatSpec(16, [o.rows], "scales"),
      ...part("low", o.split, o.lutBits),
      ...part("high", o.cols - o.split, o.lutBits + 1),
    },
  };
}

/** A rotated matrix with its values; signs as 0 and 1. */
export function rotatedStore(o: RotatedPlan, values: Readonly<Record<string, ArrayLike<number>>>): Store {
  return fillStore(planRotated(o), values);
}

/** Adds the matrix, turned back, to W (out, in). */
export function applyRotated(w: Matrix, s: Store): void {
  const dim = settingOf(s, "dim"), split = settingOf(s, "split"), scale = arrayOf(s, "scale").values;
  const signs = Float64Array.from(arrayOf(s, "signs").values, (v) => v ? 1 : -1), out = new Float64Array(w.data.length);
  for (const [name, from, to] of [["low", 0, split], ["high", split, w.cols]] as const) {
    if (from === to) continue;
    const codes = arrayOf(s, `${name}_codes`).values, entries = arrayOf(s, `${name}_entries`).values, n = to - from;
    for (let r = 0; r < w.rows; r++) {
      for (let j = 0; j < n; j++) {
        const code = codes[(r * n + j - j % dim) / dim];
        out[r * w.cols + from + j] = scale[r] * entries[code * dim + j % dim];
      }
    }
  }
  rotateRowsBack(out, w.cols, signs, hadamardBlock(w.cols)).forEach((v, i) => w.data[i] += v);
}
