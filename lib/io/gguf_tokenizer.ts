// The tokenizer that a GGUF file carries in its metadata, as the tokenizer.json it once was.
// Source: llama.cpp's src/llama-vocab.cpp for what the metadata means.
import { LabError } from "./errors.ts";
import type { GgufFile, GgufValue } from "./gguf.ts";
import { fromTokenizerJson, GPT2_PATTERN, splitStep, type TextTokenizer } from "./text_tokenizer.ts";

type Json = Record<string, unknown>;

/** A tokenizer as the two files of Hugging Face; save them as they are. */
export interface TokenizerFiles {
  readonly tokenizer: Json;
  readonly config: Json;
}

const NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, BYTE = 6; // tokenizer.ggml.token_type

interface PreTokenizer {
  /** Applied one after another, each to the pieces of the one before. */
  readonly patterns: readonly string[];
  /** Whether a piece that is a token is taken whole, whatever the merges would make of it. */
  readonly ignoreMerges?: boolean;
  /** Whether a BOS comes first where the metadata does not say. */
  readonly bos?: boolean;
}

const NUMBER = String.raw`\p{N}`;
const CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
/** The pattern of GPT-4's family: a letter may carry one sign before it, numbers in pieces of up to `digits`. */
const gpt4 = (digits: string) =>
  String.raw`${CONTRACTION}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const GPT2: PreTokenizer = { patterns: [GPT2_PATTERN] };
const DIGITS_GPT2: PreTokenizer = { patterns: [NUMBER, GPT2_PATTERN] };
const LLAMA3: PreTokenizer = { patterns: [gpt4("{1,3}")], ignoreMerges: true, bos: true };
const QWEN2: PreTokenizer = { patterns: [gpt4("")] };
const BLOOM: PreTokenizer = { patterns: [String.raw` ?[^(\s|.,!?…。，、।۔،)]+`] };

/** Pre-tokenizers by `tokenizer.ggml.pre`. */
const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map(Object.entries({
  "default": {
    patterns: [String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2_PATTERN, String.raw`\p{N}+`, "[0-9][0-9][0-9]"],
  },
  "gpt-2": GPT2,
  "phi-2": GPT2,
  "mpt": GPT2,
  "olmo": GPT2,
  "smollm": DIGITS_GPT2,
  "starcoder": DIGITS_GPT2,
  "refact": DIGITS_GPT2,
  "command-r": DIGITS_GPT2,
  "codeshell": DIGITS_GPT2,
  "llama3": LLAMA3,
  "llama-v3": LLAMA3,
  "llama-bpe": LLAMA3,
  "falcon3": LLAMA3,
  "qwen2": QWEN2,
  "stablelm2": QWEN2,
  "deepseek-r1-qwen": QWEN2,
  "falcon": { patterns: ["[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2_PATTERN, "[0-9][0-9][0-9]"] },
  "bloom": BLOOM,
}));

/** The tokenizer's metadata with its checks. */
class Vocabulary {
  readonly tokens: readonly string[];
  private readonly types: ArrayLike<number>;

  constructor(private readonly file: GgufFile) {
    const tokens = this.get("tokens");
    if (!Array.isArray(tokens) || tokens.length === 0 || typeof tokens[0] !== "string") {
      throw this.error("its metadata has no list of tokens");
    }
    this.tokens = tokens as string[];
    const types = this.get("token_type");
    if (types !== undefined && (!(types instanceof Int32Array) || types.length !== tokens.length)) {
      throw this.error(`the types of its tokens are no list of ${tokens.length} integers`);
    }
    this.types = (types as Int32Array | undefined) ?? new Int32Array(tokens.length).fill(NORMAL);
  }

  error(problem: string, hint = "Fetch the file again, or make it with a current llama.cpp."): LabError {
    return new LabError("format", this.file.label, problem, hint);
  }

  get(key: string): GgufValue | undefined {
    return this.file.metadata.get(`tokenizer.ggml.${key}`);
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value === "boolean") return value;
    throw this.error(`"tokenizer.ggml.${key}" is neither true nor false`);
  }

  type(id: number): number {
    return this.types[id];
  }

  /** The token named by "tokenizer.ggml.KEY_token_id"; null where there is none. */
  special(key: string): string | null {
    const id = this.get(`${key}_token_id`);
    if (id === undefined) return null;
    const token = typeof id === "number" ? this.tokens[id] : undefined;
    if (token === undefined) {
      throw this.error(`"tokenizer.ggml.${key}_token_id" is ${id}, there are ${this.tokens.length} tokens`);
    }
    return token;
  }

  /** Everything around the model: tokens matched in the text as they are, BOS and EOS, names. */
  files(
    parts: { model: Json; normalizer: Json | null; pre: Json | null; decoder: Json; bos: boolean },
  ): TokenizerFiles {
    const added = this.tokens.flatMap((content, id) => {
      const type = this.type(id), special = type === CONTROL || type === UNKNOWN;
      if (!special && type !== USER_DEFINED) return [];
      return [{ id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false }];
    });
    const bos = this.special("bos"), eos = this.special("eos");
    const before = this.flag("add_bos_token", parts.bos) ? bos : null;
    const after = this.flag("add_eos_token", false) ? eos : null;
    const piece = (token: string | null) => token === null ? [] : [{ SpecialToken: { id: token, type_id: 0 } }];
    const sequence = (id: string) => [...piece(before), { Sequence: { id, type_id: 0 } }, ...piece(after)];
    const used = [...new Set([before, after].filter((t) => t !== null))].map((token) => {
      return [token, { id: token, ids: [this.tokens.indexOf(token)], tokens: [token] }];
    });
    const template = { type: "TemplateProcessing", single: sequence("A"), pair: [...sequence("A"), ...sequence("B")] };
    return {
      tokenizer: {
        version: "1.0",
        truncation: null,
        padding: null,
        added_tokens: added,
        normalizer: parts.normalizer,
        pre_tokenizer: parts.pre,
        post_processor: used.length === 0 ? null : { ...template, special_tokens: Object.fromEntries(used) },
        decoder: parts.decoder,
        model: parts.model,
      },
      config: {
        tokenizer_class: "PreTrainedTokenizerFast",
        bos_token: bos,
        eos_token: eos,
        unk_token: this.special("unknown"),
        pad_token: this.special("padding"),
        clean_up_tokenization_spaces: false,
      },
    };
  }
}

/**
 * The metadata of a GGUF file as tokenizer.json and tokenizer_config.json.
 *
 * @param file of `tokenizer.ggml.model` "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE with byte fallback).
 * @throws LabError("format") for another kind, an unknown pre-tokenizer, or lists that do not fit together.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openMemory } from "./bytes.ts";
 * import { readGguf } from "./gguf.ts";
 * import { ggufTokenizerFiles } from "./gguf_tokenizer.ts";
 * const empty = new Uint8Array(24);
 * empty.set([0x47, 0x47, 0x55, 0x46, 3]);
 * assert.throws(() => ggufTokenizerFiles(readGguf(openMemory("empty", empty))), /no list of tokens/);
 * ```
 */
export function ggufTokenizerFiles(file: GgufFile): TokenizerFiles {
  const v = new Vocabulary(file), model = v.get("model");
  if (model === "gpt2") return byteLevelFiles(v);
  if (model === "llama") return sentencePieceFiles(v);
  throw v.error(`its tokenizer is of the kind "${model}"`, `The lab knows "gpt2" and "llama".`);
}

/**
 * The tokenizer of a GGUF file.
 *
 * @throws LabError as `ggufTokenizerFiles`.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openMemory } from "./bytes.ts";
 * import { readGguf } from "./gguf.ts";
 * import { ggufTokenizer } from "./gguf_tokenizer.ts";
 * const empty = new Uint8Array(24);
 * empty.set([0x47, 0x47, 0x55, 0x46, 3]);
 * assert.throws(() => ggufTokenizer(readGguf(openMemory("empty", empty))), /no list of tokens/);
 * ```
 */
export function ggufTokenizer(file: GgufFile): TextTokenizer {
  const { tokenizer, config } = ggufTokenizerFiles(file);
  return fromTokenizerJson(tokenizer, config, `${file.label} (tokenizer)`);
}

function byteLevelFiles(v: Vocabulary): TokenizerFiles {
  const name = v.get("pre") ?? "default", pre = typeof name === "string" ? PRE_TOKENIZERS.get(name) : undefined;
  if (!pre) throw v.error(`its pre-tokenizer is "${name}"`, `The lab knows ${[...PRE_TOKENIZERS.keys()].join(", ")}.`);
  const merges = v.get("merges");
  if (!Array.isArray(merges) || !merges.every((m) => typeof m === "string" && /^[^ ]+ [^ ]+$/.test(m))) {
    throw v.error("its metadata has no list of merges, each of two parts");
  }
  return v.files({
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false,
      vocab: Object.fromEntries(v.tokens.map((token, id) => [token, id])),
      merges,
    },
    normalizer: null,
    pre: {
      type: "Sequence",
      pretokenizers: [
        ...pre.patterns.map(splitStep),
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    bos: pre.bos ?? false,
  });
}

const SPACE = "▁"; // SentencePiece writes a space so

function sentencePieceFiles(v: Vocabulary): TokenizerFiles {
  const scores = v.get("scores");
  if (!(scores instanceof Float32Array) || scores.length !== v.tokens.length) {
    throw v.error(`the scores of its tokens are no list of ${v.tokens.length} numbers`);
  }
  if (v.flag("remove_extra_whitespaces", false)) throw v.error("its tokenizer deletes spaces, which the lab does not");
  const unknown = v.tokens.find((_, id) => v.type(id) === UNKNOWN) ?? null;
  const prefix = v.flag("add_space_prefix", true);
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const steps = prefix ? [{ type: "Prepend", prepend: SPACE }, replace] : [replace];
  const back = [
    { type: "Replace", pattern: { String: SPACE }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
    ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
  ];
  // Where no token holds a space after something else, no merge can cross such a place: cutting there changes nothing
  // and spares the merging of a whole book as one word.
  const crosses = v.tokens.some((token, id) => v.type(id) === NORMAL && /[^▁]▁/.test(token));
  return v.files({
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: v.tokens.some((_, id) => v.type(id) === BYTE),
      ignore_merges: false,
      vocab: Object.fromEntries(v.tokens.map((token, id) => [token, id])),
      merges: mergesFromScores(v, scores),
    },
    normalizer: { type: "Sequence", normalizers: steps },
    pre: crosses ? null : splitStep(`${SPACE}+[^${SPACE}]*|[^${SPACE}]+`),
    decoder: { type: "Sequence", decoders: back },
    bos: true,
  });
}

/**
 * SentencePiece joins the two neighbours whose union has the best score; as merges: each way to cut a token in two
 * tokens, in the order of the scores.
 */
function mergesFromScores(v: Vocabulary, scores: Float32Array): [string, string][] {
  const ids = new Map<string, number>();
  v.tokens.forEach((token, id) => {
    if (v.type(id) === NORMAL || v.type(id) === USER_DEFINED) ids.set(token, id);
  });
  const found: { pair: [string, string]; score: number; left: number; right: number }[] = [];
  for (const [token, id] of ids) {
    if (v.type(id) !== NORMAL) continue;
    const letters = [...token]; // cut between code points, never inside one
    for (let i = 1, at = 0; i < letters.length; i++) {
      at += letters[i - 1].length;
      const pair: [string, string] = [token.slice(0, at), token.slice(at)];
      const left = ids.get(pair[0]), right = ids.get(pair[1]);
      if (left !== undefined && right !== undefined) found.push({ pair, score: scores[id], left, right });
    }
  }
  found.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right);
  return found.map(({ pair }) => pair);
}
