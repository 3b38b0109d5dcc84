import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { chooseDimension, roundDimension, sweepColumnsGroups, sweepRowGroups } from "../../lib/quant/adadim.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { randomProblem } from "./problems.ts";

const context = { kernels: await openKernels("cpu") };
const o = { bits: 3, groupSize: 16, damp: 0.01, actOrder: true, scaleBits: 32 } as const;
const p = randomProblem(32, 48, { outliers: [5, 30] }), h = p.hessian!;
/** W with columns of very different size: groups along the inputs then mix large and small. */
const uneven = { ...p.weight, data: p.weight.data.map((v, i) => v * 3 ** ((i % 48) % 4 - 2)) };
const loss = (w: typeof p.weight, q: typeof p.weight) =>
  objective({ ...w, data: q.data.map((v, i) => v - w.data[i]) }, h);

Deno.test("chooseDimension() takes the one that loses less, columns of uneven size speak for groups inside columns", () => {
  for (const w of [p.weight, uneven]) {
    const { dimension, errors } = chooseDimension(w, h, o);
    assert.equal(errors[dimension], Math.min(errors.oc, errors.ic));
    assert.equal(loss(w, roundDimension(w, o, dimension)), errors[dimension]);
  }
  assert.equal(chooseDimension(uneven, h, o).dimension, "ic");
  const none = { ...p.weight, data: new Float32Array(32 * 48) };
  assert.equal(chooseDimension(none, h, o).dimension, "oc");
});

Deno.test("sweepColumnsGroups() loses much less than plain rounding in its dimension, in any order of work", () => {
  const plain = loss(uneven, roundDimension(uneven, o, "ic"));
  for (const [actOrder, most] of [[true, 0.5], [false, 0.8]] as const) {
    const swept = sweepColumnsGroups(uneven, h, { ...o, actOrder }), share = loss(uneven, swept.approximation) / plain;
    assert(share < most, `${share} with act-order ${actOrder}`);
  }
  const whole = sweepColumnsGroups(uneven, h, { ...o, groupSize: 0 });
  assert.equal(whole.scale.length, 48);
});

Deno.test("sweepRowGroups() loses much less than plain rounding in its dimension", async () => {
  const { approximation } = await sweepRowGroups(p, o, context);
  assert(loss(p.weight, approximation) < 0.5 * loss(p.weight, roundDimension(p.weight, o, "oc")));
});
