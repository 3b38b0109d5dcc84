// How far a model's predictions lie from another's: Jensen–Shannon divergence of next-token distributions, and AMQ's older form.
import { LabError } from "../io/errors.ts";

/** Both definitions, in nats. */
export interface Divergence {
  /** ½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2: at most ln 2. */
  readonly jsd: number;
  /** (KL(p‖q) + KL(q‖p))/4: unbounded; what AMQ called JSD until August 2025. */
  readonly old: number;
}

/** A distribution over a vocabulary: probabilities and their logarithms. */
export interface Distribution {
  /** p (vocab) */
  readonly p: Float64Array;
  /** ln p (vocab), finite where p underflows to 0 too. */
  readonly ln: Float64Array;
}

/** Below this m counts as this, after mixing. */
const EPSILON = 1e-7;

/**
 * softmax of logits and its logarithm, in double.
 *
 * @param logits x (vocab). @returns p = e^x / Σ e^x, and ln p.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { distribution } from "./divergence.ts";
 * assert.deepEqual([...distribution([1000, 1000]).p], [0.5, 0.5]);
 * ```
 */
export function distribution(logits: ArrayLike<number>): Distribution {
  const n = logits.length, p = new Float64Array(n), ln = new Float64Array(n);
  let most = -Infinity, sum = 0;
  for (let i = 0; i < n; i++) most = Math.max(most, logits[i]);
  for (let i = 0; i < n; i++) sum += p[i] = Math.exp(logits[i] - most);
  const rest = most + Math.log(sum);
  for (let i = 0; i < n; i++) {
    p[i] /= sum;
    ln[i] = logits[i] - rest;
  }
  return { p, ln };
}

/** Divergence of two distributions over one vocabulary. @param epsilon floor of m. */
export function distributionDivergence(a: Distribution, b: Distribution, epsilon = EPSILON): Divergence {
  let jsd = 0, old = 0;
  for (let i = 0; i < a.p.length; i++) {
    const x = a.p[i], y = b.p[i];
    if (x === 0 && y === 0) continue;
    const m = Math.log(Math.max(epsilon, (x + y) / 2));
    if (x > 0) jsd += x * (a.ln[i] - m) / 2; // 0 · ln 0 = 0
    if (y > 0) jsd += y * (b.ln[i] - m) / 2;
    old += (x - y) * (a.ln[i] - b.ln[i]) / 4;
  }
  return { jsd, old };
}

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
  return distributionDivergence(distribution(a), distribution(b), epsilon);
}

/** Logits of position t of (length, vocab). */
function row(v: ArrayLike<number>, t: number, vocab: number): ArrayLike<number> {
  const [from, to] = [t * vocab, (t + 1) * vocab];
  return v instanceof Float32Array ? v.subarray(from, to) : Array.prototype.slice.call(v, from, to);
}

/**
 * The distributions that a sequence's next tokens are drawn from: all positions but the last.
 *
 * @param logits (length, vocab). @returns (length − 1).
 */
export function sequenceDistributions(logits: ArrayLike<number>, vocab: number): Distribution[] {
  return Array.from({ length: logits.length / vocab - 1 }, (_, t) => distribution(row(logits, t, vocab)));
}

/**
 * Mean divergence over a sequence's predictions that have a next token: all positions but the last.
 *
 * @param a logits (length, vocab) of the float model, or its distributions (length − 1). @param b those of the quantized one.
 * @param vocab columns.
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
  a: ArrayLike<number> | readonly Distribution[],
  b: ArrayLike<number>,
  vocab: number,
  epsilon = EPSILON,
): Divergence {
  const known = isKnown(a), length = known ? a.length + 1 : a.length / vocab;
  if (length * vocab !== b.length || !Number.isInteger(length) || length < 2) {
    const shapes = `${length * vocab} and ${b.length} logits over ${vocab} tokens`;
    throw new LabError("input", "a divergence over a sequence", shapes, "It takes two positions or more.");
  }
  let jsd = 0, old = 0;
  for (let t = 0; t < length - 1; t++) {
    const p = known ? a[t] : distribution(row(a, t, vocab));
    const d = distributionDivergence(p, distribution(row(b, t, vocab)), epsilon);
    jsd += d.jsd;
    old += d.old;
  }
  return { jsd: jsd / (length - 1), old: old / (length - 1) };
}

function isKnown(a: ArrayLike<number> | readonly Distribution[]): a is readonly Distribution[] {
  return typeof a[0] === "object";
}
