import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { readGguf } from "../../lib/io/gguf.ts";
import { ggufModel } from "../../lib/io/gguf_model.ts";
import { ggufTokenizer } from "../../lib/io/gguf_tokenizer.ts";
import { rng } from "../../lib/io/rng.ts";
import { assertBothOutcomes, damage, watched } from "./damage.ts";
import { ggufBytes, key } from "./gguf_bytes.ts";

const CASES = 10_000;

/** Small valid files: typed keys and tensors of several types; a tokenizer; a whole tiny model. */
function seeds(): Uint8Array<ArrayBuffer>[] {
  const random = rng(2, "gguf seeds");
  const data = (n: number) => Uint8Array.from({ length: n }, () => random.int(256));
  const words = ["<s>", "</s>", "a", "b", "ab", "Ġ", "Ġa"];
  const tokenizer = [
    key("tokenizer.ggml.model", "gpt2"),
    key("tokenizer.ggml.pre", "smollm"),
    key("tokenizer.ggml.tokens", words),
    key("tokenizer.ggml.token_type", Int32Array.of(3, 3, 1, 1, 1, 1, 1)),
    key("tokenizer.ggml.merges", ["a b", "Ġ a"]),
    key("tokenizer.ggml.bos_token_id", { u32: 0 }),
  ];
  const scored = [
    key("tokenizer.ggml.model", "llama"),
    key("tokenizer.ggml.tokens", ["<unk>", "<0x41>", "▁", "a", "▁a"]),
    key("tokenizer.ggml.scores", Float32Array.of(0, 0, -2, -3, -1)),
    key("tokenizer.ggml.token_type", Int32Array.of(2, 6, 1, 1, 1)),
  ];
  const model = [
    key("general.architecture", "llama"),
    key("llama.block_count", { u32: 1 }),
    key("llama.embedding_length", { u32: 4 }),
    key("llama.feed_forward_length", { u32: 4 }),
    key("llama.context_length", { u32: 8 }),
    key("llama.attention.head_count", { u32: 2 }),
    key("llama.attention.layer_norm_rms_epsilon", { f32: 1e-5 }),
  ];
  const matrix = (name: string) => ({ name, dims: [4, 4], type: 1, data: data(32) });
  return [
    ggufBytes([key("general.alignment", { u32: 8 }), key("f", { f32: 2 }), key("b", true), key("s", ["x", "yz"])], [
      { name: "plain", dims: [3, 2], type: 0, data: data(24) },
      { name: "half", dims: [4], type: 1, data: data(8) },
      { name: "q8", dims: [32], type: 8, data: data(34) },
      { name: "q6", dims: [256], type: 14, data: data(210) },
    ], { alignment: 8 }),
    ggufBytes(tokenizer, []),
    ggufBytes(scored, []),
    ggufBytes(model, ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight"].map(matrix)),
  ];
}

/** The tensors of an accepted file, read without any check: [shape, bytes] by name. */
function naive(bytes: Uint8Array, sizes: ReadonlyMap<string, number>): Map<string, [number[], number[]]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 24;
  const u32 = () => view.getUint32((at += 4) - 4, true), u64 = () => Number(view.getBigUint64((at += 8) - 8, true));
  const text = () => new TextDecoder().decode(bytes.subarray(at + 8, at += 8 + u64at(at)));
  const u64at = (p: number) => Number(view.getBigUint64(p, true));
  const width = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  let alignment = 32;
  const skip = (type: number) => {
    if (type === 8) text();
    else if (type === 9) {
      const element = u32();
      for (let n = u64(); n > 0; n--) skip(element);
    } else at += width[type];
  };
  const tensors = u64at(8);
  for (let keys = u64at(16); keys > 0; keys--) {
    const name = text(), type = u32();
    if (name === "general.alignment") alignment = view.getUint32(at, true);
    skip(type);
  }
  const infos: [string, number[], number][] = [];
  for (let t = 0; t < tensors; t++) {
    const name = text(), shape: number[] = [];
    for (let d = u32(); d > 0; d--) shape.unshift(u64());
    u32();
    infos.push([name, shape, u64()]);
  }
  const base = Math.ceil(at / alignment) * alignment;
  return new Map(infos.map(([name, shape, begin]) => {
    return [name, [shape, [...bytes.subarray(base + begin, base + begin + sizes.get(name)!)]]];
  }));
}

Deno.test(`readGguf() ends ${CASES} damaged files in a LabError or the right data, allocating no more than the file`, async () => {
  const random = rng(8, "gguf damage"), originals = seeds();
  let read = 0, refused = 0, models = 0, tokenizers = 0;
  const slowest = { milliseconds: 0, case: -1 };
  const labErrorOr = async <T>(run: () => T | Promise<T>): Promise<T | null> => {
    try {
      return await run();
    } catch (error) {
      if (error instanceof LabError) return null;
      throw error;
    }
  };
  for (let i = 0; i < CASES; i++) {
    const bytes = damage(originals[i % originals.length], random), start = performance.now();
    try {
      // The densest block that the lab decodes is Q2_K: 256 floats, 1024 bytes, from 84.
      await watched(bytes, (size) => 13 * size + 64, async (access) => {
        const file = readGguf(access), contents = new Map<string, [number[], number[]]>();
        for (const [name, { shape }] of file.tensors) {
          contents.set(name, [[...shape], [...await file.readBytes(name)]]);
          const values = await labErrorOr(() => file.read(name)); // null: a type that the lab does not decode
          assert.ok(!values || values.data.length === shape.reduce((a, b) => a * b, 1));
        }
        const sizes = new Map([...file.tensors].map(([name, t]) => [name, t.bytes]));
        assert.deepEqual(contents, naive(bytes, sizes));
      });
      read++;
    } catch (error) {
      if (!(error instanceof LabError)) throw new Error(`case ${i}`, { cause: error });
      refused++;
      continue;
    }
    try {
      // What stands on the reader must be as calm: it may hold one list entry a byte, never a size out of the file.
      await watched(bytes, (size) => 64 * size + 65536, async (access) => {
        const file = readGguf(access), tokenizer = await labErrorOr(() => ggufTokenizer(file));
        if (tokenizer && await labErrorOr(() => tokenizer.decode(tokenizer.encode("ab a")))) tokenizers++;
        const model = await labErrorOr(() => ggufModel(file));
        if (model) { for (const name of model.source.tensors.keys()) await model.source.read(name); }
        if (model) models++;
      });
    } catch (error) {
      throw new Error(`case ${i}`, { cause: error });
    }
    const milliseconds = performance.now() - start;
    if (milliseconds > slowest.milliseconds) Object.assign(slowest, { milliseconds, case: i });
  }
  assertBothOutcomes(read, refused);
  assert.ok(models > 10 && tokenizers > 10, `${models} models, ${tokenizers} tokenizers`);
  assert.ok(slowest.milliseconds < 1000, `case ${slowest.case} took ${slowest.milliseconds} ms`);
});
