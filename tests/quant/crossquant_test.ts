import assert from "node:assert/strict";
import { crossQuantize } from "../../lib/quant/crossquant.ts";
import { onGroupGrid } from "../../lib/quant/group_grid.ts";
import { randomMatrix } from "./problems.ts";

const x = randomMatrix(60, 40, 1);
for (let t = 0; t < 60; t++) for (const j of [3, 20]) x.data[t * 40 + j] *= 40;
/** Over the quiet channels: the loud ones pay for them, at least where steps are coarse. */
const error = (a: Float32Array) => a.reduce((s, v, i) => [3, 20].includes(i % 40) ? s : s + (v - x.data[i]) ** 2, 0);

Deno.test("crossQuantize() at α = 1 is the usual signed grid of each token", () => {
  const token = onGroupGrid(x, { bits: 8, groupSize: 0, axis: "in", rule: "absmax" });
  const ours = crossQuantize(x, 8, 1).values;
  ours.data.forEach((v, i) => assert(Math.abs(v - token.data[i]) < 1e-5 * Math.abs(v) + 1e-6));
});

Deno.test("crossQuantize() lets more vanish and errs more in quiet channels, the nearer α is to 1", () => {
  for (const bits of [8, 4]) {
    const at = [0.15, 0.4, 0.7, 1].map((alpha) => crossQuantize(x, bits, alpha));
    for (let i = 1; i < 4; i++) {
      assert(at[i].vanished > at[i - 1].vanished);
      assert(error(at[i].values.data) > error(at[i - 1].values.data));
    }
    assert.equal(at[3].vanished, x.data.filter((v, i) => v !== 0 && at[3].values.data[i] === 0).length / x.data.length);
  }
});

Deno.test("crossQuantize() takes channels of a calibration text, clamps what is beyond, and keeps zeros", () => {
  const y = crossQuantize({ data: Float32Array.of(10, 0, 0, 0), rows: 2, cols: 2 }, 8, 0, [1, 1]);
  assert.deepEqual([...y.values.data], [1, 0, 0, 0]);
  assert.equal(y.vanished, 0);
});
