// Which blocks PruneCD's amateur leaves out. The paper (arXiv 2509.16598) filters by perplexity and then takes the blocks whose
// loss costs most right answers; its thresholds and its exact rule could not be had, so they are ours: papers.md 3.3.
import { LabError } from "../../io/errors.ts";
import { rng } from "../../io/rng.ts";
import type { OnProgress } from "../../io/progress.ts";
import type { TextTokenizer } from "../../io/text_tokenizer.ts";
import { type Continuation, runBuckets } from "../../model/continuation_buckets.ts";
import type { LanguageModel } from "../../model/language_model.ts";
import { plainScores } from "../../model/likelihood.ts";
import { logSoftmax } from "../../model/log_softmax.ts";
import type { Answer, Question } from "../../model/multiple_choice.ts";
import { answerPruned } from "../../model/pruned_answers.ts";
import { meanOf } from "../variants.ts";

/** What a model is without some blocks. */
export interface Ablation {
  readonly skip: readonly number[];
  /** Of the texts. */
  readonly perplexity: number;
  /** Share of the development questions that it answers rightly. */
  readonly acc: number;
  /** Mean of ln P(right) − ln Σ P(choices), in nats: finer than shares of few questions. */
  readonly margin: number;
}

/** What blocks are chosen on. */
export interface Development {
  /** Windows as texts: the first token is given. */
  readonly texts: readonly Continuation[];
  readonly questions: readonly Question[];
}

/**
 * Measures a model without each of some sets of blocks.
 *
 * @param skips sets of block numbers; [] is the model itself.
 * @throws LabError "input" where there is no text or question to choose on, and as withoutBlocks.
 */
export async function ablate(
  model: LanguageModel,
  tokenizer: TextTokenizer,
  on: Development,
  skips: readonly (readonly number[])[],
  onProgress?: OnProgress,
): Promise<Ablation[]> {
  if (on.texts.length === 0 || on.questions.length === 0) {
    const counts = `${on.texts.length} texts and ${on.questions.length} questions`;
    throw new LabError("input", "the development set", `has ${counts}`, "Blocks are chosen on one of each at least.");
  }
  const report = onProgress ? { onProgress } : {};
  const { runs } = await runBuckets(model, on.texts, skips, report), perplexities: number[] = [];
  for (const buckets of runs) {
    const scores = await plainScores(model, buckets, on.texts);
    const nats = scores.reduce((s, x) => s - x.logLikelihood, 0), tokens = scores.reduce((s, x) => s + x.tokens, 0);
    perplexities.push(Math.exp(nats / tokens));
  }
  const { amateurs } = await answerPruned(model, tokenizer, on.questions, { skips, contrast: null, ...report });
  return skips.map((skip, i) => ({
    skip,
    perplexity: perplexities[i],
    acc: meanOf(amateurs[i].map((a) => a.acc)),
    margin: meanOf(amateurs[i].map((a, q) => marginOf(a, on.questions[q]))),
  }));
}

/** ln of the right choice's share among all choices, in nats. */
export function marginOf(a: Pick<Answer, "logLikelihoods">, q: Pick<Question, "gold">): number {
  const shares = logSoftmax(a.logLikelihoods).map(Math.exp);
  return Math.log([q.gold].flat().reduce((s, g) => s + (shares[g] ?? 0), 0));
}

/**
 * The blocks without which the model still speaks: perplexity at most τ times its own.
 *
 * @param singles ablations of one block each. @param whole the model's own. @param tau 1 or more.
 * @returns their numbers. @throws LabError "input" where none is left.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fluentBlocks } from "./choose_blocks.ts";
 * const one = (block: number, perplexity: number) => ({ skip: [block], perplexity, acc: 1, margin: 0 });
 * assert.deepEqual(fluentBlocks([one(0, 900), one(1, 35)], { skip: [], perplexity: 30, acc: 1, margin: 0 }, 1.5), [1]);
 * ```
 */
export function fluentBlocks(singles: readonly Ablation[], whole: Ablation, tau: number): number[] {
  const kept = singles.filter((a) => a.perplexity <= tau * whole.perplexity).map((a) => a.skip[0]);
  if (kept.length > 0) return kept;
  const least = Math.min(...singles.map((a) => a.perplexity / whole.perplexity));
  const hint = `The mildest loss of a block multiplies it by ${least.toPrecision(3)}.`;
  throw new LabError("input", "the perplexity filter", `leaves no block at ${tau} times the model's`, hint);
}

/** The worse of two ablations first: fewer right answers, of equal ones the smaller margin. */
const worse = (a: Ablation, b: Ablation) => a.acc - b.acc || a.margin - b.margin;

/**
 * The k candidates whose single loss costs most right answers.
 *
 * @throws LabError "input" for a k that is no number of candidates.
 */
export function topBlocks(singles: readonly Ablation[], candidates: readonly number[], k: number): number[] {
  checkSize(k, candidates);
  const own = singles.filter((a) => candidates.includes(a.skip[0]));
  return [...own].sort(worse).slice(0, k).map((a) => a.skip[0]).sort((a, b) => a - b);
}

/**
 * Grows a set block by block: each time the candidate whose loss, with those before, costs most right answers while perplexity
 * stays within τ times the model's.
 *
 * @param measure ablations of sets, such as `ablate`; single blocks are not asked for again.
 * @param singles ablations of one block each.
 * @returns the sets of 1, 2, … up to k blocks with their ablations; fewer where the filter lets none in.
 */
export async function greedyBlocks(
  measure: (skips: readonly (readonly number[])[]) => Promise<Ablation[]>,
  whole: Ablation,
  singles: readonly Ablation[],
  candidates: readonly number[],
  k: number,
  tau: number,
): Promise<Ablation[]> {
  checkSize(k, candidates);
  const chosen: Ablation[] = [];
  while (chosen.length < k) {
    const skip = chosen.at(-1)?.skip ?? [];
    const tried = candidates.filter((c) => !skip.includes(c)).map((c) => [...skip, c].sort((a, b) => a - b));
    const measured = chosen.length > 0 ? await measure(tried) : singles.filter((a) => candidates.includes(a.skip[0]));
    const fluent = measured.filter((a) => a.perplexity <= tau * whole.perplexity);
    if (fluent.length === 0) break;
    chosen.push(fluent.sort(worse)[0]);
  }
  return chosen;
}

/**
 * Random sets of the same size: the control.
 *
 * @param except a set that is not to be drawn. @returns up to `count` sets, drawn from the seed, no two alike.
 */
export function randomBlocks(
  candidates: readonly number[],
  k: number,
  count: number,
  seed: number,
  except: readonly number[] = [],
): number[][] {
  checkSize(k, candidates);
  const random = rng(seed, `random blocks ${k}`), sets = new Map<string, number[]>();
  for (let tries = 0; sets.size < count && tries < 100 * count; tries++) {
    const set = [...random.permutation(candidates.length)].slice(0, k).map((i) => candidates[i]).sort((a, b) => a - b);
    if (set.join() !== except.join()) sets.set(set.join(), set);
  }
  return [...sets.values()];
}

function checkSize(k: number, candidates: readonly number[]): void {
  if (Number.isInteger(k) && k >= 1 && k <= candidates.length) return;
  throw new LabError(
    "input",
    `${k} blocks to leave out`,
    `of ${candidates.length} candidates`,
    "Ask for fewer, or raise τ.",
  );
}
