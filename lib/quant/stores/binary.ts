// Store "binary": some input channels on a grid of a few bits, all others as signs with scales of rows and columns.
//   salient (in) 1 bit · codes (out, k) · scale, zero (out)          Ŵ_ij += scale_i (code − zero_i)
//   sign (out, in − k) 1 bit · row, mean (out) · column (in − k)     Ŵ_ij += column_j (mean_i ± row_i), + where sign is 1
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, intSpec, type Store, type StorePlan } from "../store.ts";

/** The arrays of a matrix (out, in) with k salient channels of `bits` bits. */
export function planBinary(rows: number, cols: number, bits: number, k: number): StorePlan {
  return {
    kind: "binary",
    settings: {},
    arrays: {
      salient: intSpec(1, [cols], "indices"),
      codes: intSpec(bits, [rows, k], "codes"),
      scale: floatSpec(16, [rows], "scales"),
      zero: intSpec(bits, [rows], "zeros"),
      sign: intSpec(1, [rows, cols - k], "codes"),
      row: floatSpec(16, [rows], "scales"),
      mean: floatSpec(16, [rows], "scales"),
      column: floatSpec(16, [cols - k], "scales"),
    },
  };
}

/** A matrix with its values: codes and signs (out, in), of which the salient or the other columns are taken; column (in). */
export function binaryStore(
  o: { rows: number; cols: number; bits: number },
  v: Readonly<Record<"salient" | "codes" | "scale" | "zero" | "sign" | "row" | "mean" | "column", ArrayLike<number>>>,
): Store {
  const pick = (a: ArrayLike<number>, salient: number) =>
    Array.from(a).filter((_, i) => v.salient[i % o.cols] === salient);
  const k = pick(v.salient, 1).length;
  return fillStore(planBinary(o.rows, o.cols, o.bits, k), {
    ...v,
    codes: pick(v.codes, 1),
    sign: pick(v.sign, 0),
    column: pick(v.column, 0),
  });
}

/** Adds the matrix to W (out, in). */
export function applyBinary(w: Matrix, s: Store): void {
  const [salient, codes, scale, zero, sign, row, mean, column] = [
    "salient",
    "codes",
    "scale",
    "zero",
    "sign",
    "row",
    "mean",
    "column",
  ].map((name) => arrayOf(s, name).values);
  for (let r = 0, i = 0, a = 0, b = 0; r < w.rows; r++) {
    for (let j = 0, c = 0; j < w.cols; j++, i++) {
      if (salient[j]) w.data[i] += scale[r] * (codes[a++] - zero[r]);
      else w.data[i] += column[c++] * (mean[r] + (sign[b++] ? row[r] : -row[r]));
    }
  }
}
