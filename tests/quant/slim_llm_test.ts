import assert from "node:assert/strict";
import { type Matrix, matrix } from "../../lib/io/tensor.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { SLIM_LLM } from "../../lib/methods/slim_llm.ts";
import { storedBits } from "../../lib/quant/budget.ts";
import { HessianMean, objective } from "../../lib/quant/hessian.ts";
import {
  bestTrade,
  searchSalience,
  searchTrades,
  SLIM_DEFAULTS,
  slimLlm,
  tradedBits,
} from "../../lib/quant/slim_llm.ts";
import { applyMixedGrid, mixedGridStore } from "../../lib/quant/stores/mixed_grid.ts";
import { assertRelative, assertWithin } from "../assert.ts";
import { randomMatrix } from "./problems.ts";

const inputs = randomMatrix(200, 64, 1, "inputs");
for (let t = 0; t < 200; t++) for (const j of [5, 7, 37]) inputs.data[t * 64 + j] *= 12;
const weight = randomMatrix(32, 64, 1, "weight"), mean = new HessianMean(64, "test");
for (let i = 0; i < weight.data.length; i++) weight.data[i] *= 0.05;
mean.add(inputs);
const h = mean.value(), o = { ...SLIM_DEFAULTS, groupSize: 8, startSymmetric: false };

function lost(a: Matrix): number {
  return objective({ ...weight, data: a.data.map((v, i) => v - weight.data[i]) }, h);
}

Deno.test("slimLlm() with the trade that its search chooses loses less than without, with loud channels", () => {
  const scores = searchTrades(weight, inputs, searchSalience(weight, h, 8), o, 0), trade = bestTrade(scores, 0);
  assert(trade > 0 && scores[trade] < scores[0], `${scores}`);
  assert(lost(slimLlm(weight, h, trade, o).approximation) < 0.7 * lost(slimLlm(weight, h, 0, o).approximation));
});

Deno.test("searchTrades() gives for each trade what a whole product with that Ŵ gives", () => {
  const salience = searchSalience(weight, h, 8), scores = searchTrades(weight, inputs, salience, o, 0);
  // A ranking that already has the trade in it: its first score needs no step from an earlier one.
  for (let t = 1; t < scores.length; t++) {
    assertRelative(searchTrades(weight, inputs, salience, o, t)[0], scores[t], 1e-7);
  }
});

Deno.test("tradedBits() takes as many bits as it gives", () => {
  const bits = tradedBits([5, 1, 2, 9, 7, 3, 8, 4], 3, 3);
  assert.equal(bits.reduce((a, b) => a + b, 0), 24);
  assert.deepEqual([...bits], [3, 2, 2, 4, 4, 2, 4, 3]);
});

Deno.test("slimLlm() searches ranges that lose less than min and max alone", () => {
  const plain = slimLlm(weight, h, 0, { ...o, bits: 3, steps: 0 }), searched = slimLlm(weight, h, 0, { ...o, bits: 3 });
  assert(searched.loss < plain.loss);
});

Deno.test("store mixed-grid gives back exactly what the sweep rounded to, at each width and with a short last group", () => {
  for (const bits of [2, 3]) {
    const size = 10, found = slimLlm(weight, h, 2, { ...o, bits, groupSize: size, scaleBits: 16 }), w = matrix(32, 64);
    applyMixedGrid(w, mixedGridStore({ rows: 32, cols: 64, base: bits, groupSize: size }, found));
    assertWithin(w.data, found.approximation.data, 1e-6, `${bits} bits`);
  }
});

Deno.test("slim-llm foretells no less than it stores, also with a short last group", async () => {
  const kernels = await openKernels("cpu"), problem = { name: "test", weight, hessian: h, inputs, seed: 1 };
  for (const bits of [2, 3]) {
    for (const groupSize of [7, 8, 10, 30, 64]) {
      const options = { ...SLIM_LLM.defaults, groupSize, steps: 2 };
      const layer = await SLIM_LLM.quantizeLayer(problem, options, bits, 0, { kernels });
      const foretold = SLIM_LLM.stored({ rows: 32, cols: 64 }, options, bits, 0);
      assert(storedBits(layer).perWeight <= foretold.perWeight, `${bits} bits in groups of ${groupSize}`);
    }
  }
});
