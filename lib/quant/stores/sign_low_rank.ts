// Store "sign-low-rank": Ŵ += S ⊙ (A · B), S of ±1, A (out, k) and B (k, in) as floats of 16 bits.
//   sign (out, in) 1 bit, + where it is 1 · a · b
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, intSpec, type Store, type StorePlan } from "../store.ts";

/** The arrays of a block of rank k. */
export function planSignLowRank(rows: number, cols: number, k: number): StorePlan {
  const arrays = {
    sign: intSpec(1, [rows, cols], "codes"),
    a: floatSpec(16, [rows, k], "scales"),
    b: floatSpec(16, [k, cols], "scales"),
  };
  return { kind: "sign-low-rank", settings: {}, arrays };
}

/** A block: sign (out, in) 1 for plus, A (out, k), B (k, in). */
export function signLowRankStore(sign: ArrayLike<number>, a: Matrix, b: Matrix): Store {
  return fillStore(planSignLowRank(a.rows, b.cols, a.cols), { sign, a: a.data, b: b.data });
}

/** Adds the block to W (out, in). */
export function applySignLowRank(w: Matrix, s: Store): void {
  const sign = arrayOf(s, "sign").values, a = arrayOf(s, "a"), b = arrayOf(s, "b").values, rank = a.shape[1];
  const sum = new Float64Array(w.cols);
  for (let r = 0; r < w.rows; r++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      const f = a.values[r * rank + k];
      for (let j = 0; j < w.cols; j++) sum[j] += f * b[k * w.cols + j];
    }
    for (let j = 0, i = r * w.cols; j < w.cols; j++, i++) w.data[i] += sign[i] ? sum[j] : -sum[j];
  }
}
