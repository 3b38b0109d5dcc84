// Byte-level byte-pair encoding: learns merges from a text and writes the tokenizer.json that every Hugging Face tool reads.
import { LabError } from "./errors.ts";

/** A learned vocabulary: token 0 ends a text, 1 … 256 are the bytes, and merge m makes token 257 + m. */
export interface Bpe {
  /** Token strings in the printable alphabet of byte-level BPE; the ids are the indices. */
  readonly vocabulary: readonly string[];
  /** Pairs of token ids in the order in which they were learned. */
  readonly merges: readonly (readonly [number, number])[];
  /** The token that ends a document. */
  readonly endOfText: number;
}

/** Words, numbers, runs of signs and of white space, each with the space before it: the split inside which pairs merge. */
const SPLIT = " ?\\p{L}+| ?\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const END = "<|endoftext|>";
/** Tokens before the first merge: the end of text and the bytes. */
const BYTES = 257;

/**
 * The printable character that stands for each byte in a byte-level vocabulary: printable Latin-1 stands for itself,
 * the other 68 bytes take the code points from 256 on, in order.
 *
 * @returns 256 one-character strings, indexed by byte.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { byteAlphabet } from "./bpe_train.ts";
 * assert.equal(byteAlphabet()[65], "A");
 * assert.equal(byteAlphabet()[32], "Ġ");
 * ```
 */
export function byteAlphabet(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => {
    const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    return String.fromCharCode(printable ? b : next++);
  });
}

/**
 * Learns a byte-level BPE vocabulary: starting from the 256 bytes, joins the most frequent neighbouring pair inside
 * words until `size` tokens exist, of which the first is the end-of-text token. Ties go to the pair with the smaller ids.
 *
 * @param text the training text.
 * @param size number of tokens, at least 257.
 * @returns the vocabulary; shorter than `size` when the text has no repeated pair left.
 * @throws LabError("input") when `size` is not an integer of at least 257.
 * @see Sennrich, Haddow, Birch 2016 (arXiv 1508.07909) for the merges; Radford et al. 2019 for their use on bytes.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { trainBpe } from "./bpe_train.ts";
 * const bpe = trainBpe("low lower lowest low", 259);
 * assert.deepEqual(bpe.vocabulary.slice(257), ["lo", "low"]);
 * ```
 */
export function trainBpe(text: string, size: number): Bpe {
  if (!Number.isInteger(size) || size < BYTES) {
    throw new LabError(
      "input",
      "vocabulary size",
      `${size} is below ${BYTES}`,
      "The bytes and the end-of-text token need as many.",
    );
  }
  const counts = new Map<string, number>();
  for (const [word] of text.matchAll(new RegExp(SPLIT, "gu"))) counts.set(word, (counts.get(word) ?? 0) + 1);
  const bytes = new TextEncoder();
  const words = [...counts].map(([word, count]) => ({ ids: Array.from(bytes.encode(word), (b) => b + 1), count }));

  // For each pair its total count and the words that held it when it was last seen there.
  const pairs = new Map<number, { count: number; words: Set<number> }>();
  const add = (w: number, sign: 1 | -1) => {
    const { ids, count } = words[w];
    for (let i = 0; i + 1 < ids.length; i++) {
      const key = ids[i] * 0x10000 + ids[i + 1];
      let pair = pairs.get(key);
      if (!pair) pairs.set(key, pair = { count: 0, words: new Set() });
      pair.count += sign * count;
      pair.words.add(w);
    }
  };
  words.forEach((_, w) => add(w, 1));

  const vocabulary = [END, ...byteAlphabet()];
  const merges: [number, number][] = [];
  while (vocabulary.length < size) {
    let best = -1, most = 1;
    for (const [key, { count }] of pairs) {
      if (count > most || (count === most && best >= 0 && key < best)) [best, most] = [key, count];
    }
    if (best < 0) break;
    const left = Math.floor(best / 0x10000), right = best % 0x10000;
    // Always a new string: bytes that become one token merge the same way wherever they stand.
    const token = vocabulary.push(vocabulary[left] + vocabulary[right]) - 1;
    merges.push([left, right]);
    for (const w of pairs.get(best)!.words) {
      add(w, -1);
      words[w].ids = join(words[w].ids, left, right, token);
      add(w, 1);
    }
    pairs.delete(best);
  }
  return { vocabulary, merges, endOfText: 0 };
}

/** Replaces each (left, right) by `token`, from the left. */
function join(ids: readonly number[], left: number, right: number, token: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === left && ids[i + 1] === right) {
      out.push(token);
      i++;
    } else out.push(ids[i]);
  }
  return out;
}

/**
 * An encoder for a learned vocabulary: splits the text into words and applies the merges of each in the order of learning.
 * Remembers words, so a book takes a second.
 *
 * @returns a function from text to token ids.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { bpeEncoder, trainBpe } from "./bpe_train.ts";
 * const bpe = trainBpe("low lower lowest low", 259);
 * assert.deepEqual(bpeEncoder(bpe)("slow"), [116, 258]);
 * ```
 */
export function bpeEncoder(bpe: Bpe): (text: string) => number[] {
  const ranks = new Map(bpe.merges.map(([left, right], m) => [left * 0x10000 + right, m]));
  const known = new Map<string, number[]>(), bytes = new TextEncoder();
  const encodeWord = (word: string) => {
    let tokens = Array.from(bytes.encode(word), (b) => b + 1);
    while (true) {
      let first = Infinity;
      for (let i = 0; i + 1 < tokens.length; i++) {
        first = Math.min(first, ranks.get(tokens[i] * 0x10000 + tokens[i + 1]) ?? Infinity);
      }
      if (first === Infinity) return tokens;
      const [left, right] = bpe.merges[first];
      tokens = join(tokens, left, right, BYTES + first);
    }
  };
  return (text) => {
    const out: number[] = [];
    for (const [word] of text.matchAll(new RegExp(SPLIT, "gu"))) {
      let tokens = known.get(word);
      if (!tokens) known.set(word, tokens = encodeWord(word));
      for (const token of tokens) out.push(token);
    }
    return out;
  };
}

/**
 * The content of an ordinary Hugging Face tokenizer.json for a learned vocabulary (split, byte level, BPE; no added
 * beginning or end).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { tokenizerJson, trainBpe } from "./bpe_train.ts";
 * const json = tokenizerJson(trainBpe("low lower", 258)) as { model: { merges: string[][] } };
 * assert.deepEqual(json.model.merges, [["l", "o"]]);
 * ```
 */
export function tokenizerJson(bpe: Bpe): Record<string, unknown> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [{ id: bpe.endOfText, content: END, ...flags }],
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: SPLIT }, behavior: "Isolated", invert: false },
        byteLevel,
      ],
    },
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(bpe.vocabulary.map((token, id) => [token, id])),
      merges: bpe.merges.map(([left, right]) => [bpe.vocabulary[left], bpe.vocabulary[right]]),
    },
  };
}
