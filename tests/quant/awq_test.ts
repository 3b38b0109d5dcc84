import assert from "node:assert/strict";
import { awqScaleAt, clipGroups, roundScaled, searchAwqScale, searchClip } from "../../lib/quant/awq.ts";
import { type GroupGridOptions, onGroupGrid } from "../../lib/quant/group_grid.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { channelSize, columnMax, scaleColumns, smoothScale } from "../../lib/quant/smooth.ts";
import { randomMatrix, randomProblem } from "./problems.ts";

const o: GroupGridOptions = { bits: 3, groupSize: 16, axis: "in", rule: "range" };
const { weight, hessian } = randomProblem(24, 64, { outliers: [3, 40] }), h = hessian!;
const act = Float32Array.from({ length: 64 }, (_, j) => Math.sqrt(h.data[j * 65]));
const loss = (m: typeof weight) => objective({ ...m, data: m.data.map((v, i) => v - weight.data[i]) }, h);

Deno.test("searchAwqScale() begins with plain rounding, ends between the extremes, and never loses to it", async () => {
  const found = await searchAwqScale(act, 20, (s) => Promise.resolve(loss(roundScaled(weight, s, o))));
  const plain = loss(onGroupGrid(weight, o));
  assert.equal(found.losses[0], plain);
  assert(found.ratio > 0.1 && found.ratio < 0.9, `ratio ${found.ratio}`);
  assert(Math.min(...found.losses) < 0.7 * plain);
  assert.equal(found.losses.indexOf(Math.min(...found.losses)) / 20, found.ratio);
  const s = awqScaleAt(act, 0.5);
  assert(Math.abs(Math.max(...s) * Math.min(...s) - 1) < 1e-5);
});

Deno.test("searchClip() finds for each group the bound that a search over whole outputs finds", () => {
  const clip = { ...o, bits: 2, steps: 20, shrink: 0.5 }, bounds = searchClip(weight, h, clip);
  const alone = (r: number, g: number, c: number) => { // the error of one group of one row, over all of H
    const all = bounds.map(() => Infinity);
    all[r * 4 + g] = c;
    const q = onGroupGrid(clipGroups(weight, all, 16), clip), d = q.data.map((v, i) => v - weight.data[i]);
    for (let i = 0; i < d.length; i++) if (Math.floor(i / 16) !== r * 4 + g) d[i] = 0;
    return objective({ ...weight, data: d }, h);
  };
  for (const [r, g] of [[0, 0], [5, 2], [23, 3]]) {
    const most = Math.max(...weight.data.subarray(r * 64 + g * 16, r * 64 + g * 16 + 16).map(Math.abs));
    const tried = Array.from({ length: 10 }, (_, i) => alone(r, g, Math.fround(most * Math.fround(1 - i / 20))));
    const best = Math.min(...tried);
    assert(Math.abs(alone(r, g, bounds[r * 4 + g]) / best - 1) < 1e-5, `row ${r}, group ${g}`);
  }
  assert(loss(onGroupGrid(clipGroups(weight, bounds, 16), clip)) < 1.02 * loss(onGroupGrid(weight, clip)));
});

Deno.test("smoothScale() moves range from the inputs to the weights and leaves the output as it is", () => {
  const x = randomMatrix(50, 64, 3), s = smoothScale(channelSize(x, "max"), columnMax(weight), 0.5, 0.5);
  for (const j of [0, 17]) { // at α = ½ both sides end with the same range
    const a = channelSize(scaleColumns(x, s, true), "max")[j], b = columnMax(scaleColumns(weight, s))[j];
    assert(Math.abs(a / b - 1) < 1e-5);
  }
  const again = scaleColumns(scaleColumns(weight, s), s, true).data;
  for (let i = 0; i < again.length; i++) assert(Math.abs(again[i] - weight.data[i]) <= 1e-6 * Math.abs(weight.data[i]));
  assert.deepEqual([...smoothScale([0, 1], [0, 0], 1, 0)], [Math.fround(1e-5), 1]);
});

Deno.test("groupGrid() along the outputs is groupGrid() along the inputs of the transpose", () => {
  const t = { data: new Float32Array(weight.data.length), rows: 64, cols: 24 };
  for (let r = 0; r < 24; r++) for (let j = 0; j < 64; j++) t.data[j * 24 + r] = weight.data[r * 64 + j];
  for (const rule of ["range", "absmax"] as const) {
    const a = onGroupGrid(weight, { ...o, axis: "out", groupSize: 8, rule }),
      b = onGroupGrid(t, { ...o, groupSize: 8, rule });
    for (let r = 0; r < 24; r++) for (let j = 0; j < 64; j++) assert.equal(a.data[r * 64 + j], b.data[j * 24 + r]);
  }
});
