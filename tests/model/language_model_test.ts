import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { familyNames } from "../../lib/model/families.ts";
import { type Hidden, openLanguageModel } from "../../lib/model/language_model.ts";
import { assertWithin, maxDifference } from "../assert.ts";
import { memorySource, randomIds, randomModel, tinyModel } from "./tiny.ts";

const says = (pattern: RegExp) => (e: unknown) => e instanceof LabError && pattern.test(e.message);

async function hiddenOf(family: string, windows: number, length: number) {
  const model = await openLanguageModel(tinyModel(family));
  const h = await model.embed(randomIds(windows * length, 128), windows, length);
  return { model, h, block: await model.openBlock(0) };
}

/** 2/n Σ XᵀX in float64. */
function plainGram(x: { data: Float32Array; rows: number; cols: number }, windows: number): Float64Array {
  const h = new Float64Array(x.cols * x.cols);
  for (let t = 0; t < x.rows; t++) {
    const row = x.data.subarray(t * x.cols, (t + 1) * x.cols);
    for (let i = 0; i < x.cols; i++) for (let j = 0; j < x.cols; j++) h[i * x.cols + j] += row[i] * row[j];
  }
  return h.map((v) => 2 / windows * v);
}

for (const family of familyNames()) {
  Deno.test(`gram() of ${family} equals the plain sum over what capture() gives`, async () => {
    const { model, h, block } = await hiddenOf(family, 3, 18); // 54 tokens: not a multiple of anything
    const grams = await block.gram(h), inputs = new Map(model.linears(0).map((l) => [l.input, l.in]));
    assert.deepEqual([...grams.keys()], [...inputs.keys()]);
    for (const [input, size] of inputs) {
      const x = await block.capture(h, input), gram = grams.get(input)!;
      assert.deepEqual([x.rows, x.cols, gram.rows, gram.cols], [54, size, size, size]);
      const expected = plainGram(x, 3), scale = Math.max(...expected);
      assert.ok(scale > 0);
      assertWithin(gram.data, expected, 2e-6 * scale, input);
    }
    block.close();
    model.close();
  });
}

Deno.test("capture() gives what a linear of the block reads, so that the block's output follows from it", async () => {
  const { model, h, block } = await hiddenOf("opt", 1, 8);
  // OPT: out = x + W_out·a + fc2·hidden; without biases and with fc2 = 0 only the attention remains.
  const x = await block.capture(h, "output"), w = block.weight("self_attn.out_proj"), zero = block.weight("fc2");
  block.setWeight("fc2", { ...zero, data: new Float32Array(zero.data.length) });
  const out = await block.forward(h);
  const rows = Array.from({ length: 8 * 64 }, (_, at) => {
    const [t, o] = [Math.floor(at / 64), at % 64];
    let sum = h.data[at];
    for (let i = 0; i < 64; i++) sum += w.data[o * 64 + i] * x.data[t * 64 + i];
    return sum;
  });
  const biases = await Promise.all(
    ["self_attn.out_proj", "fc2"].map((l) => tinyModel("opt").source.read(`model.decoder.layers.0.${l}.bias`)),
  );
  assertWithin(out.data, rows.map((v, at) => v + biases[0].data[at % 64] + biases[1].data[at % 64]), 1e-5);
  block.close();
  model.close();
});

Deno.test("gram() takes only the inputs it is asked for", async () => {
  const { model, h, block } = await hiddenOf("llama", 2, 16), all = await block.gram(h);
  const some = await block.gram(h, ["output", "attention"]);
  assert.deepEqual([...some.keys()], ["attention", "output"]);
  for (const [input, m] of some) assert.deepEqual(m.data, all.get(input)!.data);
  await assert.rejects(
    block.gram(h, ["heads"]),
    says(/block 0: has no input "heads"\. It has attention, output, mlp, down/),
  );
  block.close();
  model.close();
});

Deno.test("forward() gives the same for a window whatever other windows come with it", async () => {
  const { model, h, block } = await hiddenOf("qwen2", 7, 100), seen: [number, number][] = [];
  const all = await block.forward(h, (done, total) => seen.push([done, total]));
  const size = 100 * 64, third: Hidden = { ...h, windows: 1, data: h.data.slice(2 * size, 3 * size) };
  assert.ok(maxDifference((await block.forward(third)).data, all.data.subarray(2 * size, 3 * size)).value < 1e-5);
  assert.deepEqual(seen.at(-1), [7, 7]);
  block.close();
  model.close();
});

Deno.test("passes that are begun together give what they give one after the other", async () => {
  const { model, h, block } = await hiddenOf("llama", 3, 40), other = await model.openBlock(1);
  const [a, b, c] = await Promise.all([block.forward(h), other.gram(h), block.gram(h, ["mlp"])]);
  assert.deepEqual(a.data, (await block.forward(h)).data);
  assert.deepEqual(b, await other.gram(h));
  assert.deepEqual(c, await block.gram(h, ["mlp"]));
  block.close();
  model.close();
});

Deno.test("setWeight() changes later passes and refuses what does not fit", async () => {
  const { model, h, block } = await hiddenOf("llama", 1, 16), w = block.weight("mlp.up_proj");
  const before = await block.forward(h);
  block.setWeight("mlp.up_proj", { ...w, data: w.data.map((x) => 2 * x) });
  const doubled = await block.forward(h);
  assert.ok(maxDifference(before.data, doubled.data).value > 1e-3);
  block.setWeight("mlp.up_proj", w);
  assert.deepEqual((await block.forward(h)).data, before.data);
  assert.throws(
    () => block.setWeight("mlp.up_proj", { ...w, rows: 3 }),
    says(/0\.mlp\.up_proj: weight of shape \[3, 64\]/),
  );
  const bad = { ...w, data: w.data.slice() };
  bad.data[64 * 2 + 5] = NaN;
  assert.throws(() => block.setWeight("mlp.up_proj", bad), says(/0\.mlp\.up_proj: NaN at index \[2, 5\]/));
  assert.throws(() => block.weight("mlp.side_proj"), says(/has no linear "mlp.side_proj"\. It has self_attn.q_proj, /));
  block.close();
  model.close();
});

Deno.test("openLanguageModel() refuses files that do not fit their config", async () => {
  const model = randomModel(tinyModel("llama").config), name = "model.layers.1.mlp.up_proj.weight";
  const open = (
    config: Record<string, unknown>,
    change?: (t: Map<string, { data: Float32Array<ArrayBuffer>; shape: readonly number[] }>) => void,
  ) => {
    const tensors = new Map(model.tensors);
    change?.(tensors);
    return openLanguageModel({ label: "files", config, source: memorySource(tensors) });
  };
  const config = model.config;
  await assert.rejects(
    open({ ...config, model_type: "gpt2" }),
    says(/model_type "gpt2" is not a known family.*llama, mistral/),
  );
  await assert.rejects(
    open({ ...config, num_attention_heads: "4" }),
    says(/"num_attention_heads" is "4", expected a positive/),
  );
  await assert.rejects(open({ ...config, hidden_act: "mish" }), says(/"hidden_act" is "mish", and the lab knows silu/));
  await assert.rejects(
    open({ ...config, rope_parameters: { rope_type: "yarn", rope_theta: 1 } }),
    says(/type "yarn" is not/),
  );
  await assert.rejects(open(config, (t) => t.delete(name)), says(new RegExp(`memory: has no tensor "${name}"`)));
  await assert.rejects(
    open(config, (t) => t.set(name, { data: new Float32Array(6), shape: [2, 3] })),
    says(/up_proj.weight" has shape \[2, 3\], config.json says \[160, 64\]/),
  );
});

Deno.test("openLanguageModel() reads files saved from the bare trunk, without their prefix", async () => {
  const model = randomModel(tinyModel("bloom").config);
  const bare = new Map([...model.tensors].map(([name, t]) => [name.replace(/^transformer\./, ""), t]));
  const [a, b] = await Promise.all([model.source, memorySource(bare)].map(async (source) => {
    const m = await openLanguageModel({ label: "x", config: model.config, source });
    const h = await m.embed(randomIds(8, 128), 1, 8), block = await m.openBlock(1);
    return (await block.forward(h)).data;
  }));
  assert.deepEqual(a, b);
});

Deno.test("openBlock() names the tensor and the place of a weight that is not finite", async () => {
  const model = randomModel(tinyModel("llama").config), name = "model.layers.1.self_attn.k_proj.weight";
  model.tensors.get(name)!.data[64 + 7] = Infinity;
  const m = await openLanguageModel(model);
  await assert.rejects(m.openBlock(1), says(/model\.layers\.1\.self_attn\.k_proj\.weight: Infinity at index \[1, 7\]/));
  await assert.rejects(m.openBlock(2), says(/block 2 of 2/));
  m.close();
});

Deno.test("openLanguageModel() rounds weights to 16 bits when asked", async () => {
  const model = randomModel(tinyModel("llama").config);
  const m = await openLanguageModel(model, { precision: "float16" }), block = await m.openBlock(0);
  const w = model.tensors.get("model.layers.0.mlp.up_proj.weight")!.data;
  assert.deepEqual(block.weight("mlp.up_proj").data, w.map((x) => Math.f16round(x)));
  block.close();
  m.close();
});

Deno.test("embed() refuses unknown tokens and windows that are too long", async () => {
  const model = await openLanguageModel(tinyModel("opt"));
  await assert.rejects(model.embed(Int32Array.of(1, 128), 1, 2), says(/token id 128 at 1, the vocabulary has 128/));
  await assert.rejects(model.embed(new Int32Array(129), 1, 129), says(/windows of 129 tokens, it knows 128 positions/));
  await assert.rejects(model.embed(new Int32Array(5), 2, 3), says(/5 token ids for 2 windows of 3/));
  model.close();
});

Deno.test("gram() and forward() say where numbers stop being finite", async () => {
  const { model, h, block } = await hiddenOf("llama", 2, 4);
  const bad = { ...h, data: h.data.slice() };
  bad.data[64 * 5 + 3] = NaN;
  await assert.rejects(block.gram(bad), says(/0\.attention: calibration gives NaN at column 0/));
  await assert.rejects(block.forward(bad), says(/block 0: gives NaN in window 1, token 0, column 0/));
  block.close();
  model.close();
});
