// Log-likelihoods of continuations: which of several endings does a model find likeliest?
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Hidden, LanguageModel } from "./language_model.ts";
import { openBlockWith, type OtherWeights } from "./perplexity.ts";

/** A text in two parts, as token ids; the context holds at least one token. */
export interface Continuation {
  readonly context: readonly number[];
  readonly continuation: readonly number[];
}

/** ln P(continuation | context) and over how many tokens. */
export interface ContinuationScore {
  /** Sum over the continuation's tokens, in nats (negative). */
  readonly logLikelihood: number;
  readonly tokens: number;
}

/** Texts are filled up at the end to a multiple of this; what follows a token cannot change its likelihood. */
const lengthStep = 32;

interface Bucket {
  readonly length: number;
  readonly members: number[];
  ids: Int32Array;
  hidden: Hidden | null;
}

/**
 * ln P(continuation | context) = Σ ln P(token | all before it), for many texts at once, streamed block by block.
 *
 * @returns one score a request, in their order.
 * @throws LabError for an empty context or continuation, or a text longer than the model's positions.
 */
export async function continuationLogLikelihoods(
  model: LanguageModel,
  requests: readonly Continuation[],
  o: { readonly weights?: OtherWeights; readonly onProgress?: OnProgress } = {},
): Promise<ContinuationScore[]> {
  const buckets = new Map<number, Bucket>(), most = model.config.maxPositions ?? Infinity;
  for (const [i, r] of requests.entries()) {
    if (r.context.length === 0 || r.continuation.length === 0) {
      throw new LabError("input", `continuation ${i}`, "needs a context and a continuation of one token at least");
    }
    const whole = r.context.length + r.continuation.length;
    const length = Math.max(whole, Math.min(most, Math.ceil(whole / lengthStep) * lengthStep));
    let bucket = buckets.get(length);
    if (!bucket) buckets.set(length, bucket = { length, members: [], ids: new Int32Array(0), hidden: null });
    bucket.members.push(i);
  }
  for (const b of buckets.values()) {
    b.ids = new Int32Array(b.members.length * b.length);
    b.members.forEach((i, w) => b.ids.set([...requests[i].context, ...requests[i].continuation], w * b.length));
    b.hidden = await model.embed(b.ids, b.members.length, b.length);
  }
  for (let index = 0; index < model.blocks; index++) {
    const block = await openBlockWith(model, index, o.weights);
    for (const b of buckets.values()) b.hidden = await block.forward(b.hidden!);
    block.close();
    o.onProgress?.({ what: "scoring continuations", done: index + 1, total: model.blocks, unit: "blocks" });
  }
  const scores: ContinuationScore[] = new Array(requests.length);
  for (const b of buckets.values()) {
    const nll = await model.scoreHidden(b.hidden!, b.ids);
    for (const [w, i] of b.members.entries()) {
      const { context, continuation } = requests[i], start = w * (b.length - 1) + context.length - 1;
      let sum = 0;
      for (let t = 0; t < continuation.length; t++) sum -= nll[start + t];
      scores[i] = { logLikelihood: sum, tokens: continuation.length };
    }
  }
  return scores;
}
