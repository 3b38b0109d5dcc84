import assert from "node:assert/strict";
import { openMemory } from "../../lib/io/bytes.ts";
import { LabError } from "../../lib/io/errors.ts";
import { readGguf } from "../../lib/io/gguf.ts";
import { ggufTokenizer, ggufTokenizerFiles } from "../../lib/io/gguf_tokenizer.ts";
import { fromTokenizerJson } from "../../lib/io/text_tokenizer.ts";
import { ggufBytes, key } from "./gguf_bytes.ts";

type Value = Parameters<typeof key>[1];
const [NORMAL, UNKNOWN, CONTROL, USER, BYTE] = [1, 2, 3, 4, 6];

function file(values: Record<string, Value | undefined>) {
  const keys = Object.entries(values).flatMap(([name, v]) => v === undefined ? [] : [key(`tokenizer.ggml.${name}`, v)]);
  return readGguf(openMemory("m.gguf", ggufBytes(keys, [])));
}

const MERGES = ["1 2", "12 3", "123 4", "' S", "! Ċ", "a 1", "Ġ x", "Ġ Ġ"];
const WORDS = [..."1234'Sax!", "Ġ", "Ċ", ...MERGES.map((m) => m.replace(" ", ""))];
const TOKENS = ["<s>", "</s>", "<tool>", ...WORDS];
const BPE: Record<string, Value | undefined> = {
  model: "gpt2",
  pre: "smollm",
  tokens: TOKENS,
  token_type: Int32Array.from(TOKENS, (_, i) => i < 2 ? CONTROL : i === 2 ? USER : NORMAL),
  merges: MERGES,
  bos_token_id: { u32: 0 },
  eos_token_id: { u32: 1 },
};

const pieces = (change: Record<string, Value | undefined>, text: string) =>
  ggufTokenizer(file({ ...BPE, ...change })).encode(text).map((id) => TOKENS[id]).join("|");

// The same patterns over a full vocabulary gave the ids of the Rust library `tokenizers` on 200,000 characters of WikiText
// and on texts full of odd spaces, digits and marks; here each name shows its own way of cutting.
Deno.test("ggufTokenizer() cuts text as the named pre-tokenizer does", () => {
  const cuts: Record<string, [string, string, string, string]> = {
    // numbers, an upper-case contraction, a sign before a line break, a letter before a digit
    "smollm": ["1|2|3|4", "'|S", "!|Ċ", "a|1"],
    "gpt-2": ["1234", "'|S", "!|Ċ", "a|1"],
    "default": ["123|4", "'|S", "!|Ċ", "a|1"],
    "falcon": ["123|4", "'|S", "!|Ċ", "a|1"],
    "llama-bpe": ["<s>|123|4", "<s>|'S", "<s>|!Ċ", "<s>|a|1"],
    "qwen2": ["1|2|3|4", "'S", "!Ċ", "a|1"],
    "bloom": ["1234", "'S", "!Ċ", "a1"],
  };
  for (const [pre, expected] of Object.entries(cuts)) {
    assert.deepEqual(["1234", "'S", "!\n", "a1"].map((text) => pieces({ pre }, text)), expected, pre);
    assert.equal(pieces({ pre, add_bos_token: false }, "   x"), "ĠĠ|Ġx", pre);
  }
  assert.equal(pieces({ pre: undefined }, "1234"), "123|4"); // none named: llama.cpp's default
});

Deno.test("ggufTokenizer() takes a whole piece that is a token where the pre-tokenizer says so", () => {
  const tokens = [...TOKENS, "SS"],
    ids = (pre: string) =>
      ggufTokenizer(file({ ...BPE, pre, tokens, token_type: undefined, add_bos_token: false })).encode("SS");
  assert.deepEqual(ids("llama-bpe"), [tokens.length - 1]); // no merge makes it
  assert.deepEqual(ids("qwen2"), [8, 8]);
});

Deno.test("ggufTokenizer() matches special tokens in the text and adds BOS and EOS as the metadata says", () => {
  assert.equal(pieces({}, "a<tool>1<s>"), "a|<tool>|1|<s>");
  assert.equal(pieces({ add_bos_token: true, add_eos_token: true }, "a"), "<s>|a|</s>");
  assert.equal(pieces({ pre: "llama-bpe", add_bos_token: false }, "a"), "a");
  const t = ggufTokenizer(file(BPE));
  assert.deepEqual([t.vocabSize, t.bosId, t.eosId], [TOKENS.length, 0, 1]);
  assert.equal(t.decode(t.encode("12 x\n<s>!")), "12 x\n<s>!");
});

const SPM_TOKENS = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "ab", "ba", "▁a", "▁ab", "▁▁", "<use>"];
const SPM: Record<string, Value | undefined> = {
  model: "llama",
  tokens: SPM_TOKENS,
  scores: Float32Array.of(0, 0, 0, 0, 0, -9, -9, -9, -1, -2, -3, -4, -5, 0),
  token_type: Int32Array.of(UNKNOWN, CONTROL, CONTROL, BYTE, BYTE, ...new Array(8).fill(NORMAL), USER),
  bos_token_id: { u32: 1 },
  eos_token_id: { u32: 2 },
  unknown_token_id: { u32: 0 },
};

// A vocabulary of 4,000 that the library `sentencepiece` trained gave its own ids on 300,000 characters of WikiText.
Deno.test("ggufTokenizer() joins by score and falls back to bytes as SentencePiece does", () => {
  const t = ggufTokenizer(file(SPM)), show = (text: string) => t.encode(text).map((id) => SPM_TOKENS[id]).join("|");
  assert.equal(show("ab"), "<s>|▁ab"); // ab first (−1), then ▁ab
  assert.equal(show("ba"), "<s>|▁|ba");
  assert.equal(show("bab"), "<s>|▁|b|ab"); // ab before ba, although ba comes first
  assert.equal(show("a b  a"), "<s>|▁a|▁|b|▁|▁a"); // ▁a (−3) before ▁▁ (−5)
  assert.equal(show("é"), "<s>|▁|<0xC3>|<0xA9>");
  assert.equal(show("z"), "<s>|▁|<unk>");
  assert.equal(show("a<use>b"), "<s>|▁a|<use>|▁|b");
  assert.equal(t.decode(t.encode("é ab  ba").slice(1)), "é ab  ba");
  assert.deepEqual(ggufTokenizer(file({ ...SPM, add_space_prefix: false, add_bos_token: false })).encode("ab"), [8]);
  // A token that holds a space inside forbids the cut at spaces, and is found.
  const inside = { ...SPM, tokens: SPM_TOKENS.with(9, "a▁"), scores: (SPM.scores as Float32Array).with(9, -0.5) };
  assert.deepEqual(ggufTokenizer(file(inside)).encode("a b").slice(1), [5, 9, 7]);
});

Deno.test("ggufTokenizerFiles() are a tokenizer.json and its config: reading them back gives the same tokenizer", () => {
  for (const values of [BPE, SPM]) {
    const { tokenizer, config } = JSON.parse(JSON.stringify(ggufTokenizerFiles(file(values))));
    const a = fromTokenizerJson(tokenizer, config), b = ggufTokenizer(file(values));
    assert.deepEqual(a.encode("a 1 ab"), b.encode("a 1 ab"));
    assert.deepEqual([a.vocabSize, a.bosId, a.eosId], [b.vocabSize, b.bosId, b.eosId]);
  }
});

Deno.test("ggufTokenizer() names what it does not know or what does not fit", () => {
  const refusals: [Record<string, Value | undefined>, RegExp][] = [
    [{ ...BPE, model: "bert" }, /m.gguf: its tokenizer is of the kind "bert"\. The lab knows "gpt2" and "llama"/],
    [{ ...BPE, pre: "viking" }, /m.gguf: its pre-tokenizer is "viking"\. The lab knows default, gpt-2/],
    [{ ...BPE, pre: "constructor" }, /its pre-tokenizer is "constructor"/],
    [{ ...BPE, tokens: undefined }, /no list of tokens/],
    [{ ...BPE, tokens: Int32Array.of(1) }, /no list of tokens/],
    [{ ...BPE, token_type: Int32Array.of(1) }, /the types of its tokens are no list of/],
    [{ ...BPE, merges: undefined }, /no list of merges/],
    [{ ...BPE, merges: ["a b c"] }, /no list of merges, each of two parts/],
    [{ ...BPE, bos_token_id: { u32: 9999 } }, /"tokenizer.ggml.bos_token_id" is 9999, there are/],
    [{ ...BPE, add_bos_token: { u32: 1 } }, /"tokenizer.ggml.add_bos_token" is neither true nor false/],
    [{ ...SPM, scores: Float32Array.of(1) }, /the scores of its tokens are no list of 14 numbers/],
    [{ ...SPM, remove_extra_whitespaces: true }, /deletes spaces/],
  ];
  for (const [values, message] of refusals) {
    assert.throws(
      () => ggufTokenizer(file(values)),
      (e) => e instanceof LabError && e.kind === "format" && message.test(e.message),
      `${message}`,
    );
  }
});
