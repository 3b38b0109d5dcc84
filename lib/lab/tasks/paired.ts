// Two models on the same questions: what differs, with its confidence, and how many questions it takes to see a difference.
import { LabError } from "../../io/errors.ts";
import { rng } from "../../io/rng.ts";

/** What changes from one model to another, on the same questions. */
export interface PairedDifference {
  /** Share of right answers of the second less the first's. */
  readonly difference: number;
  /** 95 % interval of it, by bootstrap over questions. */
  readonly low: number;
  readonly high: number;
  /** Questions that only the second, and only the first, has right. */
  readonly gained: number;
  readonly lost: number;
  /** Exact two-sided McNemar: how likely so uneven a split is where neither is better. */
  readonly p: number;
  readonly n: number;
}

/** A share as percentage points for people: "−2.4". */
export const points = (share: number): string => (100 * share).toFixed(1).replace("-", "−");

/** An interval of them that no line break divides. */
export const between = (low: number, high: number): string => `${points(low)}\u00a0…\u00a0${points(high)}`;

/**
 * The difference of two models on the same questions. Pairing takes away what the questions have in common: easy ones are easy
 * for both.
 *
 * @param first, second 1 (right) or 0, one a question. @param seed of the bootstrap. @param resamples of it.
 * @throws LabError "input" where the two differ in length or there is no question.
 * Source: McNemar 1947, its exact form a binomial test over the questions that change; Efron's percentile bootstrap.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pairedDifference } from "./paired.ts";
 * const d = pairedDifference([1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1], 0);
 * assert.deepEqual([d.difference, d.gained, d.lost, d.p], [-0.5, 1, 4, 0.375]); // 2 · (1 + 5)/2⁵
 * ```
 */
export function pairedDifference(
  first: readonly number[],
  second: readonly number[],
  seed: number,
  resamples = 2000,
): PairedDifference {
  const n = first.length;
  if (n === 0 || second.length !== n) {
    throw new LabError(
      "input",
      "a paired comparison",
      `${n} and ${second.length} answers`,
      "Ask both the same questions.",
    );
  }
  let gained = 0, lost = 0;
  for (let i = 0; i < n; i++) {
    if (second[i] > first[i]) gained++;
    if (second[i] < first[i]) lost++;
  }
  const random = rng(seed, "paired bootstrap"), means = new Float64Array(resamples);
  for (let k = 0; k < resamples; k++) {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const at = random.int(n);
      sum += second[at] - first[at];
    }
    means[k] = sum / n;
  }
  means.sort();
  const at = (share: number) => means[Math.min(resamples - 1, Math.floor(share * resamples))];
  return {
    difference: (gained - lost) / n,
    low: at(0.025),
    high: at(0.975),
    gained,
    lost,
    p: evenSplit(gained, lost),
    n,
  };
}

/** Probability of a split at least as uneven as a : b where each side is as likely. */
function evenSplit(a: number, b: number): number {
  const n = a + b, k = Math.min(a, b);
  let logChoose = 0, sum = 0; // ln C(n, i), from i = 0
  for (let i = 0; i <= k; i++) {
    if (i > 0) logChoose += Math.log((n - i + 1) / i);
    sum += Math.exp(logChoose - n * Math.LN2);
  }
  return Math.min(1, 2 * sum);
}

/** Normal points: 5 % two-sided, and 80 % power. */
const Z_SURE = 1.959963984540054, Z_POWER = 0.8416212335729143;

/**
 * Questions that it takes to see a difference four times out of five (two-sided 5 %), both models on the same questions:
 * n = (1.96 √ψ + 0.84 √(ψ − d²))² / d².
 *
 * @param difference d, a share. @param discordant ψ, the share of questions that exactly one of the two has right, ≥ |d|.
 * @returns questions, rounded up; Infinity for d = 0.
 * @throws LabError "input" where ψ is below |d|.
 * Source: Connor 1987, "Sample size for testing differences in proportions for the paired-sample design".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { itemsToSee } from "./paired.ts";
 * assert.equal(itemsToSee(0.02, 0.1), 1960);
 * ```
 */
export function itemsToSee(difference: number, discordant: number): number {
  const d = Math.abs(difference);
  if (!(discordant >= d)) {
    throw new LabError(
      "input",
      "items to see a difference",
      `${discordant} of the questions change, which is less than ${d}`,
    );
  }
  return Math.ceil(((Z_SURE * Math.sqrt(discordant) + Z_POWER * Math.sqrt(discordant - d * d)) / d) ** 2);
}

/** The same with other questions for each model: n = (1.96 + 0.84)² · 2 p (1 − p) / d² for each. */
export function itemsToSeeUnpaired(difference: number, share: number): number {
  return Math.ceil((Z_SURE + Z_POWER) ** 2 * 2 * share * (1 - share) / difference ** 2);
}
