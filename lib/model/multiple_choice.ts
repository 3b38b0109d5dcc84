// Questions put to a model: every choice's log-likelihood after its context, cut into tokens as lm-evaluation-harness cuts them.
import { LabError } from "../io/errors.ts";
import type { OnProgress, Progress } from "../io/progress.ts";
import type { TextTokenizer } from "../io/text_tokenizer.ts";
import type { LanguageModel } from "./language_model.ts";
import type { ContrastOptions } from "./contrast.ts";
import type { Continuation } from "./continuation_buckets.ts";
import { continuationLogLikelihoods, type ContinuationScore, contrastLogLikelihoods } from "./likelihood.ts";
import type { OtherWeights } from "./perplexity.ts";
import { judgeChoices, type Verdict } from "./scorer.ts";

/** A question with a text for each choice. */
export interface Question {
  /** What the model reads and what is scored, one a choice; contexts may differ (Winogrande). */
  readonly pairs: readonly { readonly context: string; readonly continuation: string }[];
  /** The choices' own texts, whose lengths acc_norm divides by: without the space before them. */
  readonly choices: readonly string[];
  /** The right choice, or several of which any counts. */
  readonly gold: number | readonly number[];
}

/** What a model said to a question. */
export interface Answer extends Verdict {
  /** Per choice, in nats. */
  readonly logLikelihoods: readonly number[];
  /** Per choice; empty where it was not asked for. */
  readonly greedy: readonly boolean[];
  /** Choices whose context lost its beginning, so that it fits the model's positions. */
  readonly truncated: number;
}

export interface AnswerOptions {
  /** Other weights for the model's linears, such as dequantized ones. */
  readonly weights?: OtherWeights;
  /** Also find out whether greedy decoding writes each choice; always done where a question has one choice (a cloze). */
  readonly greedy?: boolean;
  /** Score by contrast with this model (same vocabulary, such as withoutBlocks of the same one) instead of by likelihood. */
  readonly amateur?: LanguageModel;
  readonly contrast?: ContrastOptions;
  readonly onProgress?: OnProgress;
}

/** Hidden states of the texts under way, in values: 128 MB in float32. */
export const valuesAtOnce = 2 ** 25;

/**
 * Context and continuation as token ids. Spaces that end the context go to the continuation; the continuation's tokens are
 * those of the whole text beyond the context's, so that a word at the seam is cut as the model knows it; an empty context is the
 * BOS token, or EOS where there is none.
 *
 * @param mostTokens a longer text loses its beginning. @returns ids of both parts, and whether it was cut.
 * @throws LabError "input" where the continuation has no token of its own, or no room.
 * Source: EleutherAI/lm-evaluation-harness, lm_eval/api/model.py (_encode_pair).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodePair } from "./multiple_choice.ts";
 * const encode = (text: string) => Array.from(text, (c) => c.charCodeAt(0));
 * const letters = { encode, decode: () => "", vocabSize: 128, bosId: 1, eosId: 2 };
 * assert.deepEqual(encodePair(letters, "ab ", "c"), { context: [97, 98], continuation: [32, 99], truncated: false });
 * assert.deepEqual(encodePair(letters, "", "c").context, [1]);
 * ```
 */
export function encodePair(
  tokenizer: TextTokenizer,
  context: string,
  continuation: string,
  mostTokens: number | null = null,
): Continuation & { readonly truncated: boolean } {
  const bare = context.trimEnd(), rest = context.slice(bare.length) + continuation;
  const what = `the continuation "${continuation.slice(0, 40)}"`;
  let before = bare === "" ? [] : tokenizer.encode(bare), after: number[];
  if (bare === "") {
    after = tokenizer.encode(rest);
    const start = tokenizer.bosId ?? tokenizer.eosId;
    if (start === null) throw new LabError("input", what, "has no context, and the tokenizer no BOS or EOS token");
    if (after[0] === start) after = after.slice(1);
    before = [start];
  } else after = tokenizer.encode(bare + rest).slice(before.length);
  if (after.length === 0) throw new LabError("input", what, "adds no token to its context", "It must not be empty.");
  const over = mostTokens === null ? 0 : before.length + after.length - mostTokens;
  if (over >= before.length) {
    throw new LabError("input", what, `has ${after.length} tokens where the model knows ${mostTokens} positions`);
  }
  return { context: over > 0 ? before.slice(over) : before, continuation: after, truncated: over > 0 };
}

/**
 * Asks a model all questions: log-likelihoods of every choice, and which one they pick.
 *
 * @param questions one or more; those of one choice are a cloze, judged by `exactMatch`.
 * @returns one answer a question, in their order.
 * @throws LabError "input" where there is no question, a continuation has no token, or a gold names no choice.
 */
export async function answerQuestions(
  model: LanguageModel,
  tokenizer: TextTokenizer,
  questions: readonly Question[],
  o: AnswerOptions = {},
): Promise<Answer[]> {
  const greedy = o.greedy || questions.some((q) => q.pairs.length === 1);
  const requests = questionRequests(model, tokenizer, questions);
  const batches = inBatches(requests, Math.floor(valuesAtOnce / model.config.width));
  const scores: ContinuationScore[] = [];
  for (const [i, batch] of batches.entries()) {
    const common = {
      ...(o.weights ? { weights: o.weights } : {}),
      onProgress: (p: Progress) =>
        o.onProgress?.({ ...p, done: i * model.blocks + p.done, total: batches.length * model.blocks }),
    };
    scores.push(
      ...o.amateur
        ? await contrastLogLikelihoods(model, o.amateur, batch, { ...common, contrast: o.contrast ?? {} })
        : await continuationLogLikelihoods(model, batch, { ...common, greedy }),
    );
  }
  return questionAnswers(questions, requests, scores, greedy);
}

/** A choice of a question as tokens. */
export type Request = Continuation & { readonly truncated: boolean };

/** All choices of all questions, one after another. */
export function questionRequests(
  model: LanguageModel,
  tokenizer: TextTokenizer,
  questions: readonly Question[],
): Request[] {
  if (questions.length === 0) throw new LabError("input", "a task", "has no question");
  return questions.flatMap((q, i) => {
    if (q.pairs.length !== q.choices.length || q.pairs.length === 0) {
      throw new LabError("input", `question ${i}`, `${q.pairs.length} texts for ${q.choices.length} choices`);
    }
    return q.pairs.map((p) => encodePair(tokenizer, p.context, p.continuation, model.config.maxPositions));
  });
}

/** What scores of all choices come to. @param greedy whether the scores know what greedy decoding writes. */
export function questionAnswers(
  questions: readonly Question[],
  requests: readonly Request[],
  scores: readonly ContinuationScore[],
  greedy: boolean,
): Answer[] {
  let at = 0;
  return questions.map((q) => {
    const part = scores.slice(at, at + q.pairs.length), mine = requests.slice(at, at += q.pairs.length);
    const logLikelihoods = part.map((s) => s.logLikelihood), wrote = greedy ? part.map((s) => s.greedy === true) : [];
    const verdict = judgeChoices(logLikelihoods, q.choices, q.gold, wrote);
    return { ...verdict, logLikelihoods, greedy: wrote, truncated: mine.filter((r) => r.truncated).length };
  });
}

/** Runs of requests that hold at most so many tokens each; one at least. */
export function inBatches<T extends Continuation>(requests: readonly T[], mostTokens: number): T[][] {
  const out: T[][] = [];
  let tokens = Infinity;
  for (const r of requests) {
    const length = r.context.length + r.continuation.length;
    if (tokens + length > mostTokens) {
      out.push([]);
      tokens = 0;
    }
    out[out.length - 1].push(r);
    tokens += length;
  }
  return out;
}
