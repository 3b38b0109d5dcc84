import assert from "node:assert/strict";
import { Tokenizer } from "@huggingface/tokenizers";
import { book } from "../../lib/io/books.ts";
import { bpeEncoder, byteAlphabet, tokenizerJson, trainBpe } from "../../lib/io/bpe_train.ts";
import { rng } from "../../lib/io/rng.ts";

const SAMPLE = book("moby-dick").train.slice(200_000, 300_000);
const bpe = trainBpe(SAMPLE, 600);
const encode = bpeEncoder(bpe);
const published = new Tokenizer(tokenizerJson(bpe), {});

/** Strings of every kind of code point, lone spaces and line ends among them. */
function strangeTexts(): string[] {
  const random = rng(1, "strange texts");
  const ranges = [[32, 95], [9, 5], [0xa0, 0x200], [0x4e00, 100], [0x1f600, 60], [0x300, 40], [0x2028, 2], [0, 32]];
  return Array.from({ length: 60 }, () =>
    Array.from({ length: 1 + random.int(40) }, () => {
      const [from, count] = ranges[random.int(ranges.length)];
      return String.fromCodePoint(from + random.int(count));
    }).join(""));
}

/** The bytes that token ids stand for, put together by hand. */
function spell(ids: number[]): string {
  const byte = new Map(byteAlphabet().map((c, b) => [c, b]));
  const bytes = ids.flatMap((id) => [...bpe.vocabulary[id]].map((c) => byte.get(c)!));
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

Deno.test("bpeEncoder() keeps every byte when the text is any UTF-8", () => {
  for (const text of [...strangeTexts(), "", " ", "\n\n\n", "Call me Ishmael.", "don't\tstop  \n now ", "\ufeffmark"]) {
    assert.equal(spell(encode(text)), text);
  }
});

Deno.test("bpeEncoder() gives the ids of the tokenizers package when that reads the same tokenizer.json", () => {
  const elsewhere = book("moby-dick").heldOut.slice(0, 20_000);
  for (const text of [...strangeTexts(), elsewhere, SAMPLE.slice(0, 20_000), " a  b ", "e\u0301", "1851 and 12"]) {
    assert.deepEqual(encode(text), published.encode(text).ids, JSON.stringify(text.slice(0, 80)));
  }
});

Deno.test("tokenizerJson() decodes to the same text when the tokenizers package reads it", () => {
  const text = "Whenever it is a damp, drizzly November in my soul—naïve 鯨!";
  assert.equal(published.decode(published.encode(text).ids), text);
  assert.equal(published.token_to_id("<|endoftext|>"), bpe.endOfText);
});

Deno.test("trainBpe() joins the most frequent pair first when counts differ, and the smaller ids when they tie", () => {
  const spelled = (text: string, size: number) => trainBpe(text, size).vocabulary.slice(257);
  assert.deepEqual(spelled("ab ab cd", 258), ["ab"]);
  assert.deepEqual(spelled("cdab", 257 + 9), []); // nothing is seen twice
  assert.deepEqual(spelled("cd cd ab ab", 258), ["Ġa"]); // pairs of 2: cd, ab and, with the smallest ids, space a
  assert.deepEqual(spelled("aaaa aaaa", 259), ["aa", "aaaa"]);
});

Deno.test("trainBpe() never spells a token twice when runs of the same letters overlap", () => {
  const random = rng(1, "runs"),
    run = () => Array.from({ length: 1 + random.int(9) }, () => "aab"[random.int(3)]).join("");
  const text = Array.from({ length: 2000 }, run).join(" ");
  const { vocabulary, merges } = trainBpe(text, 700);
  assert.equal(new Set(vocabulary).size, vocabulary.length);
  assert.equal(merges.length, vocabulary.length - 257);
});

Deno.test("trainBpe() refuses when the vocabulary cannot hold the bytes", () => {
  assert.throws(() => trainBpe("text", 256), /vocabulary size: 256 is below 257/);
});
