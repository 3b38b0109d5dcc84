// Log-likelihoods of continuations: which of several endings does a model find likeliest?
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Matrix } from "../io/tensor.ts";
import {
  type Bucket,
  type Continuation,
  type Predicted,
  predictions,
  runBuckets,
  statesAt,
} from "./continuation_buckets.ts";
import { contrast, type ContrastOptions, pickExit, SCORING } from "./contrast.ts";
import { likeliest } from "./generate.ts";
import type { LanguageModel } from "./language_model.ts";
import type { OtherWeights } from "./perplexity.ts";

/** ln P(continuation | context) and over how many tokens. */
export interface ContinuationScore {
  /** Sum over the continuation's tokens, in nats (negative). */
  readonly logLikelihood: number;
  readonly tokens: number;
  /** Whether greedy decoding after the context would write it; undefined where that was not asked for. */
  readonly greedy?: boolean;
}

/** Positions whose logits are looked at together: with 50,000 tokens 50 MB. */
const rowsAtOnce = 256;

/**
 * ln P(continuation | context) = Σ ln P(token | all before it), for many texts at once, streamed block by block.
 *
 * @param o.greedy also says of each continuation whether greedy decoding writes it, which takes all its logits.
 * @returns one score a request, in their order.
 * @throws LabError for an empty context or continuation, or a text longer than the model's positions.
 */
export async function continuationLogLikelihoods(
  model: LanguageModel,
  requests: readonly Continuation[],
  o: { readonly weights?: OtherWeights; readonly greedy?: boolean; readonly onProgress?: OnProgress } = {},
): Promise<ContinuationScore[]> {
  const { runs: [buckets] } = await runBuckets(model, requests, [[]], o);
  return await plainScores(model, buckets, requests, o.greedy);
}

/** Scores of texts that went through a model's blocks. */
export async function plainScores(
  model: LanguageModel,
  buckets: readonly Bucket[],
  requests: readonly Continuation[],
  greedy = false,
): Promise<ContinuationScore[]> {
  const scores: ContinuationScore[] = new Array(requests.length);
  for (const b of buckets) {
    const all = predictions(b, requests), sums = b.members.map(() => 0);
    // only what predicts a continuation's token meets the head: a fifth of a small model's work is there
    const nll = await model.scoreHidden(statesAt(b, all, 1), Int32Array.from([0, ...all.map(({ id }) => id)]));
    all.forEach(({ member }, k) => sums[member] -= nll[k]);
    const wrote = greedy ? await written(model, b, requests) : null;
    for (const [w, i] of b.members.entries()) {
      const tokens = requests[i].continuation.length;
      scores[i] = { logLikelihood: sums[w], tokens, ...(wrote ? { greedy: wrote[w] } : {}) };
    }
  }
  return scores;
}

/** Whether each member's continuation is the likeliest token at every step. */
async function written(model: LanguageModel, b: Bucket, requests: readonly Continuation[]): Promise<boolean[]> {
  const out = b.members.map(() => true), all = predictions(b, requests);
  for (let from = 0; from < all.length; from += rowsAtOnce) {
    const part = all.slice(from, from + rowsAtOnce), logits = await model.logits(statesAt(b, part));
    part.forEach(({ member, id }, k) => {
      if (likeliest(rowOf(logits, k)) !== id) out[member] = false;
    });
  }
  return out;
}

/**
 * The score of continuations under contrastive decoding: Σ over their tokens of contrast(expert, amateur) at the token; `greedy`
 * says whether contrastive decoding writes it.
 *
 * @param amateur of the same vocabulary, such as withoutBlocks(expert, …). @param o.contrast SCORING unless told: DoLa's settings.
 * @param o.weights for both models.
 * @returns one score a request, in their order; `logLikelihood` is in nats.
 * @throws LabError as continuationLogLikelihoods, and "input" where the vocabularies differ.
 */
export async function contrastLogLikelihoods(
  expert: LanguageModel,
  amateur: LanguageModel,
  requests: readonly Continuation[],
  o: { readonly contrast?: ContrastOptions; readonly weights?: OtherWeights; readonly onProgress?: OnProgress } = {},
): Promise<ContinuationScore[]> {
  const { runs: [ours] } = await runBuckets(expert, requests, [[]], o);
  const { runs: [theirs] } = await runBuckets(amateur, requests, [[]], o);
  if (ours.some((b, n) => theirs[n]?.length !== b.length)) {
    throw new LabError("input", amateur.label, `does not know as many positions as ${expert.label}`);
  }
  return await contrastScores(
    { model: expert, buckets: ours },
    { model: amateur, buckets: theirs },
    requests,
    o.contrast,
  );
}

/** A model, and texts that went through its blocks. */
export interface ModelRun {
  readonly model: LanguageModel;
  readonly buckets: readonly Bucket[];
}

/** Scores by contrast of texts that went through both models. */
export async function contrastScores(
  expert: ModelRun,
  amateur: ModelRun,
  requests: readonly Continuation[],
  o: ContrastOptions = {},
): Promise<ContinuationScore[]> {
  return await scoresOf(expert, requests, async (p, part, n) => {
    const q = await amateur.model.logits(statesAt(amateur.buckets[n], part));
    return (k) => contrast(rowOf(p, k), rowOf(q, k), { ...SCORING, ...o });
  });
}

/** Scores by DoLa: at each position the contrast with the exit that differs most there; and how often each exit was it. */
export async function dolaScores(
  expert: ModelRun,
  exits: readonly (readonly Bucket[])[],
  requests: readonly Continuation[],
  o: ContrastOptions = {},
): Promise<{ readonly scores: ContinuationScore[]; readonly picked: readonly number[] }> {
  const picked = exits.map(() => 0);
  const scores = await scoresOf(expert, requests, async (p, part, n) => {
    const q: Matrix[] = [];
    for (const exit of exits) q.push(await expert.model.logits(statesAt(exit[n], part)));
    return (k) => {
      const rows = q.map((m) => rowOf(m, k)), own = rowOf(p, k), choice = pickExit(own, rows).picked;
      picked[choice]++;
      return contrast(own, rows[choice], { ...SCORING, ...o });
    };
  });
  return { scores, picked };
}

const rowOf = (m: Matrix, k: number) => m.data.subarray(k * m.cols, (k + 1) * m.cols);

/** Sums, over each continuation, what `values` says of its tokens. */
async function scoresOf(
  expert: ModelRun,
  requests: readonly Continuation[],
  values: (p: Matrix, part: readonly Predicted[], bucket: number) => Promise<(k: number) => Float64Array>,
): Promise<ContinuationScore[]> {
  const scores: ContinuationScore[] = new Array(requests.length);
  for (const [n, b] of expert.buckets.entries()) {
    const sum = b.members.map(() => 0), greedy = b.members.map(() => true), all = predictions(b, requests);
    for (let from = 0; from < all.length; from += rowsAtOnce) {
      const part = all.slice(from, from + rowsAtOnce);
      const at = await values(await expert.model.logits(statesAt(b, part)), part, n);
      part.forEach(({ member, id }, k) => {
        const scored = at(k);
        sum[member] += scored[id];
        if (likeliest(scored) !== id) greedy[member] = false;
      });
    }
    b.members.forEach((i, w) => {
      scores[i] = { logLikelihood: sum[w], tokens: requests[i].continuation.length, greedy: greedy[w] };
    });
  }
  return scores;
}
