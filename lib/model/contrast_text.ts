// Text by contrastive decoding: expert and amateur read the same tokens, each with keys and values of its own.
import { type ContrastOptions, contrastToken } from "./contrast.ts";
import type { Decoder } from "./decode.ts";

export interface ContrastTextOptions extends ContrastOptions {
  /** How many tokens to write at most. */
  readonly tokens: number;
  /** A token that ends the text (left out of it). */
  readonly stop?: number | null;
  readonly onToken?: (id: number) => void;
}

/**
 * Continues a prompt, each token the plausible one that the expert prefers most over the amateur.
 *
 * @param expert a decoder that has read nothing, or a text whose continuation `prompt` is. @param amateur likewise.
 * @param prompt token ids, one or more. @returns the new tokens. With plausibility 1 they are greedy decoding's exactly.
 * @throws LabError where the text grows beyond a decoder's capacity, or α lies outside [0, 1].
 */
export async function contrastText(
  expert: Decoder,
  amateur: Decoder,
  prompt: readonly number[],
  o: ContrastTextOptions,
): Promise<number[]> {
  const out: number[] = [];
  let next: readonly number[] = prompt;
  while (out.length < o.tokens) {
    const token = contrastToken(await expert.append(next), await amateur.append(next), o);
    if (token === o.stop) break;
    out.push(token);
    o.onToken?.(token);
    next = [token];
  }
  return out;
}
