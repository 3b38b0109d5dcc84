import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { findMethod } from "../../lib/methods/table.ts";
import { storedBits } from "../../lib/quant/budget.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { weakIdsOf } from "../../lib/quant/layer.ts";
import { compensateColumns } from "../../lib/quant/weak_columns.ts";
import { randomProblem } from "../quant/problems.ts";

const context = { kernels: await openKernels("cpu") }, p = randomProblem(40, 64, { outliers: [3, 40] });
const loss = (w: typeof p.weight) => objective({ ...w, data: w.data.map((v, i) => v - p.weight.data[i]) }, p.hessian!);

for (const name of ["hqq", "nf4", "finequant", "adadim", "lorc"]) {
  Deno.test(`${name} with weak columns keeps those that meet outliers, and loses much less`, async () => {
    const m = findMethod(name), errors: number[] = [];
    for (const weak of [0, 2, 6]) {
      const o = { ...m.defaults, groupSize: 32, weak }, layer = await m.quantizeLayer(p, o, 3, 0, context);
      errors.push(loss(dequantize(layer)));
      assert.equal(weakIdsOf(layer).length, weak);
      if (weak === 2) assert.deepEqual([...weakIdsOf(layer)], [3, 40]);
      const planned = m.stored({ rows: 40, cols: 64 }, o, 3, 0);
      if (m.storedExactly !== false) assert.equal(storedBits(layer).perWeight, planned.perWeight);
    }
    assert(errors[1] < 0.6 * errors[0] && errors[2] < errors[1], `${errors}`);
  });
}

Deno.test("compensateColumns() leaves no gradient in the weak columns, so nothing else in them would be better", () => {
  const rounded = { ...p.weight, data: p.weight.data.map(Math.round) }, ids = Int32Array.of(3, 17, 40);
  const found = compensateColumns(p.weight, rounded, p.hessian!, ids, 0),
    best = { ...rounded, data: rounded.data.slice() };
  for (let r = 0; r < 40; r++) for (const j of ids) best.data[r * 64 + j] = found.data[r * 64 + j];
  const least = loss(best);
  for (const [r, j] of [[0, 3], [20, 17], [39, 40]]) {
    for (const step of [-0.05, 0.05]) {
      const moved = { ...best, data: best.data.slice() };
      moved.data[r * 64 + j] += step;
      assert(loss(moved) > least);
    }
  }
});

Deno.test("a method with weak columns says that it lacks second moments", async () => {
  const m = findMethod("hqq"), o = { ...m.defaults, groupSize: 32, weak: 2 };
  await assert.rejects(m.quantizeLayer({ ...p, hessian: null }, o, 3, 0, context), /has no hessian/);
});
