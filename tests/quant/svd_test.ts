import assert from "node:assert/strict";
import { type Doubles, lowRankProduct, symmetricEigen, topSvd, transpose } from "../../lib/quant/svd.ts";
import { assertRelative, maxDifference } from "../assert.ts";
import { randomMatrix } from "./problems.ts";

const doubles = (rows: number, cols: number, seed: number): Doubles => {
  return { data: Float64Array.from(randomMatrix(rows, cols, seed).data), rows, cols };
};

Deno.test("topSvd() at full rank gives the matrix back, tall, wide and square, with orthonormal factors", () => {
  for (const [rows, cols] of [[7, 5], [5, 7], [12, 12], [1, 4], [4, 1], [1, 1], [2, 9]]) {
    const m = doubles(rows, cols, 1), f = topSvd(m, Math.min(rows, cols)), r = f.rank;
    assert.equal(r, Math.min(rows, cols));
    assert(maxDifference(lowRankProduct(f, rows, cols), m.data).value < 1e-7, `${rows} x ${cols}`);
    for (let a = 0; a < r; a++) {
      for (let b = 0; b < r; b++) {
        let u = 0, v = 0;
        for (let i = 0; i < rows; i++) u += f.u[i * r + a] * f.u[i * r + b];
        for (let j = 0; j < cols; j++) v += f.vt[a * cols + j] * f.vt[b * cols + j];
        for (const x of [u, v]) assert(Math.abs(x - (a === b ? 1 : 0)) < 1e-7, `${a}, ${b}: ${x}`);
      }
    }
  }
});

Deno.test("topSvd() leaves exactly the energy of the values it leaves out (Eckart–Young)", () => {
  const m = doubles(40, 60, 2), all = topSvd(m, 40);
  for (const rank of [1, 5, 20]) {
    const f = topSvd(m, rank), approx = lowRankProduct(f, 40, 60);
    const left = m.data.reduce((s, v, i) => s + (v - approx[i]) ** 2, 0);
    assertRelative(left, all.s.subarray(rank).reduce((s, v) => s + v * v, 0), 1e-9, `rank ${rank}`);
  }
});

Deno.test("topSvd() stops at the rank of a matrix that has less, and gives nothing for zeros", () => {
  const a = doubles(20, 3, 3), b = doubles(3, 30, 4), m = { data: new Float64Array(600), rows: 20, cols: 30 };
  for (let i = 0; i < 20; i++) {
    for (let j = 0; j < 30; j++) {
      for (let k = 0; k < 3; k++) m.data[i * 30 + j] += a.data[i * 3 + k] * b.data[k * 30 + j];
    }
  }
  const f = topSvd(m, 10);
  assert.equal(f.rank, 3);
  assert(maxDifference(lowRankProduct(f, 20, 30), m.data).value < 1e-7);
  assert.equal(topSvd({ data: new Float64Array(12), rows: 3, cols: 4 }, 2).rank, 0);
});

Deno.test("topSvd() by its subspace leaves hardly more than the best approximation, and the same each time", () => {
  const m = doubles(264, 300, 5), best = topSvd(m, 6, true), found = topSvd(m, 6);
  const energy = (f: typeof best) => f.s.reduce((s, v) => s + v * v, 0);
  assert(energy(found) > 0.99 * energy(best) && energy(found) < 1.000001 * energy(best));
  assert.deepEqual(topSvd(m, 6), found);
  assert.notDeepEqual(found.s, best.s, "the subspace was not used");
});

Deno.test("symmetricEigen() has A v = λ v, values descending, on diagonal and repeated ones too", () => {
  const m = doubles(15, 15, 6), t = transpose(m);
  const sum = Float64Array.from(m.data, (v, i) => v + t.data[i]);
  const twice = new Float64Array(225);
  for (let i = 0; i < 15; i++) twice[i * 16] = i % 3;
  for (const a of [sum, twice, new Float64Array(225)]) {
    const { values, vectors } = symmetricEigen(a, 15);
    for (let k = 0; k < 15; k++) {
      assert(k === 0 || values[k] <= values[k - 1]);
      for (let i = 0; i < 15; i++) {
        let av = 0;
        for (let j = 0; j < 15; j++) av += a[i * 15 + j] * vectors[k * 15 + j];
        assert(Math.abs(av - values[k] * vectors[k * 15 + i]) < 1e-12 * 15);
      }
    }
  }
  assert.throws(() => symmetricEigen(new Float64Array(9).fill(NaN), 3), RangeError);
});
