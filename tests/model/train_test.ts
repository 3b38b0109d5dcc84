import assert from "node:assert/strict";
import { join } from "node:path";
import { LabError } from "../../lib/io/errors.ts";
import { rng } from "../../lib/io/rng.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { modelConfig } from "../../lib/model/families.ts";
import { parameterShapes } from "../../lib/model/forward.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { batchStarts, openTrainer, startState, type TrainRecipe, type TrainState } from "../../lib/model/train.ts";
import { loadCheckpoint, saveCheckpoint } from "../../lib/model/train_checkpoint.ts";
import { unigramNll } from "../../lib/model/unigram.ts";
import { assertRelative } from "../assert.ts";

const RECIPE: TrainRecipe = {
  seed: 7,
  config: {
    model_type: "llama",
    vocab_size: 32,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 16,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  },
  tokensPerStep: 64,
  lengthBefore: 8,
  lengthInDecay: 16,
  steps: 12,
  warmup: 2,
  decay: 4,
  learningRate: 0.02,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 1,
  outlierStage: null,
};
const config = modelConfig(RECIPE.config), shapes = parameterShapes(config);

/** A text with something to learn: each token is followed by one of two. */
function text(length: number): Int32Array<ArrayBuffer> {
  const random = rng(3, "text"), ids = new Int32Array(length);
  for (let i = 1; i < length; i++) ids[i] = (3 * ids[i - 1] + 5 + random.int(2)) % 32;
  return ids;
}

async function run(state: TrainState, steps: number, recipe = RECIPE): Promise<number[]> {
  const trainer = await openTrainer(recipe, text(2000)), losses: number[] = [];
  while (state.step < steps) losses.push((await trainer.step(state)).loss);
  return losses;
}

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads

Deno.test("openTrainer() lowers the loss below the unigram's when the text has structure", options, async () => {
  const state = startState(config, 7), losses = await run(state, 60, { ...RECIPE, steps: 60 });
  const ids = text(2000), unigram = unigramNll(ids, ids, 32);
  assert.ok(Math.abs(losses[0] - Math.log(32)) < 0.3, `the first loss is ${losses[0]}, chance is ${Math.log(32)}`);
  assert.ok(losses[59] < 0.6 * unigram, `${losses[59]} after 60 steps, the unigram has ${unigram}`);
});

Deno.test(
  "openTrainer() follows the gradient that differences of the loss show when it makes a step",
  options,
  async () => {
    const trainer = await openTrainer({ ...RECIPE, clip: Infinity }, text(2000)), state = startState(config, 7);
    state.weights[0].forEach((x, i, w) => w[i] = 20 * x); // so far from zero that the loss is straight around it
    const start = structuredClone(state), windows = batchStarts(2000, 7, 8, 0, 8);
    await trainer.step(state); // from zero moments: mean = (1 − β₁) · gradient
    for (const [i, name] of [...shapes.keys()].entries()) {
      const gradient = state.mean[i].map((m) => m / (1 - RECIPE.beta1));
      const at = gradient.reduce((best, g, k) => Math.abs(g) > Math.abs(gradient[best]) ? k : best, 0);
      const lossAt = async (change: number) => {
        const moved = structuredClone(start);
        moved.weights[i][at] += change;
        return await trainer.measure(moved, text(2000), windows, 8);
      };
      const slope = (await lossAt(4e-3) - await lossAt(-4e-3)) / 8e-3;
      assertRelative(gradient[at], slope, 0.02, `${name}[${at}]`);
    }
  },
);

Deno.test("openTrainer() gives the same curve bit by bit when the seed is the same", options, async () => {
  const a = startState(config, 7), b = startState(config, 7);
  assert.deepEqual(await run(a, 12), await run(b, 12));
  assert.deepEqual(a.weights, b.weights);
  assert.notDeepEqual(startState(config, 8).weights, startState(config, 7).weights);
});

Deno.test(
  "loadCheckpoint() goes on bit by bit when a run was stopped on the plateau or in the decay",
  options,
  async () => {
    const folder = await Deno.makeTempDir(), path = join(folder, "c.safetensors");
    const whole = startState(config, 7), losses = await run(whole, 12);
    for (const stop of [3, 10]) {
      const first = startState(config, 7);
      assert.deepEqual(await run(first, stop), losses.slice(0, stop));
      const curve = [{ step: stop, trainLoss: 1 / 3, heldOutLoss: null, seconds: 1 }];
      await saveCheckpoint(path, shapes, first, { recipe: RECIPE, text: "t", curve, seconds: 5 });
      const again = startState(config, 99), found = await loadCheckpoint(path, shapes, again, RECIPE, "t");
      assert.deepEqual(found, { curve, seconds: 5 });
      assert.deepEqual(await run(again, 12), losses.slice(stop));
      assert.deepEqual(again.weights, whole.weights);
    }
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "openTrainer() keeps the function when its outlier stage makes channels loud, and resumes inside it",
  options,
  async () => {
    const stage = { step: 12, learningRate: 0.001, warmup: 1, share: 0.1, factor: 16 };
    const recipe = { ...RECIPE, steps: 18, outlierStage: stage }, trainer = await openTrainer(recipe, text(2000));
    const state = startState(config, 7), losses = await run(state, 12, recipe), before = structuredClone(state);
    assert.deepEqual(losses, await run(startState(config, 7), 12), "the stage changes nothing before it begins");
    const windows = batchStarts(2000, 7, 16, 4 * 4, 4); // 4 steps of the decay have read 4 windows each
    const { loss } = await trainer.step(state);
    assertRelative(loss, await trainer.measure(before, text(2000), windows, 16), 1e-6, "loss");
    const names = [...shapes.keys()], norm = names.indexOf("model.layers.0.input_layernorm.weight");
    const ratios = [...state.weights[norm]].map((w, i) => w / before.weights[norm][i]);
    assert.equal(ratios.filter((r) => Math.abs(r - 16) < 0.1).length, 2);
    assert.equal(ratios.filter((r) => Math.abs(r - 1) < 0.1).length, 14);

    const rest = await run(state, 18, recipe), path = await Deno.makeTempFile();
    await saveCheckpoint(path, shapes, before, { recipe, text: "t", curve: [], seconds: 0 }); // just before the stage
    const again = startState(config, 9);
    await loadCheckpoint(path, shapes, again, recipe, "t");
    assert.deepEqual((await run(again, 18, recipe)).slice(1), rest);
    assert.deepEqual(again.weights, state.weights);
    await Deno.remove(path);
  },
);

Deno.test("loadCheckpoint() names the field when the recipe is another, and lets a plateau be longer", async () => {
  const folder = await Deno.makeTempDir(), path = join(folder, "c.safetensors"), state = startState(config, 7);
  const load = (recipe: TrainRecipe, hash = "t") => loadCheckpoint(path, shapes, startState(config, 7), recipe, hash);
  assert.equal(await load(RECIPE), null);
  state.step = 8;
  await saveCheckpoint(path, shapes, state, { recipe: RECIPE, text: "t", curve: [], seconds: 0 });
  await assert.rejects(() => load({ ...RECIPE, learningRate: 0.01 }), (e: LabError) => {
    assert.equal(e.kind, "resume");
    assert.match(e.message, /learningRate 0\.02, not 0\.01/);
    return true;
  });
  await assert.rejects(() => load(RECIPE, "other"), /another text/);
  assert.notEqual(await load({ ...RECIPE, steps: 100 }), null);
  state.step = 9; // the decay has begun
  await saveCheckpoint(path, shapes, state, { recipe: RECIPE, text: "t", curve: [], seconds: 0 });
  await assert.rejects(() => load({ ...RECIPE, steps: 100 }), /steps 12, not 100/);
  await Deno.remove(folder, { recursive: true });
});

Deno.test(
  "openTrainer() measures the loss that the streamed model computes when both have the same weights",
  options,
  async () => {
    const folder = await Deno.makeTempDir(), path = join(folder, "model.safetensors"), ids = text(2000);
    const state = startState(config, 7);
    await run(state, 12);
    const tensors = [...shapes].map(([name, shape], i) => ({ name, dtype: "F32", shape, data: state.weights[i] }));
    await writeSafetensors(path, tensors);
    const source = openSafetensors(path),
      model = await openLanguageModel({ label: "tiny", config: RECIPE.config, source });
    let hidden = await model.embed(ids.subarray(0, 5 * 16), 5, 16);
    for (let i = 0; i < model.blocks; i++) {
      const block = await model.openBlock(i);
      hidden = await block.forward(hidden);
      block.close();
    }
    const nll = await model.scoreHidden(hidden, ids.subarray(0, 5 * 16)), trainer = await openTrainer(RECIPE, ids);
    const measured = await trainer.measure(state, ids, [0, 16, 32, 48, 64], 15);
    assertRelative(measured, nll.reduce((a, b) => a + b) / nll.length, 1e-5, "loss");
    model.close();
    source.close();
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test("batchStarts() visits every window once a pass when it is asked for pieces", () => {
  const all = batchStarts(1000, 1, 10, 0, 98),
    pieces = [0, 1, 2, 3].flatMap((i) => batchStarts(1000, 1, 10, 24 * i, 24));
  assert.deepEqual(pieces, all.slice(0, 96));
  assert.equal(new Set(all).size, 98);
  assert.ok(all.every((s) => s >= 0 && s + 10 < 1000));
  assert.notDeepEqual(batchStarts(1000, 1, 10, 98, 98), all);
});

Deno.test("openTrainer() refuses when windows do not fill a step or the text is short", options, async () => {
  await assert.rejects(() => openTrainer({ ...RECIPE, tokensPerStep: 60 }, text(2000)), /no multiple of windows of 8/);
  await assert.rejects(() => openTrainer(RECIPE, text(40)), /fewer than three windows/);
});
