// Contrastive decoding: what an expert finds likelier than an amateur does, among the tokens that the expert finds plausible.
// DoLa's amateur is an early exit of the same model, PruneCD's the same model without some blocks: one arithmetic serves both.
import { LabError } from "../io/errors.ts";
import { likeliest } from "./generate.ts";
import { logSoftmax } from "./log_softmax.ts";

export interface ContrastOptions {
  /** α: a token is plausible where p ≥ α · the largest p. 0: all are; 1: greedy decoding. 0.1 unless told. */
  readonly plausibility?: number;
  /** Weight of the expert's log-probability; 1 unless told. PruneCD's strength β is (1 + β, β) here, a choice of ours. */
  readonly expert?: number;
  /** Weight of the amateur's; 1 unless told; 0 leaves the expert. */
  readonly amateur?: number;
  /** Scores become log-probabilities over the whole vocabulary, before implausible tokens are struck out. */
  readonly normalize?: boolean;
  /** The score of an implausible token: −∞ unless told, as decoding needs it; scoring takes −1000. */
  readonly outside?: number;
}

/** DoLa's settings for the score of an answer. */
export const SCORING: ContrastOptions = { normalize: true, outside: -1000 };

/**
 * Which tokens the expert finds plausible: x ≥ max x + ln α in its logits x, which is p ≥ α · max p.
 *
 * With α = 1 it is the likeliest token alone, of equal ones the first, so that decoding is greedy decoding exactly.
 *
 * @param expert logits (vocab). @param alpha from 0 to 1. @returns (vocab), 1 where plausible.
 * @throws LabError "input" for α outside [0, 1]. Source: Li et al. 2023, equation 2; voidism/DoLa (relative_top).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { plausibleTokens } from "./contrast.ts";
 * assert.deepEqual([...plausibleTokens([3, 1.5, 0], 0.2)], [1, 1, 0]); // ln 0.2 = −1.6
 * assert.deepEqual([...plausibleTokens([3, 3, 0], 1)], [1, 0, 0]);
 * ```
 */
export function plausibleTokens(expert: ArrayLike<number>, alpha: number): Uint8Array<ArrayBuffer> {
  if (!(alpha >= 0 && alpha <= 1)) {
    throw new LabError("input", "the plausibility α", `is ${alpha}`, "It lies between 0 (all tokens) and 1 (greedy).");
  }
  const top = likeliest(expert), least = expert[top] + Math.log(alpha), out = new Uint8Array(expert.length);
  for (let i = 0; i < out.length; i++) if (alpha < 1 && expert[i] >= least) out[i] = 1;
  out[top] = 1;
  return out;
}

/**
 * Scores of the next token: a · ln p_expert − b · ln p_amateur among plausible tokens, `outside` elsewhere.
 *
 * @param expert logits (vocab). @param amateur logits (vocab).
 * @returns (vocab), in nats. @throws LabError "input" for other lengths or α outside [0, 1].
 * Source: voidism/DoLa (lm_score, dola_greedy_decode).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { contrast } from "./contrast.ts";
 * // Both find the first token likeliest; the second is what the expert alone knows.
 * const scores = contrast([2, 1.9, -9], [2, 0, 5]);
 * assert(scores[1] > scores[0] && scores[2] === -Infinity);
 * ```
 */
export function contrast(
  expert: ArrayLike<number>,
  amateur: ArrayLike<number>,
  o: ContrastOptions = {},
): Float64Array<ArrayBuffer> {
  if (expert.length !== amateur.length || expert.length === 0) {
    throw new LabError("input", "a contrast", `of ${expert.length} and ${amateur.length} logits`);
  }
  const keep = plausibleTokens(expert, o.plausibility ?? 0.1), a = o.expert ?? 1, b = o.amateur ?? 1;
  const p = logSoftmax(expert), q = logSoftmax(amateur);
  let scores = p.map((v, i) => a * v - b * q[i]);
  if (o.normalize) scores = logSoftmax(scores);
  return scores.map((v, i) => keep[i] ? v : o.outside ?? -Infinity);
}

/**
 * The token that contrastive decoding writes: the plausible one of the largest score, of equal ones the first.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { contrastToken } from "./contrast.ts";
 * assert.equal(contrastToken([2, 1.9, -9], [2, 0, 5]), 1);
 * assert.equal(contrastToken([2, 1.9, -9], [2, 0, 5], { plausibility: 1 }), 0);
 * ```
 */
export function contrastToken(
  expert: ArrayLike<number>,
  amateur: ArrayLike<number>,
  o: ContrastOptions = {},
): number {
  return likeliest(contrast(expert, amateur, { ...o, outside: -Infinity }));
}

/** DoLa's choice of an exit at one position. */
export interface ExitChoice {
  /** Divergence from the expert per candidate. */
  readonly divergence: readonly number[];
  /** The candidate that differs most; of equal ones the first. */
  readonly picked: number;
}

/**
 * DoLa's dynamic choice: the candidate exit that differs most from the expert, by ½ mean_v m ln(m/p) + ½ mean_v m ln(m/q) with
 * m = (p + q)/2. This is KL of the mixture against each side, averaged over the vocabulary: what its code calls JSD, and is not.
 *
 * @param expert logits (vocab). @param exits logits (vocab) of each candidate. @throws LabError "input" without candidates.
 * Source: voidism/DoLa (dola.py); the textbook divergence is in divergence.ts.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pickExit } from "./contrast.ts";
 * assert.equal(pickExit([3, 0], [[3, 0], [0, 3], [1, 0]]).picked, 1);
 * ```
 */
export function pickExit(expert: ArrayLike<number>, exits: readonly ArrayLike<number>[]): ExitChoice {
  if (exits.length === 0) {
    throw new LabError("input", "DoLa's exits", "there is no candidate", "Name one layer or more.");
  }
  const p = logSoftmax(expert);
  const divergence = exits.map((logits) => {
    if (logits.length !== p.length) {
      throw new LabError("input", "DoLa's exits", `${logits.length} logits beside ${p.length}`);
    }
    const q = logSoftmax(logits);
    let sum = 0;
    for (let i = 0; i < p.length; i++) {
      const m = (Math.exp(p[i]) + Math.exp(q[i])) / 2;
      if (m > 0) sum += m * (2 * Math.log(m) - p[i] - q[i]);
    }
    return sum / (2 * p.length);
  });
  return { divergence, picked: likeliest(divergence) };
}
