// Store "columns": whole input columns kept in 16 bits, as OWQ's weak columns; they replace what stands at their place.
//   ids (k), ascending · values (out, k)
// Store "column-scale": Ŵ_:,j ·= scale_j, for a scale of the inputs that no other layer takes up.
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, intSpec, type Store, type StorePlan } from "../store.ts";

/** The arrays of k kept columns of a matrix (out, in). */
export function planColumns(rows: number, cols: number, k: number): StorePlan {
  const width = Math.max(1, Math.ceil(Math.log2(cols)));
  const arrays = { ids: intSpec(width, [k], "indices"), values: floatSpec(16, [rows, k], "weak") };
  return { kind: "columns", settings: {}, arrays };
}

/** The given columns of W (out, in). */
export function columnsStore(w: Matrix, ids: ArrayLike<number>): Store {
  const sorted = Int32Array.from(ids).sort(), k = sorted.length, values = new Float32Array(w.rows * k);
  for (let r = 0; r < w.rows; r++) for (let i = 0; i < k; i++) values[r * k + i] = w.data[r * w.cols + sorted[i]];
  return fillStore(planColumns(w.rows, w.cols, k), { ids: sorted, values });
}

/** Puts the kept columns into W (out, in). */
export function applyColumns(w: Matrix, s: Store): void {
  const ids = arrayOf(s, "ids").values, values = arrayOf(s, "values").values, k = ids.length;
  for (let r = 0; r < w.rows; r++) for (let i = 0; i < k; i++) w.data[r * w.cols + ids[i]] = values[r * k + i];
}

/** The array of a scale of the inputs. */
export function planColumnScale(cols: number): StorePlan {
  return { kind: "column-scale", settings: {}, arrays: { scale: floatSpec(16, [cols], "scales") } };
}

/** Multiplies column j of what the stores before it gave by scale_j. */
export function columnScaleStore(scale: ArrayLike<number>): Store {
  return fillStore(planColumnScale(scale.length), { scale });
}

/** Multiplies W's columns. */
export function applyColumnScale(w: Matrix, s: Store): void {
  const scale = arrayOf(s, "scale").values;
  for (let i = 0; i < w.data.length; i++) w.data[i] *= scale[i % w.cols];
}
