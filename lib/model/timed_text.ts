// Text with its speed: how long until the first token, how many a second after it.
import type { Decoder } from "./decode.ts";
import { continueText, type GenerateOptions } from "./generate.ts";

/** A text and how fast it came. */
export interface TimedText {
  /** The new tokens, without the prompt. */
  readonly ids: readonly number[];
  /** From the prompt's first token to the first new one, in seconds. */
  readonly firstTokenSeconds: number;
  /** New tokens a second after the first; NaN where there is only one. */
  readonly tokensPerSecond: number;
  readonly seconds: number;
}

/**
 * Continues a prompt as `continueText` does, under the clock. A token's time ends when its id is known.
 *
 * @param decoder at the start of a text or in the middle of one. @param prompt token ids, at least one.
 * @throws as `continueText`.
 */
export async function timedText(
  decoder: Decoder,
  prompt: readonly number[],
  o: GenerateOptions,
): Promise<TimedText> {
  const begun = performance.now(), times: number[] = [];
  const ids = await continueText(decoder, prompt, {
    ...o,
    onToken: (id) => {
      times.push(performance.now());
      o.onToken?.(id);
    },
  });
  const last = times[times.length - 1] ?? performance.now(), first = times[0] ?? last;
  return {
    ids,
    firstTokenSeconds: (first - begun) / 1000,
    tokensPerSecond: times.length < 2 ? NaN : (times.length - 1) / ((last - first) / 1000),
    seconds: (last - begun) / 1000,
  };
}
