import assert from "node:assert/strict";
import { dequantizeGpu, dequantizeTwin } from "../../lib/kernels/dequantize.ts";
import { multiplyPacked } from "../../lib/kernels/matvec.ts";
import { assertWithin } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { packedCase } from "./linear_cases.ts";

const sets = (cols: number) => [
  [],
  [...new Set([0, cols - 1])], // both ends
  Array.from({ length: Math.min(12, cols) }, (_, i) => i), // more than eight in one block of 256
  Array.from({ length: cols }, (_, c) => c),
];

Deno.test("dequantizeTwin() multiplies as the packed product does when x is a unit vector", () => {
  const m = packedCase({ rows: 5, cols: 21, bits: 3, weak: [2, 20], groups: 3 }), w = dequantizeTwin(m);
  for (let c = 0; c < 21; c++) {
    const { y } = multiplyPacked(m, new Float32Array(21).fill(1, c, c + 1), 1);
    assertWithin(Array.from({ length: 5 }, (_, r) => w.data[r * 21 + c]), y, (r) => 1e-7 * Math.abs(y[r]));
  }
});

gpuTest("dequantizeGpu() gives the twin's floats to the last bit", async (gpu) => {
  for (const [rows, cols] of [[1, 1], [31, 33], [33, 31], [5, 128], [128, 257]]) {
    for (const bits of [2, 3, 4, 8] as const) {
      for (const weak of sets(cols)) {
        for (const groups of [1, 3]) {
          const m = packedCase({ rows, cols, bits, weak, groups });
          assert.deepEqual(
            await dequantizeGpu(gpu, m),
            dequantizeTwin(m),
            `(${rows}, ${cols}), ${bits} bits, ${groups}`,
          );
        }
      }
    }
  }
});

gpuTest("dequantizeGpu() takes zero points that are no whole numbers", async (gpu) => {
  const m = packedCase({ rows: 9, cols: 50, bits: 4, weak: [3] });
  const odd = { ...m, zero: m.zero.map((z) => z + 0.37) };
  assert.deepEqual(await dequantizeGpu(gpu, odd), dequantizeTwin(odd));
});

gpuTest("dequantizeGpu() goes row by row where a buffer is small", async (gpu) => {
  const m = packedCase({ rows: 37, cols: 64, bits: 3, weak: [5] });
  assert.deepEqual(await dequantizeGpu(gpu, m), dequantizeTwin(m));
}, { maxBytes: 1024 });
