import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openModel } from "../../lib/io/open_model.ts";
import { rng } from "../../lib/io/rng.ts";
import type { Matrix } from "../../lib/io/tensor.ts";
import { sequenceDivergence } from "../../lib/model/divergence.ts";
import { openMeter } from "../../lib/model/divergence_meter.ts";
import { type LanguageModel, openLanguageModel } from "../../lib/model/language_model.ts";
import { openBlockWith } from "../../lib/model/perplexity.ts";
import { openSwaps } from "../../lib/model/weight_swap.ts";
import { assertRelative, assertWithin } from "../assert.ts";

const FOLDER = fileURLToPath(new URL("../../fixtures/golden/models/llama", import.meta.url));
const stream = rng(4, "swap test"), ids = Int32Array.from({ length: 2 * 24 }, () => stream.int(128));
const text = { ids, windows: 2, length: 24 };

/** Variant v of a linear is v + 1 times itself, by place: its own for v = 0. */
async function variant(model: LanguageModel, block: number, linear: string, v: number): Promise<Matrix> {
  const opened = await model.openBlock(block), w = opened.weight(linear);
  opened.close();
  return { ...w, data: w.data.map((x, i) => x * (1 + v * (i % 3) / 2)) };
}

/** The same by a model opened anew for it. */
async function plain(model: LanguageModel, plan: ReadonlyMap<string, number>) {
  let hidden = await model.embed(ids, 2, 24);
  for (let b = 0; b < model.blocks; b++) {
    const block = await openBlockWith(model, b, (i, l) => variant(model, i, l, plan.get(`${i}.${l}`)!));
    hidden = await block.forward(hidden);
    block.close();
  }
  return hidden;
}

Deno.test("openSwaps() gives bit by bit what a model with those weights gives, in any order, and loads only what changed", async () => {
  const model = await openLanguageModel(await openModel(FOLDER)), asked: string[] = [];
  const names = [0, 1].flatMap((b) => model.linears(b).map((l) => `${b}.${l.name}`));
  const swaps = await openSwaps(model, text, (b, l, v) => {
    asked.push(`${b}.${l} ${v}`);
    if (v === 9) return Promise.reject(new Error("no such copy"));
    return variant(model, b, l, v);
  });
  const plan = (o: Record<string, number> = {}) => new Map(names.map((n) => [n, o[n] ?? 0]));
  const plans = [
    plan(),
    plan({ "1.mlp.up_proj": 1 }),
    plan({ "0.self_attn.q_proj": 2, "1.mlp.up_proj": 1 }),
    plan(),
    plan({ "1.mlp.down_proj": 1 }),
  ];
  for (const p of plans) assert.deepEqual((await swaps.forward(p)).data, (await plain(model, p)).data);
  const again = await swaps.forward(plans[4]), count = asked.length;
  assert.deepEqual((await swaps.forward(plans[4])).data, again.data);
  assert.equal(asked.length, count);
  assert.deepEqual(asked.slice(14, 17), ["1.mlp.up_proj 1", "0.self_attn.q_proj 2", "0.self_attn.q_proj 0"]);

  await assert.rejects(swaps.forward(plan({ "0.mlp.up_proj": 9 })), /no such copy/);
  assert.deepEqual((await swaps.forward(plans[2])).data, (await plain(model, plans[2])).data, "after a failure");
  await assert.rejects(swaps.forward(new Map(names.slice(1).map((n) => [n, 0]))), /0\.self_attn\.q_proj.*no variant/);
  swaps.close();
  model.close();
});

Deno.test("openMeter() is the mean over windows of the divergence of logits, and 0 from itself", async () => {
  const model = await openLanguageModel(await openModel(FOLDER)), meter = await openMeter(model, text);
  const names = [0, 1].flatMap((b) => model.linears(b).map((l) => `${b}.${l.name}`));
  const own = await plain(model, new Map(names.map((n) => [n, 0])));
  const other = await plain(model, new Map(names.map((n) => [n, n === "1.mlp.up_proj" ? 4 : 0])));
  const none = await meter.measure(own); // m = (p + p)/2 costs a rounding
  assertWithin([none.jsd, none.old], [0, 0], 1e-15, "from itself");
  const logits = async (h: typeof own) => (await model.logits(h)).data, { vocab } = model.config, half = 24 * vocab;
  const [p, q] = [await logits(own), await logits(other)];
  const windows = [0, 1].map((w) =>
    sequenceDivergence(p.subarray(w * half, (w + 1) * half), q.subarray(w * half, (w + 1) * half), vocab)
  );
  const found = await meter.measure(other);
  assertRelative(found.jsd, (windows[0].jsd + windows[1].jsd) / 2, 1e-9, "jsd");
  assertRelative(found.old, (windows[0].old + windows[1].old) / 2, 1e-9, "old");
  assert(found.jsd > 1e-6 && found.old > found.jsd);
  model.close();
});
