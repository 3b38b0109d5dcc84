import assert from "node:assert/strict";
import { adamwStep, clipByNorm, warmPlateauDecay } from "../../lib/model/adamw.ts";
import { assertWithin } from "../assert.ts";

Deno.test("adamwStep() equals the values worked out by hand when it makes two steps", () => {
  const w = Float32Array.of(1, -2), m = new Float32Array(2), v = new Float32Array(2);
  const o = { learningRate: 0.1, beta1: 0.5, beta2: 0.75, epsilon: 0.5, weightDecay: 0.25 };
  // Step 1: m = g/2, v = g²/4; m̂ = g, v̂ = g². g = (2, 0): w = 1 − 0.1·(2/2.5 + 0.25), −2 + 0.1·0.5.
  adamwStep(w, Float32Array.of(2, 0), m, v, 1, o);
  assertWithin(m, [1, 0], 0);
  assertWithin(v, [1, 0], 0);
  assertWithin(w, [0.895, -1.95], 1e-7);
  // Step 2, g = (−1, 4): m = (0, 2), v = (1, 4); 1 − β₁² = 0.75, 1 − β₂² = 0.4375.
  adamwStep(w, Float32Array.of(-1, 4), m, v, 2, o);
  assertWithin(m, [0, 2], 0);
  assertWithin(v, [1, 4], 0);
  const second = (2 / 0.75) / (Math.sqrt(4 / 0.4375) + 0.5);
  assertWithin(w, [0.895 - 0.1 * 0.25 * 0.895, -1.95 - 0.1 * (second - 0.25 * 1.95)], 1e-7);
});

Deno.test("clipByNorm() leaves gradients alone when their norm is within the limit", () => {
  const g = [Float32Array.of(3, 0), Float32Array.of(-4)];
  assert.equal(clipByNorm(g, 8), 5);
  assert.deepEqual(g, [Float32Array.of(3, 0), Float32Array.of(-4)]);
  assert.equal(clipByNorm(g, 1), 5);
  assertWithin([...g[0], ...g[1]], [0.6, 0, -0.8], 1e-7);
});

Deno.test("warmPlateauDecay() does not see the end when a step lies on the plateau", () => {
  const short = { steps: 100, warmup: 10, decay: 20 }, long = { ...short, steps: 1000 };
  for (let step = 0; step < 80; step++) assert.equal(warmPlateauDecay(step, short), warmPlateauDecay(step, long));
  assert.equal(warmPlateauDecay(99, short), 1 / 20);
  assert.ok(warmPlateauDecay(81, short) < 1);
});
