import assert from "node:assert/strict";
import type { Matrix } from "../../lib/io/tensor.ts";
import { type GroupGridOptions, onGroupGrid } from "../../lib/quant/group_grid.ts";
import { linearOutput, scaleColumns } from "../../lib/quant/smooth.ts";
import {
  type Branch,
  branchOutput,
  iterateBranch,
  searchSmoothing,
  smoothCandidates,
} from "../../lib/quant/svdquant.ts";
import { randomMatrix } from "./problems.ts";

const grid: GroupGridOptions = { bits: 4, groupSize: 16, axis: "in", rule: "absmax" };
const round = (m: Matrix) => onGroupGrid(m, grid), w = randomMatrix(24, 48, 1), x = randomMatrix(40, 48, 2);
for (let t = 0; t < 40; t++) for (const j of [3, 30]) x.data[t * 48 + j] *= 20;
const exact = linearOutput(x, w);
const off = (y: Matrix) => y.data.reduce((s, v, i) => s + (v - exact.data[i]) ** 2, 0);
const output = (b: Branch, s: ArrayLike<number>) =>
  Promise.resolve(off(branchOutput(b, scaleColumns(x, s, true), grid)));
const ones = new Float32Array(48).fill(1);

Deno.test("smoothCandidates() are 2n − 1, none first", () => {
  assert.deepEqual(smoothCandidates(2), [[0, 0], [0.5, 0], [0.5, 0.5]]);
  assert.equal(smoothCandidates(20).length, 39);
});

Deno.test("searchSmoothing() and the branch each help where inputs have outliers, and together most", async () => {
  const naive = off(linearOutput(onGroupGrid(x, grid), round(w)));
  const none = await iterateBranch(w, 0, 1, round, (b) => output(b, ones));
  assert(Math.abs(none.errors[0] / naive - 1) < 1e-4, "rank 0 without smoothing is plain rounding");
  const branchOnly = (await iterateBranch(w, 4, 100, round, (b) => output(b, ones))).errors;
  const smoothOnly = await searchSmoothing(w, x, 20, 0, round, output),
    both = await searchSmoothing(w, x, 20, 4, round, output);
  assert(Math.min(...smoothOnly.errors) < 0.5 * naive);
  assert(Math.min(...branchOnly) < naive);
  assert(both.errors[both.chosen] < Math.min(...smoothOnly.errors));
  assert.equal(both.errors[both.chosen], Math.min(...both.errors));
});

Deno.test("iterateBranch() keeps its best step, and a higher rank loses less", async () => {
  const errors: number[] = [];
  for (const rank of [1, 4, 12, 24]) {
    const { branch, errors: steps } = await iterateBranch(w, rank, 100, round, (b) => output(b, ones));
    assert.equal(await output(branch, ones), Math.min(...steps));
    errors.push(Math.min(...steps.slice(0, 1)));
    const sum = branch.lowRank.data.map((v, i) => v + branch.residual.data[i]);
    assert(sum.every((v, i) => Math.abs(v - w.data[i]) < 1));
  }
  assert(errors[3] < errors[0]);
});
