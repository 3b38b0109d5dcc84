import assert from "node:assert/strict";
import { feedbackGpu, feedbackTwin } from "../../lib/kernels/reverse_cholesky.ts";
import { rng } from "../../lib/io/rng.ts";
import type { Matrix } from "../../lib/io/tensor.ts";
import { assertFinite, assertWithin } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";

/** A second moment of `samples` inputs whose columns differ in size and lean on each other, as a model's do. */
function hessianCase(n: number, samples = 2 * n + 8): Matrix {
  const random = rng(n, "hessian"), x = new Float64Array(samples * n), data = new Float32Array(n * n);
  for (let s = 0; s < samples; s++) {
    const common = random.normal();
    for (let j = 0; j < n; j++) x[s * n + j] = (j % 17 === 3 ? 5 : 0.5) * (random.normal() + 0.7 * common);
  }
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let sum = 0;
      for (let s = 0; s < samples; s++) sum += x[s * n + i] * x[s * n + j];
      data[i * n + j] = data[j * n + i] = 2 * sum / samples;
    }
  }
  return { data, rows: n, cols: n };
}

const meanDiagonal = (h: Matrix) => {
  let sum = 0;
  for (let j = 0; j < h.rows; j++) sum += h.data[j * h.rows + j];
  return sum / h.rows;
};
const shuffled = (n: number) =>
  Int32Array.from({ length: n }, (_, i) => i).sort((a, b) => (a * 7) % 11 - (b * 7) % 11 || b - a);

function close(got: Float32Array, want: Float32Array, n: number, what: string): void {
  assertFinite(got, what);
  // Column k of M solves a system that H's own rounding moves by √n · 2⁻²⁴ relative; conditioning adds two digits here.
  let size = 0;
  for (const v of want) size = Math.max(size, Math.abs(v));
  assertWithin(got, want, 300 * Math.sqrt(n) * 2 ** -24 * size, what);
  for (let j = 0; j < n; j++) for (let k = 0; k <= j; k++) assert.equal(got[j * n + k], 0);
}

gpuTest("feedbackGpu() gives the twin's M, in any order", async (gpu) => {
  for (const n of [1, 2, 8, 31, 33, 64, 128, 257]) {
    const h = hessianCase(n), lambda = 0.01 * meanDiagonal(h);
    for (const order of [null, shuffled(n)]) {
      const got = await feedbackGpu(gpu, h, lambda, order), want = feedbackTwin(h, lambda, order);
      assert(got.ok && want.ok);
      close(got.feedback, want.feedback, n, `n = ${n}`);
      assertWithin([got.smallest.share], [want.smallest.share], 1e-4 * want.smallest.share, "smallest pivot");
      assert.equal(got.smallest.pivot, want.smallest.pivot);
      const again = await feedbackGpu(gpu, h, lambda, order);
      assert.deepEqual(again, got);
    }
  }
});

gpuTest("feedbackGpu() gives the twin's M with the tiles of real GPUs", async (gpu) => {
  const n = 129, h = hessianCase(n), lambda = 0.01 * meanDiagonal(h);
  const got = await feedbackGpu({ ...gpu, software: false }, h, lambda), want = feedbackTwin(h, lambda);
  assert(got.ok && want.ok);
  close(got.feedback, want.feedback, n, "tiles of real GPUs");
});

gpuTest("feedbackGpu() keeps the factor in strips where one binding cannot hold it", async (gpu) => {
  const n = 150, h = hessianCase(n), lambda = 0.01 * meanDiagonal(h);
  const got = await feedbackGpu(gpu, h, lambda), want = feedbackTwin(h, lambda);
  assert(got.ok && want.ok);
  close(got.feedback, want.feedback, n, "in strips");
}, { maxBytes: 160 * 64 * 4 });

gpuTest("feedbackGpu() names the pivot that is not positive, as its twin does", async (gpu) => {
  const n = 70, h = hessianCase(n), order = shuffled(n);
  h.data[30 * n + 30] = -4;
  const got = await feedbackGpu(gpu, h, 0.5, order), want = feedbackTwin(h, 0.5, order);
  assert(!got.ok && !want.ok);
  assert.equal(order[got.pivot], 30);
  assert.equal(got.pivot, want.pivot);
  assertWithin([got.value], [want.value], 1e-4 * Math.abs(want.value), "value");
});

gpuTest("feedbackGpu() feeds nothing when columns do not interact", async (gpu) => {
  const n = 40, h = { data: new Float32Array(n * n), rows: n, cols: n };
  for (let j = 0; j < n; j++) h.data[j * n + j] = j + 1;
  const got = await feedbackGpu(gpu, h, 0);
  assert(got.ok);
  assert.deepEqual(got.feedback, new Float32Array(n * n));
  assertWithin([got.smallest.share], [1], 1e-6, "share");
});
