// CrossQuant: the step of an activation is made from its token's and its channel's largest value, so that small values of
// quiet channels are not rounded to 0.
import { type Matrix, matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";

/** Rounded inputs, and how many of them vanished. */
export interface CrossQuantized {
  /** X̂ (tokens, in). */
  readonly values: Matrix;
  /** Share of the values that were not 0 and are now: the "kernel" of the quantizer. */
  readonly vanished: number;
}

/**
 * Δ_ij = t_i^α · c_j^(1−α) / (2^(b−1) − 1), x̂ = Δ · clamp(round(x/Δ)), t_i = max_j |x_ij|, c_j = max_i |x_ij|.
 *
 * @param x X (tokens, in). @param bits b. @param alpha α: 1 is the usual step a token, 0.15 the paper's.
 * @param channels c (in) of a calibration text; the channels of X itself unless given.
 * @returns X̂ and the share of values that became 0.
 * Source: Liu et al. 2024, arXiv 2410.07505 (the paper leaves open where c comes from; both ways are here).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { crossQuantize } from "./crossquant.ts";
 * const x = { data: Float32Array.of(100, 0.2, 90, 0.3), rows: 2, cols: 2 };
 * assert.equal(crossQuantize(x, 8, 1).vanished, 0.5); // 0.2 and 0.3 are below half a step of 100/127
 * assert.equal(crossQuantize(x, 8, 0.15).vanished, 0);
 * ```
 */
export function crossQuantize(x: Matrix, bits: number, alpha: number, channels?: ArrayLike<number>): CrossQuantized {
  const { rows, cols, data } = x, top = 2 ** (bits - 1) - 1, token = new Float64Array(rows);
  const own = new Float64Array(cols), values = matrix(rows, cols);
  for (let t = 0, i = 0; t < rows; t++) {
    for (let j = 0; j < cols; j++, i++) {
      const v = Math.abs(data[i]);
      if (v > token[t]) token[t] = v;
      if (v > own[j]) own[j] = v;
    }
  }
  const c = channels ?? own;
  let vanished = 0, some = 0;
  for (let t = 0, i = 0; t < rows; t++) {
    for (let j = 0; j < cols; j++, i++) {
      const step = token[t] ** alpha * c[j] ** (1 - alpha) / top;
      if (data[i] === 0) continue;
      some++;
      const q = step > 0 ? Math.max(-top, Math.min(top, roundHalfEven(data[i] / step))) : 0;
      if (q === 0) vanished++;
      values.data[i] = q * step;
    }
  }
  return { values, vanished: some > 0 ? vanished / some : 0 };
}
