// Log-likelihoods of continuations: which of several endings does a model find likeliest?
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import { likeliest } from "./generate.ts";
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
  /** Whether greedy decoding after the context would write it; undefined where that was not asked for. */
  readonly greedy?: boolean;
}

/** Positions whose logits are looked at together: with 50,000 tokens 50 MB. */
const rowsAtOnce = 256;

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
 * @param o.greedy also says of each continuation whether greedy decoding writes it, which takes all its logits.
 * @returns one score a request, in their order.
 * @throws LabError for an empty context or continuation, or a text longer than the model's positions.
 */
export async function continuationLogLikelihoods(
  model: LanguageModel,
  requests: readonly Continuation[],
  o: { readonly weights?: OtherWeights; readonly greedy?: boolean; readonly onProgress?: OnProgress } = {},
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
    const nll = await model.scoreHidden(b.hidden!, b.ids), greedy = o.greedy ? await written(model, b, requests) : null;
    for (const [w, i] of b.members.entries()) {
      const { context, continuation } = requests[i], start = w * (b.length - 1) + context.length - 1;
      let sum = 0;
      for (let t = 0; t < continuation.length; t++) sum -= nll[start + t];
      scores[i] = { logLikelihood: sum, tokens: continuation.length, ...(greedy ? { greedy: greedy[w] } : {}) };
    }
  }
  return scores;
}

/** Whether each member's continuation is the likeliest token at every step. */
async function written(model: LanguageModel, b: Bucket, requests: readonly Continuation[]): Promise<boolean[]> {
  const hidden = b.hidden!, { width } = hidden, out = b.members.map(() => true);
  const rows = b.members.flatMap((i, w) =>
    requests[i].continuation.map((id, t) => ({ w, id, row: w * b.length + requests[i].context.length - 1 + t }))
  );
  for (let from = 0; from < rows.length; from += rowsAtOnce) {
    const part = rows.slice(from, from + rowsAtOnce), data = new Float32Array(part.length * width);
    part.forEach(({ row }, k) => data.set(hidden.data.subarray(row * width, (row + 1) * width), k * width));
    const logits = await model.logits({ data, windows: 1, length: part.length, width });
    part.forEach(({ w, id }, k) => {
      if (likeliest(logits.data.subarray(k * logits.cols, (k + 1) * logits.cols)) !== id) out[w] = false;
    });
  }
  return out;
}
