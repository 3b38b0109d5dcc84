// Questions put to a model, to amateurs made of it, and to their contrasts, in one pass over the weights. PruneCD and DoLa.
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { TextTokenizer } from "../io/text_tokenizer.ts";
import { runBuckets } from "./continuation_buckets.ts";
import type { ContrastOptions } from "./contrast.ts";
import type { LanguageModel } from "./language_model.ts";
import { type ContinuationScore, contrastScores, dolaScores, plainScores } from "./likelihood.ts";
import {
  type Answer,
  inBatches,
  type Question,
  questionAnswers,
  questionRequests,
  valuesAtOnce,
} from "./multiple_choice.ts";
import type { OtherWeights } from "./perplexity.ts";

/** Answers of each way to score, all to the same questions. */
export interface PrunedAnswers {
  readonly expert: readonly Answer[];
  /** One a skip set: the pruned model by itself. */
  readonly amateurs: readonly (readonly Answer[])[];
  /** One a skip set: expert against amateur. Empty where `contrast` is null. */
  readonly contrasts: readonly (readonly Answer[])[];
  /** Against the exit that differs most at each position; null without exits. */
  readonly dola: readonly Answer[] | null;
  /** Positions at which each exit was that one. */
  readonly picked: readonly number[];
}

/**
 * Asks a model, its pruned selves and their contrasts. Blocks before the first that a set skips are computed once.
 *
 * @param o.skips sets of blocks to leave out, numbers from 0. @param o.exits blocks behind which DoLa may exit; none unless told.
 * @param o.contrast of every set, or one a set; null leaves contrasts out, which cost a pass through the head for every set.
 * @returns answers in the order of questions and sets.
 * @throws LabError as answerQuestions and withoutBlocks; "input" for an exit that is no block or the last.
 */
export async function answerPruned(
  model: LanguageModel,
  tokenizer: TextTokenizer,
  questions: readonly Question[],
  o: {
    readonly skips: readonly (readonly number[])[];
    readonly exits?: readonly number[];
    readonly contrast?: ContrastOptions | readonly ContrastOptions[] | null;
    readonly weights?: OtherWeights;
    readonly onProgress?: OnProgress;
  },
): Promise<PrunedAnswers> {
  const { exits = [], skips } = o, last = model.blocks - 1;
  const bad = exits.find((e) => !(Number.isInteger(e) && e >= 0 && e < last));
  if (bad !== undefined) {
    throw new LabError("input", model.label, `has no early exit behind block ${bad}`, `Exits are 0 to ${last - 1}.`);
  }
  const requests = questionRequests(model, tokenizer, questions), states = 1 + skips.length + exits.length;
  const most = Math.max(1, Math.floor(valuesAtOnce / model.config.width / states));
  const expert: ContinuationScore[] = [], dola: ContinuationScore[] = [], picked = exits.map(() => 0);
  const amateurs = skips.map((): ContinuationScore[] => []), contrasts = skips.map((): ContinuationScore[] => []);
  const batches = inBatches(requests, most);
  const contrastOf = (k: number): ContrastOptions => (o.contrast instanceof Array ? o.contrast[k] : o.contrast) ?? {};
  for (const [i, batch] of batches.entries()) {
    const reached = await runBuckets(model, batch, [[], ...skips], {
      exits,
      ...(o.weights ? { weights: o.weights } : {}),
      onProgress: (p) =>
        o.onProgress?.({ ...p, done: i * model.blocks + p.done, total: batches.length * model.blocks }),
    });
    const [own, ...others] = reached.runs.map((buckets) => ({ model, buckets }));
    expert.push(...await plainScores(model, own.buckets, batch));
    for (const [k, other] of others.entries()) {
      amateurs[k].push(...await plainScores(model, other.buckets, batch));
      if (o.contrast !== null) contrasts[k].push(...await contrastScores(own, other, batch, contrastOf(k)));
    }
    if (exits.length === 0) continue;
    const found = await dolaScores(own, exits.map((e) => reached.exits.get(e)!), batch, contrastOf(0));
    dola.push(...found.scores);
    found.picked.forEach((n, e) => picked[e] += n);
  }
  const judged = (scores: readonly ContinuationScore[]) => questionAnswers(questions, requests, scores, false);
  return {
    expert: judged(expert),
    amateurs: amateurs.map(judged),
    contrasts: o.contrast === null ? [] : contrasts.map(judged),
    dola: exits.length === 0 ? null : judged(dola),
    picked,
  };
}
