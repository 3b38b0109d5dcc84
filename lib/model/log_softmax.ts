// Logits to log-probabilities, in double.

/**
 * ln softmax(x) = x − max − ln Σ e^(x − max); shifts of x change nothing.
 *
 * @param logits x (vocab). @returns (vocab), in nats, at most 0.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { logSoftmax } from "./log_softmax.ts";
 * assert.deepEqual([...logSoftmax([1000, 1000])], [-Math.LN2, -Math.LN2]);
 * ```
 */
export function logSoftmax(logits: ArrayLike<number>): Float64Array<ArrayBuffer> {
  const out = Float64Array.from(logits);
  let most = -Infinity, sum = 0;
  for (const x of out) if (x > most) most = x;
  for (const x of out) sum += Math.exp(x - most);
  const rest = Math.log(sum);
  for (let i = 0; i < out.length; i++) out[i] = out[i] - most - rest;
  return out;
}
