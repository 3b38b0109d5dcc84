import assert from "node:assert/strict";
import { join } from "node:path";
import { LabError } from "../../lib/io/errors.ts";
import {
  runTuning,
  startTuning,
  type TunePoint,
  type TuneRecipe,
  tuneRecipe,
  type TuneState,
  tuneStep,
} from "../../lib/model/tune.ts";
import { loadTuning, saveTuning } from "../../lib/model/tune_checkpoint.ts";
import { llamaBlockValues, tuneCost } from "../../lib/model/tune_count.ts";
import { openTuneModel } from "../../lib/model/tune_gradient.ts";
import { type Trainable, tuneLeaves } from "../../lib/model/tune_leaves.ts";
import { windowsOfItems, windowsOfTokens } from "../../lib/model/tune_text.ts";
import { modelConfig } from "../../lib/model/families.ts";
import { assertFinite } from "../assert.ts";
import { randomIds } from "./tiny.ts";
import { tinyBase } from "./tune_tiny.ts";

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads
const llama = tinyBase("llama", 3), text = windowsOfTokens(randomIds(200, 128), 12, "random ids");
const RECIPE = tuneRecipe({
  seed: 3,
  steps: 6,
  batch: 2,
  accumulate: 2,
  learningRate: 3e-3,
  schedule: "cosine",
  warmup: 2,
});
const ORIGIN = { recipe: RECIPE, trains: "wct", base: "llama OWQ 3", baseSha256: "aaaa1111", text: "t" };
const isError = (kind: string, says: RegExp) => (e: unknown) =>
  e instanceof LabError && e.kind === kind && says.test(e.message);

const losses = (curve: readonly TunePoint[]) => curve.map(({ seconds: _, ...p }) => p);

async function run(recipe: TuneRecipe, trainable?: Trainable, stop?: number) {
  const { files, ids } = await llama, model = await openTuneModel(files, trainable ?? { method: "wct", ids });
  const state = await startTuning(model, recipe.seed), curve: TunePoint[] = [];
  await runTuning({ model, text, recipe, state, curve, heldOut: text, measureEvery: 3, ...(stop ? { stop } : {}) });
  return { model, state, curve };
}

for (const method of ["wct", "lora"] as const) {
  Deno.test(
    `runTuning() of ${method} lowers the loss, and gives the same curve and values for the same seed`,
    options,
    async () => {
      const t: Trainable | undefined = method === "lora" ? { method, rank: 4, alpha: 16 } : undefined;
      const a = await run(RECIPE, t), b = await run(RECIPE, t), c = await run({ ...RECIPE, seed: 4 }, t);
      assert.deepEqual(losses(a.curve), losses(b.curve));
      assert.deepEqual(a.state, b.state);
      assert.notDeepEqual(losses(a.curve), losses(c.curve));
      assert.deepEqual(a.curve.map((p) => p.heldOut !== null), [true, false, false, true, false, false, true]);
      const [first, last] = [a.curve[0].heldOut!, a.curve[6].heldOut!];
      assert.ok(last < first - 0.02, `${first} before, ${last} after`);
      for (const x of [a, b, c]) x.model.close();
    },
  );
}

Deno.test("loadTuning() goes on bit by bit as if the run had never stopped", options, async () => {
  const path = join(await Deno.makeTempDir(), "checkpoint.safetensors"), through = await run(RECIPE);
  const part = await run(RECIPE, undefined, 2);
  await saveTuning(path, part.model.leaves, part.state, ORIGIN, part.curve);
  const state = await startTuning(part.model, 99), curve = await loadTuning(path, part.model.leaves, state, ORIGIN);
  assert.equal(state.step, 2);
  await runTuning({ model: part.model, text, recipe: RECIPE, state, curve: curve!, heldOut: text, measureEvery: 3 });
  assert.deepEqual(state, through.state);
  assert.deepEqual(losses(curve!), losses(through.curve));
  through.model.close();
  part.model.close();
});

Deno.test("loadTuning() refuses another base with both names, and whatever else differs", options, async () => {
  const path = join(await Deno.makeTempDir(), "checkpoint.safetensors"),
    { model, state } = await run(RECIPE, undefined, 1);
  await saveTuning(path, model.leaves, state, ORIGIN, []);
  const load = (o: Partial<typeof ORIGIN>) => loadTuning(path, model.leaves, state, { ...ORIGIN, ...o });
  await assert.rejects(
    load({ base: "llama OWQ 4", baseSha256: "bbbb2222" }),
    isError("resume", /the base "llama OWQ 3" \(aaaa1111\), this one is "llama OWQ 4" \(bbbb2222\)/),
  );
  await assert.rejects(load({ trains: "lora rank 4" }), isError("resume", /trains wct, not lora rank 4/));
  await assert.rejects(load({ text: "u" }), isError("resume", /another text/));
  await assert.rejects(load({ recipe: { ...RECIPE, batch: 1 } }), isError("resume", /with batch 2, not 1/));
  await assert.rejects(load({ recipe: { ...RECIPE, steps: 9 } }), isError("resume", /steps 6, not 9/)); // a cosine ends where it ends
  assert.equal(await loadTuning(`${path}.none`, model.leaves, state, ORIGIN), null);
  model.close();
});

Deno.test("tuneStep() says which step's loss is not a number, and leaves the state as it was", options, async () => {
  const { files, ids } = await llama, model = await openTuneModel(files, { method: "wct", ids });
  const state = await startTuning(model, 0);
  state.values[3].fill(3e38);
  const before = structuredClone(state) as TuneState;
  const says = /tuning step 1: the loss is NaN.*Try a lower learning rate than 0.003/;
  await assert.rejects(tuneStep({ model, text, recipe: RECIPE, state }), isError("numeric", says));
  assert.deepEqual(state, before);
  model.close();
});

Deno.test("tuneLeaves() refuses ranks and bases that do not fit, with what does", async () => {
  const { files } = await llama, c = modelConfig(files.config), [q] = c.linears;
  const ids = (n: number) => new Map([[`model.layers.0.${q.name}`, Int32Array.from({ length: n }, (_, i) => i)]]);
  assert.throws(
    () => tuneLeaves(c, { method: "lora", rank: q.in + 1, alpha: 1 }),
    isError("input", /rank: \d+ does not fit 0.self_attn/),
  );
  assert.throws(
    () => tuneLeaves(c, { method: "wct", ids: ids(q.in + 1) }),
    isError("input", /rank: \d+ columns do not fit 0.self_attn.q_proj/),
  );
  assert.throws(
    () => tuneLeaves(c, { method: "wct", ids: new Map() }),
    isError("input", /no weak columns in any linear\. Quantize with/),
  );
  assert.deepEqual(tuneLeaves(c, { method: "wct", ids: ids(2) }).map((l) => l.shape), [[q.out, 2]]);
});

Deno.test("windows of a text or of items refuse what does not fill or fit one", () => {
  assert.throws(
    () => windowsOfTokens(new Int32Array(11), 12, "essay.txt"),
    isError("input", /essay.txt: its 11 tokens fill no window of 12\. .*at most 11/),
  );
  assert.throws(
    () => windowsOfItems([{ prompt: [1, 2], answer: [3] }], 2, 0, "task"),
    isError("input", /task, item 0: its 3 tokens/),
  );
});

Deno.test("tuneCost() counts what the leaves hold, and the paper's formulas on a LLaMA block", async () => {
  const { files } = await llama,
    c = modelConfig(files.config),
    wide = { ...files.config, num_key_value_heads: c.heads };
  const full = modelConfig(wide), d = full.width, k = 3;
  const ids = new Map(
    Array.from(
      { length: full.blocks },
      (_, b) => full.linears.map((l) => [`model.layers.${b}.${l.name}`, Int32Array.of(0, 1, 2)] as const),
    ).flat(),
  );
  for (
    const [t, method] of [[{ method: "wct", ids }, "wct"], [{ method: "lora", rank: k, alpha: 1 }, "lora"]] as const
  ) {
    const cost = tuneCost(full, t, tuneLeaves(full, t), { batch: 1, length: 16, accumulate: 1 });
    assert.equal(cost.values, full.blocks * llamaBlockValues(method, d, full.ffn, k));
    assert.equal(cost.optimizerBytes, 8 * cost.values);
    assertFinite([cost.peakBytes, cost.multiplyAdds]);
  }
  assert.equal(
    (100 * 32 * llamaBlockValues("wct", 4096, 11008, 8) / (32 * llamaBlockValues("lora", 4096, 11008, 64))).toFixed(1),
    "6.8",
  );
});
