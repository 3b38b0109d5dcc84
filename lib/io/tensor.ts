// Plain arrays with a shape: the only form in which numbers travel between the rooms of the house.
// jax arrays stay inside lib/model, GPU buffers inside lib/kernels.

/** Float32 data over memory of its own (never shared), as WebGPU and files need it. */
export type Floats = Float32Array<ArrayBuffer>;

/** A dense row-major array of any rank; `data.length` is the product of `shape`. */
export interface Tensor {
  readonly data: Floats;
  readonly shape: readonly number[];
}

/** A dense row-major matrix (rows, cols): element (i, j) is `data[i * cols + j]`. */
export interface Matrix {
  readonly data: Floats;
  readonly rows: number;
  readonly cols: number;
}

/**
 * A zero matrix (rows, cols).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { matrix } from "./tensor.ts";
 * assert.equal(matrix(2, 3).data.length, 6);
 * ```
 */
export function matrix(rows: number, cols: number): Matrix {
  return { data: new Float32Array(rows * cols), rows, cols };
}

/**
 * Views a rank-2 tensor as a matrix, sharing its data.
 *
 * @throws RangeError when the rank is not 2.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { asMatrix } from "./tensor.ts";
 * assert.equal(asMatrix({ data: new Float32Array(6), shape: [2, 3] }).cols, 3);
 * ```
 */
export function asMatrix(t: Tensor): Matrix {
  if (t.shape.length !== 2) throw new RangeError(`expected a matrix, got shape [${t.shape.join(", ")}]`);
  return { data: t.data, rows: t.shape[0], cols: t.shape[1] };
}
