import assert from "node:assert/strict";
import { minmaxGrid } from "../../lib/kernels/minmax.ts";

const f32 = Math.fround;

function gridOf(row: number[], o: Parameters<typeof minmaxGrid>[1]) {
  const grid = minmaxGrid({ data: Float32Array.from(row), rows: 1, cols: row.length }, o);
  return [grid.scale[0], grid.zero[0]];
}

Deno.test("minmaxGrid() cuts the range of a row, zero included, into equal steps", () => {
  assert.deepEqual(gridOf([-3, 0, 4], { bits: 3, symmetric: false }), [1, 3]);
  assert.deepEqual(gridOf([1, 2, 14], { bits: 3, symmetric: false }), [2, 0]);
  assert.deepEqual(gridOf([-15, -1], { bits: 4, symmetric: false }), [1, 15]);
  assert.deepEqual(gridOf([-0.5, 6.5], { bits: 3, symmetric: false }), [1, 0]); // 0.5 rounds to even
  assert.deepEqual(gridOf([-1.5, 5.5], { bits: 3, symmetric: false }), [1, 2]);
});

Deno.test("minmaxGrid() takes the larger side for both when symmetric", () => {
  assert.deepEqual(gridOf([-3, 8], { bits: 3, symmetric: true }), [2, 4]);
  assert.deepEqual(gridOf([-8, 3], { bits: 4, symmetric: true }), [1, 8]);
});

Deno.test("minmaxGrid() counts a row of zeros as -1 … 1, and never gives a scale of 0", () => {
  assert.deepEqual(gridOf([0, 0], { bits: 3, symmetric: false }), [f32(2 / 7), 3]); // 1 / f32(2/7) is just below 3.5
  assert.deepEqual(gridOf([0, 0], { bits: 3, symmetric: true }), [0.25, 4]);
  assert.ok(gridOf([1e-45, 0], { bits: 8, symmetric: false })[0] > 0);
});

Deno.test("minmaxGrid() looks at the asked columns only, and gives the loss of its own grid", () => {
  const w = { data: Float32Array.of(9, -3, 0.25, 4, 9), rows: 1, cols: 5 };
  const grid = minmaxGrid(w, { bits: 3, symmetric: false, columns: { start: 1, count: 3 } });
  assert.deepEqual([grid.scale[0], grid.zero[0]], [1, 3]);
  assert.equal(grid.loss[0], f32(0.25 ** 2.4 / 3));
});
