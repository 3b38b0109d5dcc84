// Store "sparse": single weights kept in 16 bits, in compressed rows. They replace what stands at their place.
//   row_count (out)  entries of each row · column (entries) · value (entries)
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, intSpec, type Store, type StorePlan } from "../store.ts";

/** The arrays for `count` single weights of a matrix (out, in). */
export function planSparse(rows: number, cols: number, count: number): StorePlan {
  return {
    kind: "sparse",
    settings: {},
    arrays: {
      row_count: intSpec(Math.ceil(Math.log2(cols + 1)), [rows], "indices"),
      column: intSpec(Math.max(1, Math.ceil(Math.log2(cols))), [count], "indices"),
      value: floatSpec(16, [count], "weak"),
    },
  };
}

/**
 * The weights where the mask is not 0.
 *
 * @param w values (out, in). @param mask (out, in).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { matrix } from "../../io/tensor.ts";
 * import { applySparse, sparseStore } from "./sparse.ts";
 * const s = sparseStore({ data: Float32Array.of(1, 2, 3, 4), rows: 2, cols: 2 }, Uint8Array.of(0, 1, 1, 0));
 * const w = matrix(2, 2);
 * applySparse(w, s);
 * assert.deepEqual([...w.data], [0, 2, 3, 0]);
 * ```
 */
export function sparseStore(w: Matrix, mask: ArrayLike<number>): Store {
  const counts: number[] = [], column: number[] = [], value: number[] = [];
  for (let r = 0, i = 0; r < w.rows; r++) {
    const before = column.length;
    for (let j = 0; j < w.cols; j++, i++) {
      if (!mask[i]) continue;
      column.push(j);
      value.push(w.data[i]);
    }
    counts.push(column.length - before);
  }
  return fillStore(planSparse(w.rows, w.cols, column.length), { row_count: counts, column, value });
}

/** Puts the kept weights into W (out, in). */
export function applySparse(w: Matrix, s: Store): void {
  const counts = arrayOf(s, "row_count").values,
    column = arrayOf(s, "column").values,
    value = arrayOf(s, "value").values;
  for (let r = 0, i = 0; r < w.rows; r++) {
    for (const end = i + counts[r]; i < end; i++) w.data[r * w.cols + column[i]] = value[i];
  }
}
