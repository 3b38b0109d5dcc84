import assert from "node:assert/strict";
import { type Matrix, matrix } from "../../lib/io/tensor.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { columnsCarrying, gini, lorenz, overlap, topShare } from "../../lib/lab/concentration.ts";
import type { StudyLayer } from "../../lib/lab/layer_study.ts";
import {
  errorAgainstCount,
  errorShares,
  factorShares,
  inputSpread,
  overlapOfRules,
  profileColumns,
  profileLayers,
  recurringColumns,
  scoreMap,
  topColumns,
} from "../../lib/lab/outlier_study.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { owq, OWQ_DEFAULTS } from "../../lib/quant/owq.ts";
import { assertRelative, assertWithin } from "../assert.ts";
import { randomProblem } from "../quant/problems.ts";

const context = { kernels: await openKernels("cpu") };
const options = { ...OWQ_DEFAULTS, bits: 3 };

function studyLayer(out: number, inputs: number, o: Parameters<typeof randomProblem>[2] = {}): StudyLayer {
  const problem = randomProblem(out, inputs, o);
  const linear = { name: "q", out, in: inputs, input: "attention", stage: 0, ratio: 1, bias: false };
  return {
    ...problem,
    name: "0.q",
    label: "0.q",
    block: 0,
    linear,
    hessian: problem.hessian!,
    windowLength: 4 * inputs,
  };
}

Deno.test("lorenz() of equal columns is the diagonal, and nothing is concentrated", () => {
  const { columns, carried } = lorenz(new Float64Array(8).fill(3));
  assertWithin(carried, columns, 1e-12);
  assertWithin([gini([3, 3, 3])], [0], 1e-12);
  assert.equal(columnsCarrying([3, 3, 3, 3], 0.5), 2);
});

Deno.test("lorenz() of one column that has everything is a step", () => {
  const { carried } = lorenz([0, 0, 5, 0]);
  assert.deepEqual([...carried], [0, 1, 1, 1, 1]);
  assert.equal(gini([0, 0, 5, 0]), 0.75);
  assert.equal(topShare([0, 0, 5, 0], 0.01), 1);
  assert.equal(columnsCarrying([0, 0, 5, 0], 0.5), 1);
});

Deno.test("lorenz() refuses what cannot be a share", () => {
  assert.throws(() => lorenz([1, -1]), /column 1: -1/);
  assert.throws(() => lorenz([NaN]), /column 0: NaN/);
  assert.throws(() => lorenz([0, 0]), /all 2 values are zero/);
});

Deno.test("overlap() counts what two choices share", () => {
  assert.equal(overlap([1, 2], [2, 3, 4]), 0.5);
  assert.equal(overlap([1], [2]), 0);
  assert.equal(overlap([], [2]), 1);
});

Deno.test("profileColumns() scores by H_jj times the rounding error and puts outlier inputs on top", async () => {
  const p = await profileColumns(studyLayer(24, 48, { outliers: [5, 31] }), options, context);
  assertWithin(p.score, p.hessian.map((h, j) => h * p.error[j]), 1e-12);
  assert.deepEqual(topColumns(p.score, 2).sort((a, b) => a - b), [5, 31]);
  assert.equal(inputSpread(p.inputRms).outliers, 2);
  const { input, rounding } = factorShares(p);
  assertRelative(input + rounding, 1, 1e-9);
  assert.ok(input > 0.8, `inputs explain ${input}`);
});

Deno.test("profileColumns() gives the inputs' root mean square in their own unit", async () => {
  const layer = studyLayer(4, 8), x = matrix(1, 8);
  const h = matrix(8, 8);
  for (let j = 0; j < 8; j++) h.data[j * 9] = 2 * layer.windowLength * (j + 1) ** 2; // every token has |x_j| = j + 1
  const p = await profileColumns({ ...layer, hessian: h }, options, context);
  assertWithin(p.inputRms, x.data.map((_, j) => j + 1), 1e-6);
});

Deno.test("errorShares() adds up to the whole error, also with correlated inputs", () => {
  const { weight, hessian } = studyLayer(6, 10), shares = errorShares(weight, hessian);
  assertWithin([shares.reduce((a, b) => a + b, 0)], [1], 1e-9);
  const only: Matrix = matrix(6, 10);
  for (let r = 0; r < 6; r++) only.data[r * 10 + 4] = weight.data[r * 10 + 4];
  assert.equal(errorShares(only, hessian)[4], 1);
  // The derivative of tr(DHDᵀ) along column j is twice its share.
  const total = objective(weight, hessian), nudged = { ...weight, data: weight.data.slice() };
  for (let r = 0; r < 6; r++) nudged.data[r * 10 + 3] *= 1.001;
  assertRelative((objective(nudged, hessian) - total) / (2 * 0.001 * total), shares[3], 0.02);
  assert.throws(() => errorShares(weight, matrix(3, 3)), RangeError);
});

Deno.test("overlapOfRules() is 1 on the diagonal and symmetric", async () => {
  const profiles = await profileLayers(
    [studyLayer(8, 32, { outliers: [3] }), studyLayer(8, 32, { seed: 9 })],
    options,
    context,
  );
  const m = overlapOfRules(profiles, ["hessian-error", "hessian", "magnitude"], 4);
  for (let i = 0; i < 3; i++) {
    assertWithin([m.data[i * 3 + i]], [1], 1e-6);
    for (let j = 0; j < 3; j++) assert.equal(m.data[i * 3 + j], m.data[j * 3 + i]);
  }
  assert.ok(m.data[1] > m.data[2], "scores agree with the inputs' size more than with the weights'");
});

Deno.test("recurringColumns() and scoreMap() see the columns that every layer finds weak", async () => {
  const layers = [1, 2, 3].map((seed) => studyLayer(8, 32, { seed, outliers: [3] }));
  const profiles = await profileLayers(layers, options, context);
  assert.deepEqual(recurringColumns(profiles, 2)[0], { column: 3, layers: 3 });
  assert.equal(recurringColumns(profiles, 2).reduce((n, r) => n + r.layers, 0), 6);
  const map = scoreMap(profiles);
  assert.deepEqual([map.rows, map.cols], [3, 32]);
  for (let r = 0; r < 3; r++) {
    const row = map.data.subarray(r * 32, (r + 1) * 32);
    assertRelative(row.reduce((a, b) => a + b, 0) / 32, 1, 1e-5);
    assert.equal(row.indexOf(Math.max(...row)), 3);
  }
  assert.throws(() => scoreMap([]), /no layer/);
  const other = await profileColumns(studyLayer(8, 16), options, context);
  assert.throws(() => scoreMap([profiles[0], other]), /16 columns/);
});

Deno.test("inputSpread() counts channels above six medians and dead ones", () => {
  assert.deepEqual(inputSpread([1, 1, 1, 7, 0]), { largestToMedian: 7, outliers: 1, dead: 1 });
  assert.deepEqual(inputSpread([0, 0]), { largestToMedian: 1, outliers: 0, dead: 2 });
});

Deno.test("factorShares() of equal inputs leaves everything to rounding", () => {
  const error = Float64Array.of(1, 2, 4), hessian = Float64Array.of(3, 3, 3);
  const shares = factorShares({ hessian, error, score: error.map((e) => 3 * e) });
  assertWithin([shares.input, shares.rounding], [0, 1], 1e-12);
  assert.deepEqual(factorShares({ hessian, error: hessian, score: hessian }), { input: 0.5, rounding: 0.5 });
});

Deno.test("errorAgainstCount() is OWQ's own objective, and falls as columns are kept", async () => {
  const layer = studyLayer(16, 32, { outliers: [4, 5] }); // neighbours are correlated: the order of compensation counts
  const points = await errorAgainstCount(layer, ["hessian-error", "random"], [0, 2, 32], options, context);
  const energy = objective(layer.weight, layer.hessian);
  for (const [i, count] of [0, 2, 32].entries()) {
    const { report } = await owq(layer, options, count, context);
    assertRelative(points[i].compensated, report.objective / energy, 1e-9);
  }
  const { score } = await profileColumns(layer, options, context);
  assert.deepEqual(points[1].kept, topColumns(score, 2));
  assert.deepEqual(points[1].kept.toSorted((a, b) => a - b), [4, 5]);
  assert.ok(points[0].plain > 2 * points[1].plain && points[0].compensated > 2 * points[1].compensated);
  assert.equal(points[2].plain, 0);
  assert.ok(points[1].compensated < points[4].compensated, "chosen columns beat random ones");
  await assert.rejects(errorAgainstCount(layer, ["random"], [33], options, context), /33 columns kept of 32/);
});

Deno.test("errorAgainstCount() without error feedback puts columns back exactly", async () => {
  const layer = studyLayer(4, 8), kept = await errorAgainstCount(layer, ["magnitude"], [8], options, context);
  assert.equal(kept[0].plain, 0);
});
