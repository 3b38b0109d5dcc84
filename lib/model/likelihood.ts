// Log-likelihoods of continuations: which of several endings does a model find likeliest?
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Matrix } from "../io/tensor.ts";
import { contrast, type ContrastOptions, SCORING } from "./contrast.ts";
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

/** Texts are filled up at the end to a multiple of this; what follows a token cannot change its likelihood. At 32 a tenth more
 * of the lab's own questions is filling, at 1 every length is compiled anew. */
const lengthStep = 8;

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
  const buckets = await runBlocks(model, requests, o);
  const scores: ContinuationScore[] = new Array(requests.length);
  for (const b of buckets) {
    const all = predictions(b, requests), sums = b.members.map(() => 0);
    // only what predicts a continuation's token meets the head: a fifth of a small model's work is there
    const nll = await model.scoreHidden(statesAt(b, all, 1), Int32Array.from([0, ...all.map(({ id }) => id)]));
    all.forEach(({ member }, k) => sums[member] -= nll[k]);
    const greedy = o.greedy ? await written(model, b, requests) : null;
    for (const [w, i] of b.members.entries()) {
      const tokens = requests[i].continuation.length;
      scores[i] = { logLikelihood: sums[w], tokens, ...(greedy ? { greedy: greedy[w] } : {}) };
    }
  }
  return scores;
}

/** The hidden states behind the last block, texts of one length together; equal requests make equal buckets. */
async function runBlocks(
  model: LanguageModel,
  requests: readonly Continuation[],
  o: { readonly weights?: OtherWeights; readonly onProgress?: OnProgress },
): Promise<Bucket[]> {
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
  return [...buckets.values()];
}

/** One token of a continuation: which member, which id, and the position whose logits predict it. */
interface Predicted {
  readonly member: number;
  readonly id: number;
  readonly row: number;
}

function predictions(b: Bucket, requests: readonly Continuation[]): Predicted[] {
  return b.members.flatMap((i, member) =>
    requests[i].continuation.map((id, t) => ({
      member,
      id,
      row: member * b.length + requests[i].context.length - 1 + t,
    }))
  );
}

/** The hidden states that predict these tokens, one behind the other as one window, and `spare` empty ones at its end. */
function statesAt(b: Bucket, part: readonly Predicted[], spare = 0): Hidden {
  const { width, data } = b.hidden!, length = part.length + spare, states = new Float32Array(length * width);
  part.forEach(({ row }, k) => states.set(data.subarray(row * width, (row + 1) * width), k * width));
  return { data: states, windows: 1, length, width };
}

/** Whether each member's continuation is the likeliest token at every step. */
async function written(model: LanguageModel, b: Bucket, requests: readonly Continuation[]): Promise<boolean[]> {
  const out = b.members.map(() => true), all = predictions(b, requests);
  for (let from = 0; from < all.length; from += rowsAtOnce) {
    const part = all.slice(from, from + rowsAtOnce), { data, cols } = await model.logits(statesAt(b, part));
    part.forEach(({ member, id }, k) => {
      if (likeliest(data.subarray(k * cols, (k + 1) * cols)) !== id) out[member] = false;
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
  const ours = await runBlocks(expert, requests, o), theirs = await runBlocks(amateur, requests, o);
  const scores: ContinuationScore[] = new Array(requests.length), options = { ...SCORING, ...o.contrast };
  if (ours.some((b, n) => theirs[n]?.length !== b.length)) {
    throw new LabError("input", amateur.label, `does not know as many positions as ${expert.label}`);
  }
  for (const [n, b] of ours.entries()) {
    const sum = b.members.map(() => 0), greedy = b.members.map(() => true), all = predictions(b, requests);
    for (let from = 0; from < all.length; from += rowsAtOnce) {
      const part = all.slice(from, from + rowsAtOnce);
      const p = await expert.logits(statesAt(b, part)), q = await amateur.logits(statesAt(theirs[n], part));
      part.forEach(({ member, id }, k) => {
        const row = (m: Matrix) => m.data.subarray(k * m.cols, (k + 1) * m.cols),
          values = contrast(row(p), row(q), options);
        sum[member] += values[id];
        if (likeliest(values) !== id) greedy[member] = false;
      });
    }
    b.members.forEach((i, w) => {
      scores[i] = { logLikelihood: sum[w], tokens: requests[i].continuation.length, greedy: greedy[w] };
    });
  }
  return scores;
}
