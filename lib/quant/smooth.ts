// Scales of the input channels: x_j / s_j and W_:,j · s_j leave the layer's output as it is and change what rounding does.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";

/**
 * max_t |x_tj| or mean_t |x_tj| of each input channel.
 *
 * @param x X (tokens, in). @param how which. @returns (in).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { channelSize } from "./smooth.ts";
 * const x = { data: Float32Array.of(1, -4, 3, 2), rows: 2, cols: 2 };
 * assert.deepEqual([[...channelSize(x, "max")], [...channelSize(x, "mean")]], [[3, 4], [2, 3]]);
 * ```
 */
export function channelSize(x: Matrix, how: "max" | "mean"): Floats {
  const sum = new Float64Array(x.cols);
  for (let t = 0, i = 0; t < x.rows; t++) {
    for (let j = 0; j < x.cols; j++, i++) {
      const v = Math.abs(x.data[i]);
      if (how === "mean") sum[j] += v / x.rows;
      else if (v > sum[j]) sum[j] = v;
    }
  }
  return Float32Array.from(sum);
}

/**
 * SmoothQuant's scale, s_j = max(A_j^a / B_j^b, floor), which moves part of the channels' range from X to W.
 *
 * @param act A (in), max|x_j|. @param weight B (in), max_i |W_ij| over all linears that read the input.
 * @param a exponent of A. @param b exponent of B; 1 − a in SmoothQuant. @param floor least s, and least B.
 * @returns s (in).
 * Source: SmoothQuant, arXiv 2211.10438, equation 4; mit-han-lab/smoothquant c61476d.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { smoothScale } from "./smooth.ts";
 * assert.deepEqual([...smoothScale([16, 4], [4, 1], 0.5, 0.5)], [2, 2]);
 * ```
 */
export function smoothScale(
  act: ArrayLike<number>,
  weight: ArrayLike<number>,
  a: number,
  b: number,
  floor = 1e-5,
): Floats {
  return Float32Array.from(act, (v, j) => {
    const s = Math.fround(Math.fround(v ** a) / Math.fround(Math.max(weight[j], floor) ** b));
    return Math.max(s, floor);
  });
}

/** max_i |W_ij| of each input channel, (in). */
export function columnMax(w: Matrix): Floats {
  return channelSize(w, "max");
}

/** W · diag(s), a new matrix (rows, in); `inverse`: W · diag(1/s), as for inputs. */
export function scaleColumns(w: Matrix, s: ArrayLike<number>, inverse = false): Matrix {
  const out = matrix(w.rows, w.cols);
  for (let i = 0; i < out.data.length; i++) {
    const f = s[i % w.cols];
    out.data[i] = inverse ? w.data[i] / f : w.data[i] * f;
  }
  return out;
}

/**
 * X Wᵀ (tokens, out), summed in double.
 *
 * @param x X (tokens, in). @param w W (out, in).
 */
export function linearOutput(x: Matrix, w: Matrix): Matrix {
  const n = w.cols, y = matrix(x.rows, w.rows), a = x.data, b = w.data, last = w.rows - 1;
  for (let t = 0; t < x.rows; t++) {
    for (let r = 0; r <= last; r += 4) { // four rows share each load of x
      const r0 = r * n, r1 = Math.min(r + 1, last) * n, r2 = Math.min(r + 2, last) * n, r3 = Math.min(r + 3, last) * n;
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let j = 0, at = t * n; j < n; j++) {
        const v = a[at + j];
        s0 += v * b[r0 + j];
        s1 += v * b[r1 + j];
        s2 += v * b[r2 + j];
        s3 += v * b[r3 + j];
      }
      const sums = [s0, s1, s2, s3];
      for (let k = 0; k < 4 && r + k <= last; k++) y.data[t * w.rows + r + k] = sums[k];
    }
  }
  return y;
}
