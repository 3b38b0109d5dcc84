// Store "low-rank": Ŵ += A · B, A (out, r) and B (r, in) as floats of 16 or 32 bits.
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, type Store, type StorePlan } from "../store.ts";

/** The arrays of a low-rank term. */
export function planLowRank(rows: number, cols: number, rank: number, bits: 16 | 32 = 16): StorePlan {
  const arrays = { a: floatSpec(bits, [rows, rank], "other"), b: floatSpec(bits, [rank, cols], "other") };
  return { kind: "low-rank", settings: {}, arrays };
}

/** A low-rank term: A (out, r), B (r, in), row-major. */
export function lowRankStore(a: Matrix, b: Matrix, bits: 16 | 32 = 16): Store {
  return fillStore(planLowRank(a.rows, b.cols, a.cols, bits), { a: a.data, b: b.data });
}

/** Adds A · B to W (out, in). */
export function applyLowRank(w: Matrix, s: Store): void {
  const a = arrayOf(s, "a"), b = arrayOf(s, "b"), rank = a.shape[1], sum = new Float64Array(w.cols);
  for (let r = 0; r < w.rows; r++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      const f = a.values[r * rank + k];
      for (let j = 0; j < w.cols; j++) sum[j] += f * b.values[k * w.cols + j];
    }
    for (let j = 0; j < w.cols; j++) w.data[r * w.cols + j] += sum[j];
  }
}
