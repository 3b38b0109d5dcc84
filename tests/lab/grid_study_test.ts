import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { type Matrix, matrix } from "../../lib/io/tensor.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { errorByBits, errorByGroups, relativeError } from "../../lib/lab/grid_cost.ts";
import {
  bestPoint,
  errorParts,
  firstRows,
  gridLevels,
  gridLoss,
  gridOfShare,
  lossSurface,
  minmaxGridOf,
  peakiestRow,
  rangeCurve,
  rowOf,
  searchedGridOf,
  snap,
  snapRow,
  staircase,
  surfaceMinimum,
} from "../../lib/lab/grid_study.ts";
import { assertRelative, assertWithin } from "../assert.ts";

const kernels = await openKernels("cpu");

function normalRow(cols: number, seed = 1): Matrix {
  const stream = rng(seed, "row"), row = matrix(1, cols);
  for (let j = 0; j < cols; j++) row.data[j] = stream.normal();
  return row;
}

Deno.test("staircase() is snap() between its corners, whatever the grid and the ends", () => {
  for (
    const grid of [{ scale: 0.5, zero: 3, bits: 3 }, { scale: 0.1, zero: 0, bits: 2 }, { scale: 2, zero: 7, bits: 3 }]
  ) {
    const s = staircase(grid, -3.01, 2.03);
    assert.equal(s.weight[0], -3.01);
    assert.equal(s.weight.at(-1), 2.03);
    for (let i = 0; i < s.weight.length; i += 2) {
      assert.equal(s.rounded[i], s.rounded[i + 1], "a level is flat");
      const middle = (s.weight[i] + s.weight[i + 1]) / 2;
      assert.ok(Math.abs(snap(middle, grid) - s.rounded[i]) < 1e-6, `at ${middle}`);
      if (i > 0) assert.ok(Math.abs(s.weight[i] - s.weight[i - 1]) < 1e-12, "no gap between levels");
    }
  }
  assert.throws(() => staircase({ scale: 1, zero: 0, bits: 1 }, 1, 1), RangeError);
});

Deno.test("staircase() has an error of at most half a step inside the grid and of any size outside", () => {
  const grid = { scale: 0.5, zero: 2, bits: 2 }, inside = staircase(grid, -1.25, 0.75);
  assert.ok(Math.max(...inside.error.map(Math.abs)) <= 0.25 + 1e-12);
  assert.equal(Math.max(...staircase(grid, -1, 9).error), 8.5);
});

Deno.test("errorParts() is zero for a row that lies on its grid", () => {
  const grid = { scale: 0.25, zero: 5, bits: 3 }, levels = gridLevels(grid);
  assert.deepEqual(errorParts(levels, grid), { rounding: 0, clipping: 0, total: 0, clipped: 0 });
  assert.deepEqual([...snapRow(levels, grid)], levels);
  assert.equal(gridLoss(levels, grid), 0);
});

Deno.test("errorParts() tells rounding from clipping", () => {
  const e = errorParts([0.25, 10], { scale: 1, zero: 0, bits: 2 }); // levels 0 1 2 3
  assert.equal(e.clipped, 1);
  assertRelative(e.rounding, 0.0625 / 100.0625, 1e-12);
  assertRelative(e.clipping, 49 / 100.0625, 1e-12);
  assertRelative(e.total, e.rounding + e.clipping, 1e-12);
  assert.equal(errorParts([3.6], { scale: 1, zero: 0, bits: 2 }).clipped, 1); // a little beyond the end is beyond it
});

Deno.test("lossSurface() has its minimum where the grid search of the kernels finds it", async () => {
  for (const [bits, seed] of [[2, 1], [3, 2], [3, 3], [4, 4]]) {
    const row = normalRow(96, seed), steps = 50, least = surfaceMinimum(lossSurface(row, bits, steps));
    const found = await searchedGridOf(row, { bits, steps }, kernels);
    assert.equal(least.zero, found.zero, `${bits} bits, seed ${seed}`);
    assertRelative(gridOfShare(row, bits, least.share, least.zero).scale, found.scale, 1e-6);
    assertRelative(least.loss, gridLoss(row.data, found), 1e-6);
  }
});

Deno.test("lossSurface() begins with the loss of a grid that has shrunk to zero", () => {
  const row = { data: Float32Array.of(-2, 1), rows: 1, cols: 2 }, s = lossSurface(row, 2, 4);
  assert.deepEqual([s.rows, s.cols], [5, 4]);
  assertWithin(s.data.subarray(0, 4), Array(4).fill((2 ** 2.4 + 1) / 2), 1e-6);
});

Deno.test("rangeCurve() trades rounding against clipping and has its best inside", () => {
  const points = rangeCurve(normalRow(400), 3, 50), last = points.at(-1)!;
  assert.equal(points.length, 50);
  assert.equal(last.clipped, 0);
  assert.ok(points[4].clipping > points[4].rounding, "a narrow grid mostly clips");
  assert.ok(last.rounding > bestPoint(points).rounding, "a wide grid rounds more coarsely");
  const best = bestPoint(points);
  assert.ok(best.share > 0.2 && best.share < 1 && best.total < last.total);
});

Deno.test("rangeCurve() of more bits wants a wider range", () => {
  const best = [2, 3, 4, 6].map((bits) => bestPoint(rangeCurve(normalRow(400), bits, 40)).share);
  for (let i = 1; i < best.length; i++) assert.ok(best[i] >= best[i - 1], best.join(" "));
  assert.ok(best[3] > best[0]);
});

Deno.test("gridOfShare() refuses shares outside its bounds", () => {
  for (const share of [0, -1, 1.01, NaN]) assert.throws(() => gridOfShare(normalRow(4), 3, share, 0), /share of/);
  assert.equal(gridOfShare(normalRow(4), 3, 1, 2).scale, minmaxGridOf(normalRow(4), { bits: 3 }).scale);
});

Deno.test("peakiestRow() finds the row with the largest weight against its rms", () => {
  const w = matrix(3, 4);
  w.data.set([5, 5, 5, 5, 0.1, 0.1, 0.1, 1, 1, 1, 1, 2]);
  const { row, peak } = peakiestRow(w);
  assert.equal(row, 1);
  assertRelative(peak, 1 / Math.sqrt(1.03 / 4), 1e-6);
  assert.deepEqual([...rowOf(w, 2).data], [1, 1, 1, 2]);
  assert.throws(() => rowOf(w, 3), RangeError);
  assert.equal(firstRows(w, 9).rows, 3);
});

Deno.test("errorByBits() falls about fourfold a bit for normal weights, and the search helps most at few bits", async () => {
  const w = matrix(16, 256), stream = rng(7, "w");
  for (let i = 0; i < w.data.length; i++) w.data[i] = stream.normal();
  const e = await errorByBits(w, [2, 3, 4, 5, 6], 40, kernels);
  for (let i = 1; i < e.length; i++) {
    const factor = e[i - 1].minmax / e[i].minmax;
    assert.ok(factor > 3.3 && factor < 6.5, `${e[i].bits} bits: ${factor}`);
  }
  for (const x of e) assert.ok(x.searched <= x.minmax && x.searched <= x.symmetric, JSON.stringify(x));
  for (const x of e.slice(2)) assert.ok(x.minmax <= x.symmetric, JSON.stringify(x)); // below, its missing top level clips usefully
  assert.ok(e[0].minmax / e[0].searched > e[4].minmax / e[4].searched);
});

Deno.test("errorByBits() of a symmetric grid lacks the level at its upper end", async () => {
  const w = { data: Float32Array.of(-1, 1), rows: 1, cols: 2 }; // levels −1, −½, 0, ½: the 1 becomes ½
  const [e] = await errorByBits(w, [2], 40, kernels);
  assertRelative(e.symmetric, 0.25 / 2, 1e-6);
});

Deno.test("errorByGroups() buys error with stored bits and leaves out groups wider than the row", () => {
  const w = { data: normalRow(512).data, rows: 4, cols: 128 };
  const [row, group] = errorByGroups(w, [3], [0, 32, 256]);
  assert.ok(group.error < row.error && group.stored > row.stored);
  assert.equal(row.stored, 3 + 35 / 128 + (32 - 12) / 512); // zeros fill whole words
  assert.equal(errorByGroups(w, [3], [0, 32, 256]).length, 2);
});

Deno.test("relativeError() is 0 for equal matrices, also of zeros, and refuses other shapes", () => {
  assert.equal(relativeError(matrix(2, 2), matrix(2, 2)), 0);
  assert.throws(() => relativeError(matrix(2, 2), matrix(4, 1)), RangeError);
});
