// Text from a model: the likeliest token each time, or one drawn by its probability.
import { type Rng, rng } from "../io/rng.ts";
import type { Decoder } from "./decode.ts";
import type { LanguageModel } from "./language_model.ts";

export interface GenerateOptions {
  /** How many tokens to write at most. */
  readonly tokens: number;
  /** 0: always the likeliest. Above: logits are divided by it before one is drawn. */
  readonly temperature?: number;
  /** Draw among this many likeliest only. */
  readonly topK?: number;
  /** Draw among the likeliest that together reach this probability only. */
  readonly topP?: number;
  readonly seed?: number;
  /** A token, or several, that end the text (left out of it). */
  readonly stop?: number | readonly number[] | null;
  readonly onToken?: (id: number) => void;
}

/**
 * The index of the largest value, the first of equals.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { likeliest } from "./generate.ts";
 * assert.equal(likeliest([0, 3, 1, 3]), 1);
 * ```
 */
export function likeliest(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/**
 * Draws a token with probability ∝ e^(logit/temperature) among the topK likeliest whose probabilities reach topP.
 *
 * @param logits (vocab). @param random one draw is taken.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rng } from "../io/rng.ts";
 * import { drawToken } from "./generate.ts";
 * assert.equal(drawToken([0, 9, 1], { temperature: 1, topK: 1 }, rng(1, "doc")), 1);
 * ```
 */
export function drawToken(
  logits: ArrayLike<number>,
  o: Pick<GenerateOptions, "temperature" | "topK" | "topP">,
  random: Rng,
): number {
  const temperature = o.temperature ?? 1, order = Array.from({ length: logits.length }, (_, i) => i);
  order.sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = order.slice(0, o.topK ?? order.length), top = logits[order[0]];
  const weights = kept.map((i) => Math.exp((logits[i] - top) / temperature));
  let total = weights.reduce((a, b) => a + b, 0);
  if (o.topP !== undefined && o.topP < 1) {
    let sum = 0, count = 0;
    while (count < weights.length && sum < o.topP * total) sum += weights[count++];
    weights.length = count;
    total = sum;
  }
  let left = random.float() * total;
  for (const [i, w] of weights.entries()) if ((left -= w) < 0) return kept[i];
  return kept[weights.length - 1];
}

/** Caches hold a multiple of this many positions, so that texts of similar length share compiled kernels. */
const capacityStep = 64;

/**
 * How many positions to open a decoder for: those needed, rounded up as far as the model knows positions.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { capacityFor } from "./generate.ts";
 * assert.deepEqual([capacityFor(70, null), capacityFor(70, 100), capacityFor(70, 50)], [128, 100, 70]);
 * ```
 */
export function capacityFor(needed: number, maxPositions: number | null): number {
  return Math.max(needed, Math.min(maxPositions ?? Infinity, Math.ceil(needed / capacityStep) * capacityStep));
}

/**
 * Continues a prompt.
 *
 * @param prompt token ids, at least one.
 * @returns the new tokens, without the prompt.
 * @throws LabError where prompt and answer exceed the model's positions, or the model memory.
 */
export async function generate(model: LanguageModel, prompt: readonly number[], o: GenerateOptions): Promise<number[]> {
  const capacity = capacityFor(prompt.length + o.tokens, model.config.maxPositions);
  const decoder = await model.openDecoder({ capacity });
  try {
    return await continueText(decoder, prompt, o);
  } finally {
    decoder.close();
  }
}

/** Like `generate`, on a decoder that is open already: at the start of a text, or in the middle of one. */
export async function continueText(
  decoder: Decoder,
  prompt: readonly number[],
  o: GenerateOptions,
): Promise<number[]> {
  const out: number[] = [], random = rng(o.seed ?? 0, "sampling"), stop = [o.stop ?? []].flat();
  const choose = (logits: ArrayLike<number>) => o.temperature ? drawToken(logits, o, random) : likeliest(logits);
  let next = choose(await decoder.append(prompt)), ahead: number[] = [];
  while (out.length < o.tokens && !stop.includes(next)) {
    out.push(next);
    o.onToken?.(next);
    const left = o.tokens - out.length;
    if (left === 0) break;
    if (ahead.length === 0) {
      ahead = decoder.write && !o.temperature
        ? await decoder.write(next, left, stop)
        : [choose(await decoder.append([next]))];
    }
    next = ahead.shift()!;
  }
  return out;
}
