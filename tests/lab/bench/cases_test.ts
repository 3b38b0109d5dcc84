import assert from "node:assert/strict";
import {
  agreement,
  layerCase,
  normalMatrix,
  packedMatrix,
  unpacked,
  weakColumnsOf,
} from "../../../lib/lab/bench/cases.ts";
import { checkPackedMatrix } from "../../../lib/kernels/packed_matrix.ts";
import { reverseCholesky } from "../../../lib/quant/cholesky.ts";
import { assertFinite } from "../../assert.ts";

Deno.test("weakColumnsOf() gives OPT's counts", () => {
  assert.deepEqual([weakColumnsOf(4096, 3, 3.01), weakColumnsOf(4096, 3, 3.1)], [6, 64]);
  assert.deepEqual([weakColumnsOf(11008, 3, 3.01, 4096), weakColumnsOf(2048, 3, 3)], [6, 0]);
});

Deno.test("packedMatrix() is whole, and its weak columns stand on the zero point", () => {
  const m = packedMatrix(5, 70, 3, 4, 1),
    plain = unpacked({ ...m, weakIds: new Int32Array(0), weak: new Float32Array(0) });
  assert.equal(checkPackedMatrix(m), 1);
  for (const c of m.weakIds) for (let r = 0; r < 5; r++) assert.equal(plain.data[r * 70 + c], 0);
  assert.equal(new Set(m.weakIds).size, 4);
});

Deno.test("agreement() sees one wrong sum", () => {
  const w = normalMatrix(8, 33, 1, "w"), x = normalMatrix(2, 33, 1, "x"), y = new Float32Array(16);
  for (let v = 0; v < 2; v++) {
    for (let r = 0; r < 8; r++) for (let c = 0; c < 33; c++) y[v * 8 + r] += x.data[v * 33 + c] * w.data[r * 33 + c];
  }
  assert.equal(agreement(y, x, w), 1);
  y[3] *= 1.001;
  assert.equal(agreement(y, x, w), 15 / 16);
  y[9] = NaN;
  assert.equal(agreement(y, x, w), 14 / 16);
});

Deno.test("layerCase() has a positive definite Hessian", () => {
  const { weight, hessian } = layerCase(3, 40, 1);
  assertFinite(weight.data);
  assert.ok(reverseCholesky(hessian, 0).ok);
});
