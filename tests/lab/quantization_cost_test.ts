import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { fitLayers, modelSeconds, predictedSeconds, stageSentence, weakShare } from "../../lib/lab/cost_figures.ts";
import { LAYER_STAGES, type LayerCost, layerCost, operationsOf, totalSeconds } from "../../lib/lab/cost_study.ts";
import { openExperiment } from "../../lib/lab/experiment.ts";
import {
  blockForward,
  blockGram,
  fitCost,
  layerOperations,
  modelOperations,
  modelStorage,
  paperModels,
} from "../../lib/lab/quantization_cost.ts";
import { makeRecipe } from "../../lib/lab/recipe.ts";
import { assertFinite, assertRelative } from "../assert.ts";

Deno.test("layerOperations() counts what loops over a layer do, to the lower powers of its size", () => {
  const out = 7, width = 60;
  let sweep = 0, factor = 0;
  for (let j = 0; j < width; j++) {
    for (let r = 0; r < out; r++) for (let k = j + 1; k < width; k++) sweep++; // each error goes to all later columns
    for (let i = j + 1; i < width; i++) for (let k = i; k < width; k++) factor++; // and one triangle of outer products
  }
  const counted = layerOperations(out, width);
  assertRelative(counted.sweep, sweep, 0.05, "sweep");
  assertRelative(counted.factor, factor, 0.05, "factor");
  assert.equal(counted.search / counted.sensitivity, 2.5);
});

Deno.test("paperModels() have as many weights as their names say, and more text means more reading alone", () => {
  for (const [[name, c], billions] of [...paperModels()].map((m, i) => [m, [6.5, 65, 174][i]] as const)) {
    assertRelative(c.blocks * c.linears.reduce((a, l) => a + l.out * l.in, 0), billions * 1e9, 0.01, name);
  }
  const llama = paperModels().get("LLaMA-7B")!, [one, two] = [1, 2].map((n) => modelOperations(llama, 2048 * n, 2048));
  assert.deepEqual([two.forward, two.gram, two.search], [2 * one.forward, 2 * one.gram, one.search]);
  assert.equal(one.forward, 32 * 2 * blockForward(llama, 2048, 2048));
  assert.equal(blockGram(llama, 2), 3 * 4096 ** 2 + 11008 ** 2); // attention, output and MLP inputs, and down's
});

Deno.test("modelStorage() is what the plan of a run says", async () => {
  const texts = { text: "moby-dick", samples: 1, seqLen: 32 };
  const x = await openExperiment(makeRecipe({ bits: 3.2, calibration: texts, evaluation: texts }));
  try {
    const s = modelStorage(x.model.config, 3.2, 32);
    assert.deepEqual(s.stored, x.plan.stored);
    assert.equal(s.weakColumns, x.plan.blocks.flat().reduce((a, p) => a + p.weakColumns, 0));
  } finally {
    x.close();
  }
  const [small, large] = [3.01, 3.1].map((t) => weakShare(paperModels().get("OPT-66B")!, t));
  assert(small > 0.0033 && small < 0.005 && large > 9 * small && large < 11 * small, `${small} ${large}`);
});

Deno.test("fitCost() finds cost and rate from noisy times, and never a cost below zero", () => {
  const noisy = [1e6, 8e6, 64e6, 512e6].map((operations, i) => ({
    operations,
    seconds: (0.01 + operations / 2e9) * [1.05, 0.95, 1.04, 0.97][i],
  }));
  const fit = fitCost(noisy);
  assertRelative(fit.fixed, 0.01, 0.15, "fixed");
  assertRelative(1 / fit.perOperation, 2e9, 0.1, "rate");
  const steep = fitCost([{ operations: 1, seconds: 1 }, { operations: 10, seconds: 20 }]);
  assert.equal(steep.fixed, 0);
  assert(steep.perOperation > 1 && steep.perOperation < 2);
  assert.throws(() => fitCost(noisy.slice(1, 2)), /a fit of 1 points/);
});

Deno.test("predictedSeconds() of the layers that were fitted is their time, and modelSeconds() adds up its layers", () => {
  const rates = { sensitivity: 1e9, search: 2e9, factor: 3e9, sweep: 4e9, objective: 6e8 };
  const costs = [100, 200, 400].map((n) => {
    const counts = operationsOf({ out: n, in: n } as LayerCost, 3);
    const seconds = Object.fromEntries(LAYER_STAGES.map((s) => [s, 0.002 + counts[s] / rates[s]]));
    return { name: "", out: n, in: n, seconds } as unknown as LayerCost;
  });
  assert.match(stageSentence(costs), /of 100 columns goes to search .*of 400 columns to objective \(\d+ %\)\./);
  const fits = fitLayers(costs, 3), llama = paperModels().get("LLaMA-7B")!;
  for (const c of costs) assertRelative(predictedSeconds(fits, c, 3), totalSeconds(c), 1e-9, `${c.in}`);
  const whole = modelSeconds(llama, 2048, 2048, fits, { forward: 1e-9, gram: 2e-9 });
  const layers = llama.blocks * llama.linears.reduce((a, l) => a + predictedSeconds(fits, l, 3), 0);
  assertRelative(LAYER_STAGES.reduce((a, s) => a + whole[s], 0), layers, 1e-9, "the layers' share");
  assertRelative(whole.gram, 32 * blockGram(llama, 2048) * 2e-9, 1e-12, "second moments");
});

Deno.test("layerCost() times every stage of a layer", async () => {
  const kernels = await openKernels("cpu"),
    weight = { data: Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)), rows: 8, cols: 8 };
  const hessian = { data: Float32Array.from({ length: 64 }, (_, i) => i % 9 === 0 ? 2 : 0.1), rows: 8, cols: 8 };
  const cost = await layerCost({ name: "doc", weight, hessian, seed: 0 }, 3, 2, kernels, 1);
  kernels.close();
  assert.deepEqual([cost.out, cost.in, Object.keys(cost.seconds)], [8, 8, [...LAYER_STAGES]]);
  assertFinite(Object.values(cost.seconds), "seconds");
  assert(Object.values(cost.seconds).every((s) => s > 0));
});
