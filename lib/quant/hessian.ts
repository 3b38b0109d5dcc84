// The second moment of a layer's inputs, H = 2/n · Σ X_sᵀ X_s over n calibration samples, and what can be wrong with it.
import { LabError } from "../io/errors.ts";
import type { Matrix } from "../io/tensor.ts";

export { HessianMean } from "../kernels/gram.ts";

/**
 * The diagonal H_jj, as a copy: scaling it in place must never reach H.
 *
 * @param h H (n, n).
 * @returns (n) in f64.
 * @throws RangeError when H is not square.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { diagonal } from "./hessian.ts";
 * assert.deepEqual([...diagonal({ data: new Float32Array([1, 2, 2, 5]), rows: 2, cols: 2 })], [1, 5]);
 * ```
 */
export function diagonal(h: Matrix): Float64Array {
  if (h.rows !== h.cols) throw new RangeError(`H must be square, got (${h.rows}, ${h.cols})`);
  return Float64Array.from({ length: h.rows }, (_, j) => h.data[j * h.rows + j]);
}

/**
 * Refuses a Hessian that cannot be one: another shape, NaN or infinity, a negative diagonal.
 *
 * @param h H (in, in). @param width in. @param name the layer, for the message.
 * @throws LabError that names the layer, the entry and its value.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { checkHessian } from "./hessian.ts";
 * assert.throws(() => checkHessian({ data: new Float32Array([-1]), rows: 1, cols: 1 }, 1, "0.fc1"), /0\.fc1/);
 * ```
 */
export function checkHessian(h: Matrix, width: number, name: string): void {
  if (h.rows !== width || h.cols !== width) {
    throw new LabError("input", name, `Hessian is (${h.rows}, ${h.cols}), the layer has ${width} input columns`);
  }
  for (let i = 0; i < h.data.length; i++) {
    if (!Number.isFinite(h.data[i])) {
      const where = `(${Math.floor(i / width)}, ${i % width})`;
      const hint = "The calibration inputs overflowed or held NaN: look at the blocks before this one.";
      throw new LabError("numeric", name, `${h.data[i]} in the Hessian at ${where}`, hint);
    }
  }
  for (let j = 0; j < width; j++) {
    const d = h.data[j * width + j];
    if (d < 0) {
      throw new LabError("numeric", name, `Hessian diagonal ${j} is ${d}, a sum of squares cannot be negative`);
    }
  }
}

/**
 * H of inputs whose channels are multiplied by s: diag(s) H diag(s).
 *
 * @param h H (in, in). @param s (in). @returns a new matrix (in, in).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { scaledHessian } from "./hessian.ts";
 * const h = { data: new Float32Array([1, 2, 2, 5]), rows: 2, cols: 2 };
 * assert.deepEqual([...scaledHessian(h, [1, 0.5]).data], [1, 1, 1, 1.25]);
 * ```
 */
export function scaledHessian(h: Matrix, s: ArrayLike<number>): Matrix {
  return { ...h, data: h.data.map((v, i) => v * s[Math.floor(i / h.cols)] * s[i % h.cols]) };
}

/**
 * The layer's output error tr(D H Dᵀ) = Σ_rows d H dᵀ, D = Ŵ − W: what OPTQ makes small.
 *
 * @param d D (out, in). @param h H (in, in), symmetric, undamped.
 * @returns the sum over all rows, in units of H times weight².
 * @throws RangeError when the shapes do not fit.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { objective } from "./hessian.ts";
 * const m = (rows: number, cols: number, v: number[]) => ({ data: new Float32Array(v), rows, cols });
 * assert.equal(objective(m(1, 2, [1, -1]), m(2, 2, [2, 1, 1, 3])), 3);
 * ```
 */
export function objective(d: Matrix, h: Matrix): number {
  const { rows, cols: n } = d;
  if (h.rows !== n || h.cols !== n) throw new RangeError(`D has ${n} columns, H is (${h.rows}, ${h.cols})`);
  // d H dᵀ = Σ_j d_j (H_jj d_j + 2 Σ_{k>j} H_jk d_k); four rows share each load of H.
  let total = 0;
  const x = d.data, y = h.data;
  for (let r = 0; r < rows; r += 4) {
    const r0 = r * n, r1 = Math.min(r + 1, rows - 1) * n, r2 = Math.min(r + 2, rows - 1) * n;
    const r3 = Math.min(r + 3, rows - 1) * n, live = rows - r;
    for (let j = 0; j < n; j++) {
      const row = j * n;
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let k = j + 1; k < n; k++) {
        const v = y[row + k];
        s0 += v * x[r0 + k];
        s1 += v * x[r1 + k];
        s2 += v * x[r2 + k];
        s3 += v * x[r3 + k];
      }
      const hjj = y[row + j];
      total += x[r0 + j] * (hjj * x[r0 + j] + 2 * s0);
      if (live > 1) total += x[r1 + j] * (hjj * x[r1 + j] + 2 * s1);
      if (live > 2) total += x[r2 + j] * (hjj * x[r2 + j] + 2 * s2);
      if (live > 3) total += x[r3 + j] * (hjj * x[r3 + j] + 2 * s3);
    }
  }
  return total;
}
