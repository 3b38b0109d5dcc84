// One product too large for a plain loop: tr(D H Dᵀ) on jax-js, for the error that every layer's report shows.
import { numpy as np } from "@jax-js/jax";
import type { Matrix } from "../io/tensor.ts";

/**
 * tr(D H Dᵀ) = Σ (D H) ⊙ D in f32 products, rows summed in f64.
 *
 * @param d D (out, in). @param h H (in, in), symmetric.
 * @returns the same as objective() of lib/quant/hessian.ts, to about 1e-6 relative.
 * @throws RangeError when the shapes do not fit.
 * Source: the layer objective of OPTQ, arXiv 2210.17323, equation 1.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { quadratic } from "./quadratic.ts";
 * const m = (rows: number, cols: number, v: number[]) => ({ data: new Float32Array(v), rows, cols });
 * assert.equal(await quadratic(m(1, 2, [1, -1]), m(2, 2, [2, 1, 1, 3])), 3);
 * ```
 */
export async function quadratic(d: Matrix, h: Matrix): Promise<number> {
  if (h.rows !== d.cols || h.cols !== d.cols) {
    throw new RangeError(`D has ${d.cols} columns, H is (${h.rows}, ${h.cols})`);
  }
  const x = np.array(d.data, { shape: [d.rows, d.cols] }), y = np.array(h.data, { shape: [h.rows, h.cols] });
  // H is its own transpose: np.matmul(x, np.transpose(y)) is the layout that jax-js multiplies fastest.
  const rows = await np.sum(np.matmul(x.ref, np.transpose(y)).mul(x), 1).data();
  let total = 0;
  for (const v of rows) total += Number(v);
  return total;
}
