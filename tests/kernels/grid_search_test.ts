import assert from "node:assert/strict";
import {
  boundTile,
  searchGridGpu,
  searchGridReference,
  searchGridTwin,
  settledRows,
} from "../../lib/kernels/grid_search.ts";
import type { Matrix } from "../../lib/io/tensor.ts";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import { rng } from "../../lib/io/rng.ts";
import { assertWithin } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";

/** Rows of several kinds: normal, heavy-tailed, one-sided, constant, sparse, zero, tiny. */
function rowsOfManyKinds(rows: number, cols: number): Matrix {
  const g = rng(7, `rows ${rows} ${cols}`);
  const data = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++) {
      const x = g.normal();
      data[r * cols + j] = [
        0.05 * x,
        0.02 * x ** 3,
        Math.abs(x),
        0.25,
        g.float() < 0.9 ? 0 : x,
        -Math.abs(x) * 0.01,
        1e-6 * x,
        Math.round(3 * x) / 8,
      ][r % 8];
    }
  }
  if (rows > 9) data.fill(0, 9 * cols, 10 * cols);
  return { data, rows, cols };
}

const cases = [[1, 1], [31, 33], [33, 128], [16, 257]];
for (const bits of [2, 3, 4]) {
  for (const symmetric of [false, true]) {
    Deno.test(`searchGridTwin() finds the grid of searchGridReference() when bits = ${bits}, symmetric = ${symmetric}`, async () => {
      for (const [rows, cols] of cases) {
        const w = rowsOfManyKinds(rows, cols);
        for (const steps of [1, 40, 100]) {
          const o = { bits, symmetric, steps, exponent: 2.4 as const };
          const twin = await searchGridTwin(w, o), reference = searchGridReference(w, o);
          assert.deepEqual(twin.scale, reference.scale);
          assert.deepEqual(twin.zero, reference.zero);
          assertWithin(twin.loss, reference.loss, (r) => 1e-6 * reference.loss[r]);
        }
      }
    });
  }
}

Deno.test("searchGridTwin() looks at the asked columns only when columns are given", async () => {
  const w = rowsOfManyKinds(8, 64);
  const part = { data: new Float32Array(8 * 20), rows: 8, cols: 20 };
  for (let r = 0; r < 8; r++) part.data.set(w.data.subarray(r * 64 + 10, r * 64 + 30), r * 20);
  const o = { bits: 3, symmetric: false, steps: 40, exponent: 2.4 as const };
  const a = await searchGridTwin(w, { ...o, columns: { start: 10, count: 20 } }), b = await searchGridTwin(part, o);
  assert.deepEqual([a.scale, a.zero, a.loss], [b.scale, b.zero, b.loss]);
});

Deno.test("searchGridTwin() names row, column and value when a weight is not finite", async () => {
  const w = rowsOfManyKinds(3, 5);
  w.data[11] = NaN;
  const o = { bits: 3, symmetric: false, steps: 40, exponent: 2.4 as const };
  await assert.rejects(searchGridTwin(w, o), /weight: NaN at \(2, 1\)/);
});

for (const bits of [2, 3, 4, 5]) {
  for (const symmetric of [false, true]) {
    gpuTest(`searchGridGpu() gives the twin's bits when bits = ${bits}, symmetric = ${symmetric}`, async (gpu) => {
      for (const [rows, cols] of [...cases, [129, 31], [3, 1000]]) {
        const w = rowsOfManyKinds(rows, cols);
        for (const steps of [1, 33, 40, 100]) {
          const o = { bits, symmetric, steps, exponent: 2.4 as const };
          const once = await searchGridGpu(gpu, w, o), twice = await searchGridGpu(gpu, w, o);
          assert.deepEqual(once, await searchGridTwin(w, o));
          assert.deepEqual(twice, once);
        }
      }
    });
  }
}

gpuTest("searchGridGpu() tiles rows and takes the asked columns when a buffer is small", async (gpu) => {
  const w = rowsOfManyKinds(64, 128);
  const o = { bits: 3, symmetric: false, steps: 100, exponent: 2.4 as const, columns: { start: 3, count: 101 } };
  assert.deepEqual(await searchGridGpu(gpu, w, o), await searchGridTwin(w, o));
}, { maxBytes: 40000 });

gpuTest("wgsl/grid_search.wgsl settles nearly all rows itself when weights are of a usual kind", async (gpu) => {
  const g = rng(2, "usual"), rows = 64, cols = 300;
  const data = Float32Array.from({ length: rows * cols }, () => 0.02 * g.normal());
  for (const [bits, share] of [[3, 0.02], [4, 0.3]]) {
    const settled = await settledRows(gpu, { data, rows, cols }, { bits, symmetric: false, steps: 100, exponent: 2.4 });
    assert.ok(settled >= rows * (1 - share), `${settled} of ${rows} rows at ${bits} bits`);
  }
});

gpuTest(
  "wgsl/grid_search.wgsl bounds every score it gives, from near, and gives up on none that could win",
  async (gpu) => {
    const w = rowsOfManyKinds(16, 130), o = { bits: 3, symmetric: false, steps: 50, exponent: 2.4 as const };
    const buffers = openBuffers(gpu), { scores, ranges } = await boundTile(gpu, buffers, w, 0, 16, o);
    buffers.free();
    for (let r = 0; r < 16; r++) {
      const unit = ranges[r].step / 7;
      if (unit < 1e-8) continue; // rows of zeros and of tiny weights go the literal way
      const row = w.data.subarray(r * 130, (r + 1) * 130);
      const score = (i: number, z: number) =>
        row.reduce((sum, x) => {
          const y = x / (unit * i), q = Math.max(-z, Math.min(7 - z, Math.round(y)));
          return sum + Math.abs(2 * i * (y - q)) ** 2.4;
        }, 0);
      const all = Array.from({ length: 50 }, (_, i) => Array.from({ length: 8 }, (_, z) => score(i + 1, z)));
      const least = Math.min(...all.flat());
      for (let i = 1; i <= 50; i++) {
        const at = (r * 50 + i - 1) * 8, z0 = scores[at + 4], slack = 2.61e-4 * 132 * i ** 2.4;
        for (let z = 0; z < 8; z++) {
          const true_ = all[i - 1][z], margin = slack + 2e-4 * true_, j = z - z0;
          const given = j < 0 ? scores[at + 5] : j > 3 ? scores[at + 6] : scores[at + j];
          if (given > 1e38) assert.ok(true_ > least, `row ${r}, step ${i}, zero ${z}: given up, but it is the best`);
          else if (j < 0 || j > 3) assert.ok(given <= true_ + margin, `row ${r}, step ${i}: ${given} bounds ${true_}`);
          else {assert.ok(
              Math.abs(given - true_) <= margin,
              `row ${r}, step ${i}, zero ${z}: ${given} against ${true_}`,
            );}
        }
      }
    }
  },
);
