// How sharp and how right a model's predictions are on the way through it: behind each block, and with blocks left out.
import { type Continuation, predictions, runBuckets, statesAt } from "./continuation_buckets.ts";
import { type Distribution, distribution, distributionDivergence } from "./divergence.ts";
import type { LanguageModel } from "./language_model.ts";
import type { OtherWeights } from "./perplexity.ts";
import type { OnProgress } from "../io/progress.ts";

/** Means over positions. */
export interface PredictionProfile {
  /** −Σ p ln p, in nats: ln vocab where all tokens are alike. */
  readonly entropy: number;
  /** The largest logit above the mean of the logits. */
  readonly peak: number;
  /** Share of the expert's ten likeliest tokens that are among its own ten. */
  readonly overlap: number;
  /** Jensen–Shannon divergence from the expert, in nats: at most ln 2. */
  readonly divergence: number;
}

/** Profiles of a model and of what was made of it. */
export interface PredictionProfiles {
  readonly expert: PredictionProfile;
  /** One an exit. */
  readonly exits: readonly PredictionProfile[];
  /** One a set of blocks left out. */
  readonly pruned: readonly PredictionProfile[];
}

/** Positions whose logits are looked at together: with 50,000 tokens 12 MB a way. */
const rowsAtOnce = 64;
const TOP = 10;

/**
 * Profiles of early exits and of pruned selves beside the model's own predictions, on the continuations of some texts.
 *
 * @param exits blocks behind which to read the head. @param skips sets of blocks to leave out.
 * @returns the model itself, then one profile an exit, then one a set.
 * @throws LabError as runBuckets.
 */
export async function predictionProfiles(
  model: LanguageModel,
  texts: readonly Continuation[],
  exits: readonly number[],
  skips: readonly (readonly number[])[],
  o: { readonly weights?: OtherWeights; readonly onProgress?: OnProgress } = {},
): Promise<PredictionProfiles> {
  const reached = await runBuckets(model, texts, [[], ...skips], { ...o, exits });
  const ways = [reached.runs[0], ...exits.map((e) => reached.exits.get(e)!), ...reached.runs.slice(1)];
  const sums = ways.map(() => ({ entropy: 0, peak: 0, overlap: 0, divergence: 0 }));
  let positions = 0;
  for (const [n, bucket] of reached.runs[0].entries()) {
    const all = predictions(bucket, texts);
    positions += all.length;
    for (let from = 0; from < all.length; from += rowsAtOnce) {
      const part = all.slice(from, from + rowsAtOnce), expert: { d: Distribution; top: Set<number> }[] = [];
      for (const [w, way] of ways.entries()) {
        const { data, cols } = await model.logits(statesAt(way[n], part));
        for (let k = 0; k < part.length; k++) {
          const logits = data.subarray(k * cols, (k + 1) * cols), d = distribution(logits), top = topTokens(logits);
          if (w === 0) expert.push({ d, top });
          const own = expert[k], sum = sums[w];
          sum.entropy -= d.p.reduce((s, p, i) => s + p * d.ln[i], 0);
          sum.peak += logits[top.values().next().value!] - logits.reduce((s, x) => s + x, 0) / cols;
          sum.overlap += [...top].filter((id) => own.top.has(id)).length / top.size;
          sum.divergence += distributionDivergence(own.d, d).jsd;
        }
      }
    }
  }
  const [expert, ...rest] = sums.map((s) => ({
    entropy: s.entropy / positions,
    peak: s.peak / positions,
    overlap: s.overlap / positions,
    divergence: s.divergence / positions,
  }));
  return { expert, exits: rest.slice(0, exits.length), pruned: rest.slice(exits.length) };
}

/** The likeliest ten, the first one first. */
function topTokens(logits: ArrayLike<number>): Set<number> {
  const top: number[] = [];
  for (let i = 0; i < logits.length; i++) {
    if (top.length === TOP && logits[i] <= logits[top[TOP - 1]]) continue;
    let at = top.length;
    while (at > 0 && logits[i] > logits[top[at - 1]]) at--;
    top.splice(at, 0, i);
    if (top.length > TOP) top.pop();
  }
  return new Set(top);
}
