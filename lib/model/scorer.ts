// The arithmetic of lm-evaluation-harness: which choice log-likelihoods pick, and means with their errors. No model here.
import { LabError } from "../io/errors.ts";
import { likeliest } from "./generate.ts";

/** What one question's log-likelihoods come to; each is 1 (right) or 0. */
export interface Verdict {
  /** The choice of the largest log-likelihood is a right one. */
  readonly acc: number;
  /** The same per Unicode character of the choice: long choices are not punished for their length. */
  readonly accNorm: number;
  /** The same per UTF-8 byte. */
  readonly accBytes: number;
  /** A right choice is what greedy decoding would write; 0 where greediness was not measured. */
  readonly exactMatch: number;
  /** The choice that `acc` looks at. */
  readonly picked: number;
  /** The choice that `accNorm` looks at. */
  readonly pickedNorm: number;
}

/** A mean over questions with what is known of its error. */
export interface MeanWithError {
  readonly mean: number;
  /** s/√n, s with n − 1, as the harness prints it; NaN for one question. */
  readonly standardError: number;
  /** 95 % confidence: Wilson's interval where all values are 0 or 1, mean ± 1.96 standard errors otherwise. */
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

/** The normal distribution's 97.5 % point. */
const Z = 1.959963984540054;

/** A gold index that no choice has: the harness counts such a question as wrong. */
const NO_GOLD = -100;

/**
 * Judges one multiple-choice question: acc takes argmax ℓᵢ, acc_norm argmax ℓᵢ / characters(choiceᵢ), acc_bytes argmax
 * ℓᵢ / bytes(choiceᵢ). Lengths are of the choice alone, without the space before it; characters are Unicode code points.
 *
 * @param logLikelihoods ℓ (choices), in nats. @param choices their texts. @param gold the right index, or several of which
 * any counts; −100 stands for none. @param greedy per choice, whether greedy decoding writes it.
 * @throws LabError "input" where the counts differ, a log-likelihood is NaN, or gold names no choice.
 * Source: EleutherAI/lm-evaluation-harness 0.4, ConfigurableTask.process_results.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { judgeChoices } from "./scorer.ts";
 * const v = judgeChoices([-3, -4], ["no", "certainly"], 1);
 * assert.deepEqual([v.acc, v.accNorm], [0, 1]); // −3/2 < −4/9
 * ```
 */
export function judgeChoices(
  logLikelihoods: ArrayLike<number>,
  choices: readonly string[],
  gold: number | readonly number[],
  greedy: readonly boolean[] = [],
): Verdict {
  const n = choices.length, right = [gold].flat(), what = `a question of ${n} choices`;
  if (n === 0 || logLikelihoods.length !== n) {
    throw new LabError("input", what, `${logLikelihoods.length} log-likelihoods`, "Each choice has one.");
  }
  const bad = right.find((g) => g !== NO_GOLD && !(Number.isInteger(g) && g >= 0 && g < n));
  if (bad !== undefined || right.length === 0) throw new LabError("input", what, `its right answer is number ${bad}`);
  const values = Array.from(logLikelihoods);
  if (values.some(Number.isNaN)) throw new LabError("numeric", what, `log-likelihoods ${values.join(", ")}`);
  const characters = choices.map((c) => [...c].length), bytes = choices.map((c) => new TextEncoder().encode(c).length);
  const picked = likeliest(values), pickedNorm = likeliest(values.map((v, i) => v / characters[i]));
  const score = (choice: number) => right.includes(choice) ? 1 : 0;
  return {
    acc: score(picked),
    accNorm: score(pickedNorm),
    accBytes: score(likeliest(values.map((v, i) => v / bytes[i]))),
    exactMatch: right.some((g) => g !== NO_GOLD && greedy[g]) ? 1 : 0,
    picked,
    pickedNorm,
  };
}

/**
 * The mean of per-question values with the harness's standard error and a 95 % confidence interval.
 *
 * @param values one a question; 0 and 1 for shares. @throws LabError "input" where there is none, "numeric" for NaN.
 * Source: standard error as lm_eval.api.metrics.mean_stderr; interval: Wilson 1927, which stays in [0, 1] and does not
 * shrink to nothing when every answer is right.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { meanWithError } from "./scorer.ts";
 * const m = meanWithError([1, 1, 0, 1]);
 * assert.deepEqual([m.mean, m.standardError], [0.75, 0.25]);
 * assert(m.low > 0.3 && m.low < 0.31 && m.high > 0.95 && m.high < 0.96);
 * ```
 */
export function meanWithError(values: ArrayLike<number>): MeanWithError {
  const n = values.length;
  if (n === 0) throw new LabError("input", "a mean over questions", "there is no question");
  let sum = 0, shares = true;
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(values[i])) throw new LabError("numeric", "a mean over questions", `NaN at question ${i}`);
    sum += values[i];
    shares &&= values[i] === 0 || values[i] === 1;
  }
  const mean = sum / n;
  let squares = 0;
  for (let i = 0; i < n; i++) squares += (values[i] - mean) ** 2;
  const standardError = n > 1 ? Math.sqrt(squares / (n - 1) / n) : NaN;
  if (!shares) return { mean, standardError, low: mean - Z * standardError, high: mean + Z * standardError, n };
  const middle = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n);
  const half = Z / (1 + Z * Z / n) * Math.sqrt(mean * (1 - mean) / n + (Z / (2 * n)) ** 2);
  return { mean, standardError, low: middle - half, high: middle + half, n };
}

/** A document scored as a whole. */
export interface DocumentScore {
  /** Σ ln P over its tokens, in nats. */
  readonly logLikelihood: number;
  readonly words: number;
  readonly bytes: number;
}

/**
 * Perplexities that do not depend on the tokenizer: exp(−Σℓ / Σwords), exp(−Σℓ / Σbytes), and −Σℓ / (Σbytes · ln 2) bits a byte.
 *
 * @throws LabError "input" where there are no words or bytes. Source: lm_eval.api.metrics, weighted_perplexity, bits_per_byte.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { documentPerplexities } from "./scorer.ts";
 * const p = documentPerplexities([{ logLikelihood: -8 * Math.LN2, words: 2, bytes: 8 }]);
 * assert(Math.abs(p.word - 16) < 1e-12 && Math.abs(p.bitsPerByte - 1) < 1e-12);
 * ```
 */
export function documentPerplexities(documents: readonly DocumentScore[]) {
  let sum = 0, words = 0, bytes = 0;
  for (const d of documents) {
    sum += d.logLikelihood;
    words += d.words;
    bytes += d.bytes;
  }
  if (!(words > 0 && bytes > 0)) throw new LabError("input", "documents", `${words} words and ${bytes} bytes`);
  return { word: Math.exp(-sum / words), byte: Math.exp(-sum / bytes), bitsPerByte: -sum / (bytes * Math.LN2) };
}
