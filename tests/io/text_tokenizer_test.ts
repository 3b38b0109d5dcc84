import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { fromTokenizerJson } from "../../lib/io/text_tokenizer.ts";

/** A byte-level BPE whose vocabulary is single bytes (as GPT-2 writes them) and the given merges. */
function byteLevel(merges: string[], pre: unknown[], rest: Record<string, unknown> = {}) {
  const printable = (b: number) => (b > 32 && b < 127) || (b > 160 && b !== 173);
  let next = 256;
  const bytes = Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
  const vocab = Object.fromEntries([...bytes, ...merges.map((m) => m.replace(" ", ""))].map((t, i) => [t, i]));
  return {
    added_tokens: [{ id: 300, content: "<s>", special: true }, { id: 301, content: "</s>", special: true }],
    pre_tokenizer: { type: "Sequence", pretokenizers: pre },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges },
    ...rest,
  };
}
const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false };

Deno.test("fromTokenizerJson() merges inside the pieces of the pre-tokenizer and writes text back", () => {
  const t = fromTokenizerJson(byteLevel(["Ġ a", "a b", "Ġa b"], [BYTE_LEVEL]), {
    bos_token: "<s>",
    eos_token: { content: "</s>" },
  });
  assert.deepEqual(t.encode("ab ab b"), [257, 258, 32, 98]);
  assert.deepEqual([t.vocabSize, t.bosId, t.eosId], [302, 300, 301]);
  for (const text of ["", "ab  ab", "été 日本 👍\r\n\t", "x <s> y . ,"]) assert.equal(t.decode(t.encode(text)), text);
  assert.deepEqual(t.encode("<s>ab"), [300, 257]);
  assert.equal(fromTokenizerJson(byteLevel([], [BYTE_LEVEL]), {}).bosId, null);
});

Deno.test("fromTokenizerJson() splits digits and white space of all of Unicode, as the Rust library does", () => {
  const digits = fromTokenizerJson(
    byteLevel(["Ù £", "Ù£ Ù", "Ù ¤"], [{ type: "Digits", individual_digits: true }, BYTE_LEVEL]),
    {},
  );
  assert.deepEqual(digits.encode("٣٤"), [256, 258]); // two pieces: the second merge would cross them
  const run = fromTokenizerJson(byteLevel(["1 2"], [{ type: "Digits", individual_digits: false }, BYTE_LEVEL]), {});
  assert.deepEqual(run.encode("a12"), [97, 256]);
  // U+0085 is white space to the Rust library and not to JavaScript; U+FEFF is the other way round.
  const spaces = fromTokenizerJson(byteLevel(["ħ x", "¿ !"], [BYTE_LEVEL]), {});
  assert.deepEqual(spaces.encode("\u0085x"), [0xc2, 0x85, 120]);
  assert.deepEqual(spaces.encode("\ufeff!"), [0xef, 0xbb, 257]);
});

Deno.test("fromTokenizerJson() adds the special tokens that the post-processor names", () => {
  const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
  const post_processor = { type: "TemplateProcessing", single, pair: single, special_tokens: {} };
  assert.deepEqual(fromTokenizerJson(byteLevel([], [BYTE_LEVEL], { post_processor }), {}).encode("a"), [300, 97]);
});

Deno.test("fromTokenizerJson() deletes spaces before punctuation only where the config asks for it", () => {
  const json = byteLevel([], [BYTE_LEVEL]), ids = [97, 32, 46];
  assert.equal(fromTokenizerJson(json, {}).decode(ids), "a .");
  assert.equal(fromTokenizerJson(json, { clean_up_tokenization_spaces: true }).decode(ids), "a.");
});

Deno.test("fromTokenizerJson() says what it cannot use", () => {
  const problem = (kind: string, message: RegExp) => (e: unknown) =>
    e instanceof LabError && e.kind === kind && message.test(e.message);
  for (const json of [null, 1, {}, { model: null }, { model: "x" }]) {
    assert.throws(() => fromTokenizerJson(json), problem("format", /tokenizer.json: has no object "model"/));
  }
  const unknown = byteLevel([], [{ type: "Chop" }]);
  assert.throws(
    () => fromTokenizerJson(unknown, {}, "t"),
    problem("format", /t: its tokenizer cannot be built: .*Chop/),
  );
  assert.throws(() => fromTokenizerJson(byteLevel([], []), null), problem("format", /tokenizer_config.json is not/));
  const t = fromTokenizerJson({ model: { type: "BPE", vocab: { a: 0 }, merges: [] } }, {});
  const nowhere = [{ SpecialToken: { id: "<nope>", type_id: 0 } }];
  const post_processor = { type: "TemplateProcessing", single: nowhere, pair: nowhere, special_tokens: {} };
  const added = fromTokenizerJson(byteLevel([], [BYTE_LEVEL], { post_processor }), {});
  assert.throws(() => added.encode("a"), problem("input", /has no token for a part of the text \(token 0\)/));
  assert.throws(() => t.decode([0, 1]), problem("input", /1 is no token id, there are 1/));
  assert.throws(() => t.decode([0.5]), problem("input", /0.5 is no token id/));
});
