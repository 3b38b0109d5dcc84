import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { diagonal, objective } from "../../lib/quant/hessian.ts";
import { fromColumns, inverseFactor, obsSweep } from "../../lib/quant/obs_sweep.ts";
import { optq, OPTQ_DEFAULTS, permuteColumns } from "../../lib/quant/optq.ts";
import { roundToGrid } from "../../lib/quant/rtn.ts";
import { assertRelative, maxDifference } from "../assert.ts";
import { randomProblem } from "./problems.ts";

const context = { kernels: await openKernels("cpu") };
const natural = (n: number) => Int32Array.from({ length: n }, (_, j) => j);

Deno.test("inverseFactor() gives Uᵀ U (H + λI) = 1 in any order, and refuses an H that is not positive definite", () => {
  const n = 9, { hessian } = randomProblem(4, n), order = Int32Array.of(3, 0, 8, 1, 2, 7, 6, 5, 4);
  const { u } = inverseFactor(hessian!, order, 0.01), mean = diagonal(hessian!).reduce((a, b) => a + b) / n;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) {
        for (let l = 0; l < n; l++) {
          const h = hessian!.data[order[l] * n + order[j]] + (l === j ? 0.01 * mean : 0);
          sum += u[k * n + i] * u[k * n + l] * h;
        }
      }
      assert(Math.abs(sum - (i === j ? 1 : 0)) < 1e-9, `(${i}, ${j}): ${sum}`);
    }
  }
  const bad = { data: new Float32Array([1, 5, 5, 1]), rows: 2, cols: 2 };
  assert.throws(() => inverseFactor(bad, natural(2), 0.01), /not positive definite.*damping 1/);
});

Deno.test("obsSweep() with a grid a row rounds as OPTQ does, and its loss is half the damped error", async () => {
  const p = randomProblem(24, 40, { outliers: [5] }), o = { ...OPTQ_DEFAULTS, tuning: "minmax" as const };
  const layer = await optq(p, o, context, new Int32Array(0), null), order = natural(40);
  const factor = inverseFactor(p.hessian!, order, o.damp);
  for (const blockSize of [1, 16]) {
    const { columns, loss } = obsSweep({
      weight: p.weight,
      factor,
      blockSize,
      round: (j, w) =>
        w[j].map((v, r) => layer.scale[r] * (roundToGrid(v, layer.scale[r], layer.zero[r], 3) - layer.zero[r])),
    });
    const ours = fromColumns(columns, order), d = { ...ours, data: ours.data.map((v, i) => v - p.weight.data[i]) };
    assert(maxDifference(ours.data, dequantize(layer).data).value < 1e-5);
    const mean = diagonal(p.hessian!).reduce((a, b) => a + b) / 40, squares = d.data.reduce((a, v) => a + v * v, 0);
    const half = (objective(d, p.hessian!) + o.damp * mean * squares) / 2;
    assertRelative(loss.reduce((a, b) => a + b), half, 1e-4, "loss");
  }
});

Deno.test("obsSweep() shows a round() only what was lost before its block", () => {
  const { weight, hessian } = randomProblem(3, 6), factor = inverseFactor(hessian!, natural(6), 0.01);
  const seen: number[][] = [];
  const round = (j: number, w: readonly Float64Array[]) => {
    if (j === 3) seen.push([4, 5].map((k) => w[k][0]));
    return new Float64Array(3);
  };
  for (const blockSize of [1, 2]) obsSweep({ weight, factor, blockSize, round });
  assert.notEqual(seen[0][0], seen[1][0], "column 4 lies beyond the block of column 3");
  assert.deepEqual(weight, randomProblem(3, 6).weight, "the weight is not written to");
});

Deno.test("optq() with static groups keeps neighbours in a group, needs no map of groups, and takes up errors", async () => {
  const p = randomProblem(16, 48, { outliers: [7, 20] });
  const o = { ...OPTQ_DEFAULTS, tuning: "minmax" as const, groupSize: 16, actOrder: true };
  const fixed = await optq(p, { ...o, staticGroups: true }, context, new Int32Array(0), null);
  const free = await optq(p, o, context, new Int32Array(0), null);
  assert.equal(fixed.groupOf, null);
  assert(free.groupOf !== null);
  for (let g = 0; g < 3; g++) { // each group's grid is that of its columns of W
    const part = permuteColumns(p.weight, natural(48).subarray(g * 16, g * 16 + 16));
    for (let r = 0; r < 16; r++) {
      const row = part.data.subarray(r * 16, r * 16 + 16), span = Math.max(...row, 0) - Math.min(...row, 0);
      assertRelative(fixed.scale[r * 3 + g], span / 7, 1e-6, "scale");
    }
  }
  assert(fixed.report.objective < 0.5 * fixed.report.objectiveRtn);
  const weak = await optq(p, { ...o, staticGroups: true }, context, Int32Array.of(20, 7), null);
  assert.deepEqual([...weak.weakIds], [7, 20]);
  assert(weak.report.objective < fixed.report.objective);
});
