import assert from "node:assert/strict";
import { levelsForWords } from "../../lib/methods/baq.ts";
import { baq, BAQ_DEFAULTS, levelsOf, lossGain } from "../../lib/quant/baq.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { applyRadix, radixStore, radixWords } from "../../lib/quant/stores/radix.ts";
import { type Matrix, matrix } from "../../lib/io/tensor.ts";
import { rng } from "../../lib/io/rng.ts";
import { assertWithin } from "../assert.ts";
import { randomProblem } from "./problems.ts";

const { weight, hessian } = randomProblem(48, 64, { outliers: [5, 30] }), h = hessian!;

function lost(approximation: Matrix, from: Matrix = weight): number {
  return objective({ ...from, data: approximation.data.map((v, i) => v - from.data[i]) }, h);
}

Deno.test("baq() makes all columns lose about the same, at the same mean rate, and the layer less", () => {
  const found = baq(weight, h, { ...BAQ_DEFAULTS, bits: 3 });
  const rate = found.levels.reduce((a, l) => a + Math.log2(l), 0) / 64;
  assert(Math.abs(rate - 3) < 0.05, `mean rate ${rate}`);
  assert(lossGain(found.first.loss) < 0.6 && lossGain(found.loss) > 0.85, `${lossGain(found.first.loss)} before`);
  assert(lost(found.approximation) < 0.6 * lost(found.first.approximation));
  assert(found.levels[5] > found.levels[6] && found.levels[30] > found.levels[31], "loud columns get more levels");
});

Deno.test("baq() hardly moves a level where all columns lose the same", () => {
  const flat = { data: new Float32Array(64 * 64), rows: 64, cols: 64 };
  for (let j = 0; j < 64; j++) flat.data[j * 65] = 1;
  const { levels } = baq(weight, flat, { ...BAQ_DEFAULTS, bits: 3 });
  assert(levels.every((l) => l >= 6 && l <= 10), `${levels}`);
});

Deno.test("baq() leaves a column that nothing flows through at 0, and out of the rows' ranges", () => {
  const dead = randomProblem(16, 32, { dead: [7] });
  for (let r = 0; r < 16; r++) dead.weight.data[r * 32 + 7] = 50;
  const { approximation, range } = baq(dead.weight, dead.hessian!, BAQ_DEFAULTS);
  assert(range.max.every((v) => v < 10));
  for (let r = 0; r < 16; r++) assert.equal(approximation.data[r * 32 + 7], 0);
});

Deno.test("levelsOf() answers to the rate bit by bit", () => {
  const loss = Float64Array.from({ length: 40 }, (_, j) => 1 + j);
  const low = levelsOf(loss, 3, BAQ_DEFAULTS), high = levelsOf(loss, 4, BAQ_DEFAULTS);
  low.forEach((l, j) => assert(Math.abs(high[j] - 2 * l) <= 1));
});

Deno.test("radixWords() wastes next to nothing, and levelsForWords() fills what there is", () => {
  const stream = rng(3, "levels"), levels = Int32Array.from({ length: 300 }, () => 1 + stream.int(40));
  const bits = levels.reduce((a, l) => a + Math.log2(l), 0), words = radixWords(levels);
  assert(words.length * 24 < bits * 1.02 + 24, `${words.length * 24} bits for ${bits}`);
  assert(words.every((w) => w.reduce((p, j) => p * levels[j], 1) <= 2 ** 24));
  const loss = Float64Array.from({ length: 200 }, () => Math.exp(2 * stream.normal()));
  for (const n of [9, 20, 33]) {
    const found = levelsForWords(loss, n, 1.95), used = found.reduce((a, l) => a + Math.log2(l), 0);
    assert(radixWords(found).length <= n && used > 0.95 * 24 * n, `${used} bits in ${n} words`);
  }
});

Deno.test("store radix gives back exactly what the sweep rounded to", () => {
  const found = baq(weight, h, { ...BAQ_DEFAULTS, scaleBits: 16, mostLevels: 256 }), w = matrix(48, 64);
  applyRadix(w, radixStore({ rows: 48, cols: 64, words: 40 }, { ...found, ...found.range }));
  assertWithin(w.data, found.approximation.data, 1e-6, "weights");
});
