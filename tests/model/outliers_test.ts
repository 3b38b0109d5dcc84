import assert from "node:assert/strict";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { openShardedSafetensors } from "../../lib/io/safetensors_index.ts";
import { familyNames } from "../../lib/model/families.ts";
import { type LanguageModel, openLanguageModel } from "../../lib/model/language_model.ts";
import { channelOutliers, outlierReport } from "../../lib/model/outlier_report.ts";
import { type Injectable, injectOutliers } from "../../lib/model/outliers.ts";
import { assertWithin } from "../assert.ts";

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads
const IDS = Int32Array.from({ length: 32 }, (_, i) => (7 * i + 3) % 90);

async function files(family: string): Promise<Injectable & { label: string }> {
  const folder = new URL(`../../fixtures/golden/models/${family}/`, import.meta.url).pathname;
  const single = await Deno.stat(`${folder}model.safetensors`).catch(() => null);
  const source = single ? openSafetensors(`${folder}model.safetensors`) : openShardedSafetensors(folder);
  return { label: family, config: JSON.parse(await Deno.readTextFile(`${folder}config.json`)), source, note: "" };
}

async function logits(model: LanguageModel): Promise<Float32Array> {
  let hidden = await model.embed(IDS, 2, 16);
  for (let i = 0; i < model.blocks; i++) {
    const block = await model.openBlock(i);
    hidden = await block.forward(hidden);
    block.close();
  }
  return (await model.logits(hidden)).data;
}

for (const family of familyNames()) {
  Deno.test(`injectOutliers() keeps the logits of ${family} when channels are made loud`, options, async () => {
    const plain = await files(family), loud = injectOutliers(plain, { factor: 16, share: 0.05, seed: 2 });
    const before = await openLanguageModel(plain), after = await openLanguageModel(loud);
    const a = await logits(before), b = await logits(after);
    assertWithin(b, a, 1e-4, "logits");
    const input = (rows: Awaited<ReturnType<typeof outlierReport>>) =>
      rows.filter((r) => r.input === "attention").map((r) => r.rmsToMedian);
    const was = input(await outlierReport(before, IDS, 2, 16)), is = input(await outlierReport(after, IDS, 2, 16));
    is.forEach((ratio, block) => assert.ok(ratio > 4 * was[block], `block ${block}: ${was[block]} became ${ratio}`));
    before.close();
    after.close();
    plain.source.close();
  });
}

Deno.test("injectOutliers() changes norms and their readers only, and says so, when it wraps a source", async () => {
  const plain = await files("llama"), loud = injectOutliers({ ...plain, note: "a note" }, { factor: 8, seed: 1 });
  assert.match(loud.note, /^a note; outliers injected: 1 channels of each norm × 8, seed 1/);
  const changed: string[] = [];
  for (const name of plain.source.tensors.keys()) {
    const a = (await plain.source.read(name)).data, b = (await loud.source.read(name)).data;
    if (a.some((x, i) => x !== b[i])) changed.push(name.replace(/^model\.layers\.\d+\./, ""));
    const bytes = await loud.source.readBytes(name), info = loud.source.tensors.get(name)!;
    assert.equal(bytes.length, info.bytes, name);
    if (info.dtype === "F32") assert.deepEqual(new Float32Array(bytes.buffer), b);
  }
  assert.deepEqual([...new Set(changed)].sort(), [
    "input_layernorm.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "post_attention_layernorm.weight",
    "self_attn.k_proj.weight",
    "self_attn.q_proj.weight",
    "self_attn.v_proj.weight",
  ]);
  const other = injectOutliers(plain, { factor: 8, seed: 2 });
  assert.notEqual(await loud.source.sha256(), await plain.source.sha256());
  assert.notEqual(await loud.source.sha256(), await other.source.sha256());
  plain.source.close();
});

Deno.test("injectOutliers() refuses when the share, the factor or the family does not fit", async () => {
  const plain = await files("opt");
  assert.throws(() => injectOutliers(plain, { share: 0 }), /outlier share: 0 is not in/);
  assert.throws(() => injectOutliers(plain, { factor: -1 }), /outlier factor: -1 is not/);
  const after = { ...plain, config: { ...plain.config, do_layer_norm_before: false } };
  assert.throws(() => injectOutliers(after), /norms feed the residual stream/);
  plain.source.close();
});

Deno.test("channelOutliers() counts a channel when its root mean square is above six medians", () => {
  const x = Float32Array.from({ length: 400 }, (_, i) => (i % 4 === 3 ? 10 : 1) * (i % 3 - 1));
  const o = channelOutliers(x, 4);
  assert.equal(o.outliers, 1);
  assert.equal(o.maxToMedian, 10);
  assert.ok(Math.abs(o.rmsToMedian - 10) < 0.5);
  assert.ok(o.kurtosis > 3);
  assert.equal(channelOutliers(Float32Array.of(1, -1, 1, -1), 2).kurtosis, 1);
});
