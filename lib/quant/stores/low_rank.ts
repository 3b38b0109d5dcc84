// Store "low-rank": Ŵ += A · B, A (out, r) and B (r, in) as floats of 16 or 32 bits, or as bytes with a 16-bit scale for
// each column of A and each row of B.
import type { Matrix } from "../../io/tensor.ts";
import { groupGrid } from "../group_grid.ts";
import { arrayOf, type ArraySpec, fillStore, floatSpec, intSpec, type Store, type StorePlan } from "../store.ts";

/** The arrays of a low-rank term. */
export function planLowRank(rows: number, cols: number, rank: number, bits: 8 | 16 | 32 = 16): StorePlan {
  const factor = (shape: number[]) => bits === 8 ? intSpec(8, shape, "other") : floatSpec(bits, shape, "other");
  const scales: Record<string, ArraySpec> = bits === 8
    ? { a_scale: floatSpec(16, [rank], "scales"), b_scale: floatSpec(16, [rank], "scales") }
    : {};
  return { kind: "low-rank", settings: {}, arrays: { a: factor([rows, rank]), b: factor([rank, cols]), ...scales } };
}

/** A low-rank term: A (out, r), B (r, in), row-major. */
export function lowRankStore(a: Matrix, b: Matrix, bits: 8 | 16 | 32 = 16): Store {
  const plan = planLowRank(a.rows, b.cols, a.cols, bits);
  if (bits !== 8) return fillStore(plan, { a: a.data, b: b.data });
  const o = { bits: 8, groupSize: 0, rule: "absmax", scaleBits: 16 } as const;
  const left = groupGrid(a, { ...o, axis: "out" }), right = groupGrid(b, { ...o, axis: "in" });
  return fillStore(plan, { a: left.codes, b: right.codes, a_scale: left.scale, b_scale: right.scale });
}

/** Adds A · B to W (out, in). */
export function applyLowRank(w: Matrix, s: Store): void {
  const a = arrayOf(s, "a"), b = arrayOf(s, "b"), rank = a.shape[1], sum = new Float64Array(w.cols);
  const bytes = a.type === "int",
    scale = Array.from(
      { length: rank },
      (_, k) => bytes ? arrayOf(s, "a_scale").values[k] * arrayOf(s, "b_scale").values[k] : 1,
    );
  const middle = bytes ? 128 : 0;
  for (let r = 0; r < w.rows; r++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      const f = (a.values[r * rank + k] - middle) * scale[k];
      for (let j = 0; j < w.cols; j++) sum[j] += f * (b.values[k * w.cols + j] - middle);
    }
    for (let j = 0; j < w.cols; j++) w.data[r * w.cols + j] += sum[j];
  }
}
