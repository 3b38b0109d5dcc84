// How far a model's predictions lie from another's: Jensen–Shannon divergence of next-token distributions, and AMQ's older form.
import { LabError } from "../io/errors.ts";
import { logSoftmax } from "./log_softmax.ts";

/** Both definitions, in nats. */
export interface Divergence {
  /** ½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2: at most ln 2. */
  readonly jsd: number;
  /** (KL(p‖q) + KL(q‖p))/4: unbounded; what AMQ called JSD until August 2025. */
  readonly old: number;
}

/** Below this m counts as this, after mixing. */
const EPSILON = 1e-7;

/**
 * Divergence of two next-token distributions, p and q = softmax of the logits.
 *
 * @param a logits of p (vocab). @param b logits of q (vocab). @param epsilon floor of m.
 * @throws LabError "input" for other lengths. Source: dlwns147/amq, utils/loss.py; the old form was m = √(p·q), not normalized.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { divergence } from "./divergence.ts";
 * const far = divergence([50, 0], [0, 50]);
 * assert(Math.abs(far.jsd - Math.LN2) < 1e-9 && far.old > 20);
 * ```
 */
export function divergence(a: ArrayLike<number>, b: ArrayLike<number>, epsilon = EPSILON): Divergence {
  if (a.length !== b.length || a.length === 0) {
    throw new LabError("input", "a divergence", `of ${a.length} and ${b.length} logits`, "Both have one vocabulary.");
  }
  const p = logSoftmax(a), q = logSoftmax(b);
  let jsd = 0, old = 0;
  for (let i = 0; i < p.length; i++) {
    const x = Math.exp(p[i]), y = Math.exp(q[i]), m = Math.log(Math.max(epsilon, (x + y) / 2));
    if (x > 0) jsd += x * (p[i] - m) / 2; // 0 · ln 0 = 0
    if (y > 0) jsd += y * (q[i] - m) / 2;
    if (x > 0 || y > 0) old += (x - y) * (p[i] - q[i]) / 4;
  }
  return { jsd, old };
}

/**
 * Mean divergence over a sequence's predictions that have a next token: all positions but the last.
 *
 * @param a logits (length, vocab) of the float model. @param b those of the quantized one. @param vocab columns.
 * @throws LabError "input" where there are fewer than two positions or other lengths.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sequenceDivergence } from "./divergence.ts";
 * const d = sequenceDivergence([1, 2, 0, 0], [1, 2, 9, 0], 2); // the last position differs, and does not count
 * assert(Math.abs(d.jsd) < 1e-15);
 * ```
 */
export function sequenceDivergence(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  vocab: number,
  epsilon = EPSILON,
): Divergence {
  const length = a.length / vocab;
  if (a.length !== b.length || !Number.isInteger(length) || length < 2) {
    const shapes = `${a.length} and ${b.length} logits over ${vocab} tokens`;
    throw new LabError("input", "a divergence over a sequence", shapes, "It takes two positions or more.");
  }
  const row = (v: ArrayLike<number>, t: number) => Array.prototype.slice.call(v, t * vocab, (t + 1) * vocab);
  let jsd = 0, old = 0;
  for (let t = 0; t < length - 1; t++) {
    const d = divergence(row(a, t), row(b, t), epsilon);
    jsd += d.jsd;
    old += d.old;
  }
  return { jsd: jsd / (length - 1), old: old / (length - 1) };
}
