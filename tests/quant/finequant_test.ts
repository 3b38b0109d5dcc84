import assert from "node:assert/strict";
import { adaptiveGroup, meanRange } from "../../lib/quant/finequant.ts";
import { randomMatrix } from "./problems.ts";

Deno.test("adaptiveGroup() makes groups fine only in the matrix with an outlier", () => {
  const calm = { data: new Float32Array(16 * 128), rows: 16, cols: 128 };
  const noise = randomMatrix(16, 128, 1);
  calm.data.set(noise.data.map((v) => Math.sign(v) * (0.8 + 0.2 * Math.abs(Math.tanh(v)))));
  const loud = { ...calm, data: calm.data.slice() };
  for (let r = 0; r < 16; r++) loud.data[r * 128 + 7 * r] *= 50;
  assert.equal(adaptiveGroup(calm, 0.9, 16), 128);
  assert.equal(adaptiveGroup(loud, 0.9, 16), 16);
  assert.equal(adaptiveGroup(loud, 0.9, 64), 64);
});

Deno.test("meanRange() never grows when groups are halved, a last short group included", () => {
  const w = randomMatrix(8, 100, 2), ranges = [100, 50, 25, 13, 7].map((g) => meanRange(w, g));
  for (let i = 1; i < ranges.length; i++) assert(ranges[i] < ranges[i - 1]);
  assert.equal(meanRange({ data: Float32Array.of(1, -3, 2), rows: 1, cols: 3 }, 2), 2.5);
});
