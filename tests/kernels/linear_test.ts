import assert from "node:assert/strict";
import { openDenseLinear, openPackedLinear } from "../../lib/kernels/linear.ts";
import { multiplyPacked } from "../../lib/kernels/matvec_plain.ts";
import { assertWithin } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { multiplyOnDevice, packedCase, vectorsCase } from "./linear_cases.ts";

/** γ_n of float32 with some operations to spare: |computed − exact| ≤ γ Σ|terms| whatever the order of the sum. */
const gamma = (n: number) => (n + 8) * 2 ** -24 / (1 - (n + 8) * 2 ** -24);

gpuTest("openPackedLinear() gives the twin's product within the rounding bound", async (gpu) => {
  for (const [rows, cols] of [[1, 1], [31, 33], [33, 31], [128, 257]]) {
    for (const bits of [2, 3, 4, 8] as const) {
      for (const weak of [[], [0], Array.from({ length: cols }, (_, c) => c)]) {
        for (const groups of [1, 3]) {
          const m = packedCase({ rows, cols, bits, weak, groups }), x = vectorsCase(cols, 3);
          const linear = await openPackedLinear(gpu, m);
          const got = await multiplyOnDevice(gpu, linear, x, 3), { y, magnitude } = multiplyPacked(m, x, 3);
          assertWithin(got, y, (i) => gamma(cols) * magnitude[i], `(${rows}, ${cols}), ${bits} bits, ${groups} groups`);
          assert.deepEqual(await multiplyOnDevice(gpu, linear, x, 3), got);
          linear.destroy();
        }
      }
    }
  }
});

gpuTest("openDenseLinear() gives the product within the rounding bound", async (gpu) => {
  const rows = 33, cols = 65, x = vectorsCase(cols, 2), data = vectorsCase(rows * cols, 1);
  const linear = await openDenseLinear(gpu, { data, rows, cols });
  const got = await multiplyOnDevice(gpu, linear, x, 2), exact = new Float64Array(2 * rows), total = exact.slice();
  for (let i = 0; i < exact.length; i++) {
    for (let c = 0, at = i % rows * cols, from = Math.floor(i / rows) * cols; c < cols; c++) {
      exact[i] += data[at + c] * x[from + c];
      total[i] += Math.abs(data[at + c] * x[from + c]);
    }
  }
  assertWithin(got, exact, (i) => gamma(cols) * total[i]);
  linear.destroy();
});
