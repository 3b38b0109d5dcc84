// The simplest language model: how often each token came in the training text. What a real one must beat.

/**
 * Mean surprise of a text under the token frequencies of another, each count raised by one:
 * −1/n Σ log((count(t) + 1) / (N + V)).
 *
 * @param train token ids that are counted (N).
 * @param text token ids that are predicted (n).
 * @param vocabulary number of tokens V.
 * @returns nats a token; its exponential is the unigram's perplexity.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { unigramNll } from "./unigram.ts";
 * assert.equal(Math.round(Math.exp(unigramNll([], [0, 1, 2], 8))), 8);
 * ```
 */
export function unigramNll(train: ArrayLike<number>, text: ArrayLike<number>, vocabulary: number): number {
  const counts = new Float64Array(vocabulary).fill(1);
  for (let i = 0; i < train.length; i++) counts[train[i]]++;
  const all = Math.log(train.length + vocabulary);
  let sum = 0;
  for (let i = 0; i < text.length; i++) sum += all - Math.log(counts[text[i]]);
  return sum / text.length;
}
