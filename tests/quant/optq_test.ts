import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { diagonal, objective } from "../../lib/quant/hessian.ts";
import { optq, OPTQ_DEFAULTS } from "../../lib/quant/optq.ts";
import { owq, OWQ_DEFAULTS } from "../../lib/quant/owq.ts";
import { rtn } from "../../lib/quant/rtn.ts";
import { assertRelative, assertWithin } from "../assert.ts";
import { literalOptq } from "./oracle.ts";
import { randomMatrix, randomProblem } from "./problems.ts";

const cpu = { kernels: await openKernels("cpu") };
const NONE = new Int32Array(0);

/** Ŵ by the literal oracle, for a layer that lib/quant has done: same order, damping and grid. */
function oracle(
  problem: ReturnType<typeof randomProblem>,
  weak: number[],
  scale: ArrayLike<number>,
  zero: ArrayLike<number>,
  bits: number,
) {
  const { rows, cols } = problem.weight, h = problem.hessian!;
  const order = [...Array(cols).keys()].filter((j) => !weak.includes(j)).concat(weak);
  const damp = 0.01 * diagonal(h).reduce((a, b) => a + b) / cols;
  const w = new Float64Array(rows * cols), hp = new Float64Array(cols * cols);
  for (let r = 0; r < rows; r++) order.forEach((j, k) => w[r * cols + k] = problem.weight.data[r * cols + j]);
  order.forEach((i, a) => order.forEach((j, b) => hp[a * cols + b] = h.data[i * cols + j] + (i === j ? damp : 0)));
  const q = literalOptq(w, rows, cols, hp, cols - weak.length, { scale, zero }, bits),
    out = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) order.forEach((j, k) => out[r * cols + j] = q[r * cols + k]);
  return out;
}

for (const [out, inputs] of [[1, 1], [3, 2], [7, 33], [16, 130]]) {
  Deno.test(`optq() gives the literal algorithm's weights at (${out}, ${inputs})`, async () => {
    const problem = randomProblem(out, inputs, { seed: inputs });
    const layer = await optq(problem, { ...OPTQ_DEFAULTS, tuning: "minmax" }, cpu, NONE, null);
    const want = oracle(problem, [], layer.scale, layer.zero, 3), got = dequantize(layer).data;
    const differ = got.filter((v, i) => Math.abs(v - want[i]) > 1e-4).length;
    assert(differ <= 0.002 * got.length, `${differ} of ${got.length} weights differ`);
    assert.equal(layer.report.fallback, null);
  });
}

Deno.test("owq() compensates its weak columns as the literal algorithm does", async () => {
  const problem = randomProblem(12, 70, { outliers: [5, 40, 41, 69], seed: 3 });
  const layer = await owq(problem, OWQ_DEFAULTS, 4, cpu);
  assert.deepEqual([...layer.weakIds], [5, 40, 41, 69]);
  const want = oracle(problem, [...layer.weakIds], layer.scale, layer.zero, 3), got = dequantize(layer).data;
  // Weak columns are stored in f16: half a unit in the last place of 11 bits, and what f32 adds.
  assertWithin(got, want, (i) => 2 ** -11 * Math.abs(want[i]) + 1e-4, "weights");
});

Deno.test("owq() keeps the weak columns' codes at the zero point, so that they dequantize to 0", async () => {
  const layer = await owq(randomProblem(6, 40, { outliers: [3, 17] }), OWQ_DEFAULTS, 2, cpu);
  for (let r = 0; r < 6; r++) for (const j of layer.weakIds) assert.equal(layer.codes[r * 40 + j], layer.zero[r]);
});

Deno.test("optq() equals round-to-nearest where the Hessian is diagonal", async () => {
  const problem = randomProblem(9, 33), n = 33, hessian = { data: new Float32Array(n * n), rows: n, cols: n };
  for (let j = 0; j < n; j++) hessian.data[j * n + j] = 1 + j;
  const diagonalProblem = { ...problem, hessian };
  const layer = await optq(diagonalProblem, { ...OPTQ_DEFAULTS, tuning: "minmax" }, cpu, NONE, null);
  assert.deepEqual(layer.codes, rtn(diagonalProblem, OPTQ_DEFAULTS).codes);
});

Deno.test("optq() leaves a smaller output error than round-to-nearest, and owq() a smaller one still", async () => {
  const problem = randomProblem(32, 96, { outliers: [10, 11, 50, 90] });
  const plain = await optq(problem, { ...OPTQ_DEFAULTS, tuning: "minmax" }, cpu, NONE, null);
  const weak = await owq(problem, OWQ_DEFAULTS, 4, cpu);
  assert(
    plain.report.objective < 0.8 * plain.report.objectiveRtn,
    `${plain.report.objective} ${plain.report.objectiveRtn}`,
  );
  assert(weak.report.objective < 0.5 * plain.report.objective, `${weak.report.objective} ${plain.report.objective}`);
});

Deno.test("owq() with every column weak gives the weights back in f16", async () => {
  const problem = randomProblem(4, 12), layer = await owq(problem, OWQ_DEFAULTS, 12, cpu);
  assertWithin(
    dequantize(layer).data,
    problem.weight.data,
    (i) => 2 ** -11 * Math.abs(problem.weight.data[i]),
    "weights",
  );
});

Deno.test("owq() with no weak column is optq() on the searched grid", async () => {
  const problem = randomProblem(5, 64);
  const a = await owq(problem, OWQ_DEFAULTS, 0, cpu), b = await optq(problem, OPTQ_DEFAULTS, cpu, NONE, null);
  assert.deepEqual(a.codes, b.codes);
  assert.deepEqual(a.scale, b.scale);
});

Deno.test("optq() with groups and act-order reports an objective that the weights have", async () => {
  const problem = randomProblem(10, 100, { outliers: [20] });
  for (
    const o of [{ groupSize: 32 }, { groupSize: 32, actOrder: true }, { actOrder: true }, {
      groupSize: 32,
      scaleBits: 16 as const,
    }]
  ) {
    const layer = await owq(problem, { ...OWQ_DEFAULTS, ...o }, 2, cpu), w = dequantize(layer);
    const d = { ...w, data: w.data.map((v, i) => v - problem.weight.data[i]) };
    assertRelative(layer.report.objective, objective(d, problem.hessian!), 1e-6, JSON.stringify(o));
    assert(layer.report.objective < layer.report.objectiveRtn, JSON.stringify(o));
    if ("scaleBits" in o) assert.deepEqual(layer.scale, layer.scale.map(Math.f16round));
  }
});

Deno.test("optq() rounds dead columns, or zeroes them when asked to", async () => {
  const problem = randomProblem(6, 20, { dead: [4, 13] });
  const round = await optq(problem, OPTQ_DEFAULTS, cpu, NONE, null);
  const zero = await optq(problem, { ...OPTQ_DEFAULTS, deadColumns: "zero" }, cpu, NONE, null);
  assert.equal(round.report.deadColumns, 2);
  const column = (layer: typeof round, j: number) =>
    [...Array(6).keys()].map((r) => dequantize(layer).data[r * 20 + j]);
  assert.deepEqual(column(zero, 4), [0, 0, 0, 0, 0, 0]);
  for (let r = 0; r < 6; r++) {
    assert(Math.abs(column(round, 13)[r] - problem.weight.data[r * 20 + 13]) < 2 * round.scale[r] + 1e-6);
  }
  assert.equal(round.report.fallback, null);
});

Deno.test("optq() climbs the damping ladder on a Hessian that is not positive definite, then says that it gave up", async () => {
  const problem = randomProblem(3, 8), n = 8;
  const slightly = { ...problem.hessian!, data: problem.hessian!.data.slice() };
  slightly.data.fill(0);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) slightly.data[i * n + j] = i === j ? 1 : 1.02; // indefinite by a little
  const damped = await optq({ ...problem, hessian: slightly }, OPTQ_DEFAULTS, cpu, NONE, null);
  assert.equal(damped.report.damp, 0.1);
  assert.equal(damped.report.fallback, null);
  const badly = { ...slightly, data: slightly.data.map((v, i) => i % (n + 1) === 0 ? v : 5) };
  const failed = await optq({ ...problem, hessian: badly }, { ...OPTQ_DEFAULTS, tuning: "minmax" }, cpu, NONE, null);
  assert.match(failed.report.fallback!, /not positive definite.*damping 0\.01.*damping 1:/);
  assert.deepEqual(failed.codes, rtn(problem, OPTQ_DEFAULTS).codes);
});

Deno.test("optq() names the layer and the place of a NaN, and refuses shapes and options that do not fit", async () => {
  const problem = randomProblem(3, 8);
  const refuses = (p: typeof problem, o: object, pattern: RegExp) =>
    assert.rejects(
      optq(p, { ...OPTQ_DEFAULTS, ...o }, cpu, NONE, null),
      (e) => e instanceof LabError && pattern.test(e.message),
    );
  const weight = { ...problem.weight, data: problem.weight.data.slice() };
  weight.data[11] = NaN;
  await refuses({ ...problem, weight }, {}, /test: NaN in the weight at \(1, 3\)/);
  const hessian = { ...problem.hessian!, data: problem.hessian!.data.slice() };
  hessian.data[9] = Infinity;
  await refuses({ ...problem, hessian }, {}, /test: Infinity in the Hessian at \(1, 1\)/);
  await refuses({ ...problem, hessian: randomMatrix(7, 7, 1) }, {}, /Hessian is \(7, 7\)/);
  await refuses(problem, { bits: 9 }, /9 bits/);
  await refuses(problem, { groupSize: 9 }, /groups of 9 in 8 columns/);
  await refuses({ ...problem, hessian: null }, {}, /needs a Hessian/);
});
