import assert from "node:assert/strict";
import { openPackedMatmul } from "../../lib/kernels/matmul_packed.ts";
import { multiplyPacked } from "../../lib/kernels/matvec.ts";
import { assertWithin } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { multiplyOnDevice, packedCase, vectorsCase } from "./linear_cases.ts";

/** γ_n of float32 with some operations to spare: |computed − exact| ≤ γ Σ|terms| whatever the order of the sum. */
const gamma = (n: number) => (n + 8) * 2 ** -24 / (1 - (n + 8) * 2 ** -24);
const shapes = [[1, 1, 9], [31, 33, 31], [33, 31, 1], [128, 257, 33], [257, 128, 65]];
const sets = (cols: number) => [
  [],
  [...new Set([0, cols - 1])], // both ends
  Array.from({ length: Math.min(12, cols) }, (_, i) => i), // more than eight in one block of 256
  Array.from({ length: cols }, (_, c) => c),
];

for (const variant of ["wide", "tiled"] as const) {
  gpuTest(`openPackedMatmul() gives the twin's product within the rounding bound, ${variant}`, async (gpu) => {
    let turn = 0;
    for (const [rows, cols, vectors] of shapes) {
      for (const [bits, groups] of [[2, 1], [3, 1], [4, 1], [8, 1], [3, 3], [4, 3]] as const) {
        // Every set of weak columns with every width at one shape, one after another at the others.
        for (const weak of rows === 31 ? sets(cols) : [sets(cols)[turn++ % 4]]) {
          const m = packedCase({ rows, cols, bits, weak, groups }), x = vectorsCase(cols, vectors);
          const linear = await openPackedMatmul(gpu, m, { variant });
          const got = await multiplyOnDevice(gpu, linear, x, vectors), { y, magnitude } = multiplyPacked(m, x, vectors);
          assertWithin(
            got,
            y,
            (i) => gamma(cols) * magnitude[i],
            `${vectors} × (${rows}, ${cols}), ${bits} bits, ${groups}`,
          );
          assert.deepEqual(await multiplyOnDevice(gpu, linear, x, vectors), got);
          linear.destroy();
        }
      }
    }
  });

  gpuTest(`openPackedMatmul() takes a matrix in parts when one binding cannot hold it, ${variant}`, async (gpu) => {
    const m = packedCase({ rows: 70, cols: 600, bits: 3, weak: [1, 599] }), x = vectorsCase(600, 3);
    const linear = await openPackedMatmul(gpu, m, { variant }), { y, magnitude } = multiplyPacked(m, x, 3);
    assertWithin(await multiplyOnDevice(gpu, linear, x, 3), y, (i) => gamma(600) * magnitude[i]);
    linear.destroy();
  }, { maxBytes: 40960 });
}

gpuTest("openPackedMatmul() gives a real layer's product, slice after slice", async (gpu) => {
  // The few vectors read slices from buffers, the many from textures.
  for (const [rows, cols, vectors] of [[576, 1536, 17], [192, 576, 260]]) {
    const m = packedCase({ rows, cols, bits: 3, weak: [7, 8, 9, cols - 1] }), x = vectorsCase(cols, vectors);
    const linear = await openPackedMatmul(gpu, m, { variant: "wide" }),
      { y, magnitude } = multiplyPacked(m, x, vectors);
    assertWithin(await multiplyOnDevice(gpu, linear, x, vectors), y, (i) => gamma(cols) * magnitude[i]);
    linear.destroy();
  }
});
