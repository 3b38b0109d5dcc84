// Text to token ids and back: one interface over whatever kind of tokenizer a model brings.
import { Tokenizer } from "@huggingface/tokenizers";
import { LabError } from "./errors.ts";

/** A model's tokenizer. */
export interface TextTokenizer {
  /**
   * The ids of a text, with the special tokens that the tokenizer itself adds (a BOS where the model wants one).
   * As in the libraries, characters without a token vanish where the vocabulary has no token for the unknown.
   */
  encode(text: string): number[];
  /** The text of some ids, special tokens included as they are written. */
  decode(ids: number[]): string;
  /** The largest id + 1. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
}

type Json = Record<string, unknown>;

/**
 * The tokenizer of a Hugging Face `tokenizer.json` and `tokenizer_config.json`.
 *
 * @param tokenizerJson the parsed tokenizer.json.
 * @param tokenizerConfig the parsed tokenizer_config.json; {} where there is none, then BOS and EOS are unknown.
 * @param label the file's name, for messages.
 * @throws LabError("format") where the library does not know a part of it.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fromTokenizerJson } from "./text_tokenizer.ts";
 * const model = { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] };
 * const tokenizer = fromTokenizerJson({ model }, {});
 * assert.deepEqual(tokenizer.encode("abba"), [2, 1, 0]);
 * assert.equal(tokenizer.vocabSize, 3);
 * ```
 */
export function fromTokenizerJson(
  tokenizerJson: unknown,
  tokenizerConfig: unknown = {},
  label = "tokenizer.json",
): TextTokenizer {
  const json = tokenizerJson as Json | null, config = tokenizerConfig as Json | null;
  if (typeof json !== "object" || json === null || typeof json.model !== "object" || json.model === null) {
    throw new LabError("format", label, `has no object "model"`, "It must be a Hugging Face tokenizer.json.");
  }
  if (typeof config !== "object" || config === null) {
    throw new LabError("format", label, "its tokenizer_config.json is not an object");
  }
  let tokenizer: Tokenizer;
  try {
    tokenizer = new Tokenizer(
      {
        decoder: null,
        post_processor: null,
        normalizer: null,
        ...json,
        added_tokens: json.added_tokens ?? [],
        pre_tokenizer: exactPreTokenizer(json.pre_tokenizer ?? null),
      },
      config,
    );
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LabError("format", label, `its tokenizer cannot be built: ${reason}`, "", { cause });
  }
  const tokenId = (key: string): number | null => {
    const token = config[key], text = typeof token === "string" ? token : (token as Json | null | undefined)?.content;
    return typeof text === "string" ? tokenizer.token_to_id(text) ?? null : null;
  };
  let vocabSize = 0;
  for (const id of tokenizer.get_vocab().values()) vocabSize = Math.max(vocabSize, id + 1);
  // The library would take transformers 4's default, which deletes spaces before punctuation.
  const cleanUp = { clean_up_tokenization_spaces: config.clean_up_tokenization_spaces === true };
  return {
    vocabSize,
    bosId: tokenId("bos_token"),
    eosId: tokenId("eos_token"),
    encode(text) {
      const { ids } = tokenizer.encode(text);
      const bad = ids.findIndex((id) => !Number.isInteger(id)); // the library gives undefined where there is no unknown token
      if (bad >= 0) {
        throw new LabError("input", label, `has no token for a part of the text (token ${bad})`, "Use another text.");
      }
      return ids;
    },
    decode(ids) {
      const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
      if (bad !== undefined) throw new LabError("input", label, `${bad} is no token id, there are ${vocabSize}`);
      return ids.length === 0 ? "" : tokenizer.decode(ids, cleanUp);
    },
  };
}

/** GPT-2's pattern; what it leaves over at the end of a piece is a piece of its own. */
export const GPT2_PATTERN = String
  .raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** One step of a pre-tokenizer: each match of the pattern, and each text between matches, becomes a piece. */
export function splitStep(pattern: string): Json {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
}

/**
 * The library's own `Digits` knows ASCII digits only and its `ByteLevel` takes JavaScript's white space (with U+FEFF,
 * without U+0085); its `Split` translates patterns exactly. Both steps are replaced by that.
 */
function exactPreTokenizer(step: unknown): unknown {
  const s = step as Json | null;
  if (s?.type === "Sequence" && Array.isArray(s.pretokenizers)) {
    return { ...s, pretokenizers: s.pretokenizers.map(exactPreTokenizer) };
  }
  if (s?.type === "Digits") return splitStep(s.individual_digits ? String.raw`\p{N}` : String.raw`\p{N}+`);
  if (s?.type === "ByteLevel" && (s.use_regex ?? true) && !s.add_prefix_space) {
    return { type: "Sequence", pretokenizers: [splitStep(GPT2_PATTERN), { ...s, use_regex: false }] };
  }
  return step;
}
