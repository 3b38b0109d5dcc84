import assert from "node:assert/strict";
import { lowRankProduct, topSvd } from "../../lib/quant/svd.ts";
import { balancedSites, bondRanks, fromTrain, toTrain, trainParameters } from "../../lib/quant/tensor_train.ts";
import { assertRelative, maxDifference } from "../assert.ts";
import { randomMatrix } from "./problems.ts";

const error = (a: ArrayLike<number>, b: Float32Array) =>
  b.reduce((s, v, i) => s + (v - a[i]) ** 2, 0) / b.reduce((s, v) => s + v * v, 0);

Deno.test("toTrain() is exact at full bonds, in two, three and four sites, and loses more the narrower they are", () => {
  const w = randomMatrix(24, 36, 1);
  for (
    const sites of [{ out: [4, 6], in: [6, 6] }, { out: [2, 3, 4], in: [3, 3, 4] }, {
      out: [2, 2, 2, 3],
      in: [3, 2, 3, 2],
    }]
  ) {
    assert(maxDifference(fromTrain(toTrain(w, sites, 1000)).data, w.data).value < 1e-5);
    const losses = [1, 4, 8, 16].map((chi) => error(fromTrain(toTrain(w, sites, chi)).data, w.data));
    for (let i = 1; i < 4; i++) assert(losses[i] < losses[i - 1], `${losses}`);
  }
  assert.throws(() => toTrain(w, { out: [4, 6], in: [6, 5] }, 4), /does not make \(24, 36\)/);
});

Deno.test("trainParameters() counts what the formula 2 · 36 χ + 36 χ² counts at 216 × 216", () => {
  const sites = { out: [6, 6, 6], in: [6, 6, 6] };
  for (const chi of [1, 8, 36]) assert.equal(trainParameters(sites, bondRanks(sites, chi)), 72 * chi + 36 * chi * chi);
  assert.deepEqual(bondRanks(sites, 1000), [1, 36, 36, 1]);
});

Deno.test("toTrain() in two sites finds a Kronecker product exactly at χ = 1, where an SVD of that size does not", () => {
  const a = randomMatrix(4, 6, 2),
    b = randomMatrix(6, 5, 3),
    w = { data: new Float32Array(24 * 30), rows: 24, cols: 30 };
  for (let r = 0; r < 24; r++) {
    for (let j = 0; j < 30; j++) {
      w.data[r * 30 + j] = a.data[Math.floor(r / 6) * 6 + Math.floor(j / 5)] * b.data[(r % 6) * 5 + j % 5];
    }
  }
  assert(error(fromTrain(toTrain(w, { out: [4, 6], in: [6, 5] }, 1)).data, w.data) < 1e-12);
  const f = topSvd({ data: Float64Array.from(w.data), rows: 24, cols: 30 }, 1);
  assert(error(lowRankProduct(f, 24, 30), w.data) > 0.5);
});

Deno.test("toTrain() on normal weights is no better than an SVD of as many parameters: without structure no free lunch", () => {
  const w = randomMatrix(64, 64, 4), sites = balancedSites(64, 64), chi = 16; // half the parameters
  assert.equal(trainParameters(sites, bondRanks(sites, chi)), 64 * 64 / 2);
  const f = topSvd({ data: Float64Array.from(w.data), rows: 64, cols: 64 }, 16);
  assertRelative(error(fromTrain(toTrain(w, sites, chi)).data, w.data), error(lowRankProduct(f, 64, 64), w.data), 0.1);
});
