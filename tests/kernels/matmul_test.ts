import assert from "node:assert/strict";
import { openMatmul } from "../../lib/kernels/matmul.ts";
import { multiplyDense } from "../../lib/kernels/matmul.ts";
import { assertWithin } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { multiplyOnDevice, vectorsCase } from "./linear_cases.ts";

/** γ_n of float32 with some operations to spare: |computed − exact| ≤ γ Σ|terms| whatever the order of the sum. */
const gamma = (n: number) => (n + 8) * 2 ** -24 / (1 - (n + 8) * 2 ** -24);
const shapes = [[1, 1, 9], [31, 33, 31], [33, 31, 1], [128, 257, 33], [257, 128, 128], [65, 5, 257], [192, 576, 70]];

for (const variant of ["wide", "tiled"] as const) {
  gpuTest(`openMatmul() gives the twin's product within the rounding bound, ${variant}`, async (gpu) => {
    for (const dtype of ["f32", "f16"] as const) {
      for (const [rows, cols, vectors] of shapes) {
        // Rounded to f16 beforehand, so that both kinds hold the same matrix.
        const w = { data: vectorsCase(rows * cols, 1).map(Math.f16round), rows, cols }, x = vectorsCase(cols, vectors);
        const linear = await openMatmul(gpu, w, { variant, dtype });
        assert.equal(linear.variant, `${dtype}-${variant}`);
        const got = await multiplyOnDevice(gpu, linear, x, vectors), { y, magnitude } = multiplyDense(w, x, vectors);
        assertWithin(got, y, (i) => gamma(cols) * magnitude[i], `${vectors} × (${rows}, ${cols}), ${dtype}`);
        assert.deepEqual(await multiplyOnDevice(gpu, linear, x, vectors), got);
        linear.destroy();
      }
    }
  });
}

gpuTest("openMatmul() takes a matrix in parts when one binding cannot hold it", async (gpu) => {
  const rows = 53, cols = 40, w = { data: vectorsCase(rows * cols, 1), rows, cols }, x = vectorsCase(cols, 17);
  const linear = await openMatmul(gpu, w), { y, magnitude } = multiplyDense(w, x, 17);
  assertWithin(await multiplyOnDevice(gpu, linear, x, 17), y, (i) => gamma(cols) * magnitude[i]);
  assert.ok(linear.bytes >= rows * cols * 4);
  linear.destroy();
}, { maxBytes: 4096 });

gpuTest("openMatmul() keeps one vector's infinity out of the others", async (gpu) => {
  for (const variant of ["wide", "tiled"] as const) {
    for (const dtype of ["f32", "f16"] as const) {
      const rows = 20, cols = 12, w = { data: vectorsCase(rows * cols, 1), rows, cols }, x = vectorsCase(cols, 20);
      x.fill(Infinity, 7 * cols, 8 * cols);
      const linear = await openMatmul(gpu, w, { variant, dtype }), got = await multiplyOnDevice(gpu, linear, x, 20);
      got.forEach((v, i) => assert.equal(Number.isFinite(v), Math.floor(i / rows) !== 7, `${variant} ${dtype} [${i}]`));
      linear.destroy();
    }
  }
});

gpuTest("record() of one matmul serves different numbers of vectors in one submission", async (gpu) => {
  const rows = 24, cols = 21, w = { data: vectorsCase(rows * cols, 1), rows, cols }, linear = await openMatmul(gpu, w);
  for (const vectors of [9, 40, 17]) {
    const x = vectorsCase(cols, vectors), { y, magnitude } = multiplyDense(w, x, vectors);
    assertWithin(await multiplyOnDevice(gpu, linear, x, vectors), y, (i) => gamma(cols) * magnitude[i]);
  }
  linear.destroy();
});
