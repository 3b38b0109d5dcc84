import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { packRows, packRowsGpu, unpackRows, unpackRowsGpu } from "../../lib/kernels/pack.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";

function codesOf(rows: number, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const random = rng(rows * 1000 + cols, `codes of ${bits} bits`);
  return Uint8Array.from({ length: rows * cols }, () => random.int(2 ** bits));
}

gpuTest("packRowsGpu() and unpackRowsGpu() give the twins' words and codes at any shape", async (gpu) => {
  for (const [rows, cols] of [[1, 1], [3, 31], [5, 33], [31, 10], [2, 128], [7, 257], [64, 1536]]) {
    for (const bits of [1, 2, 3, 4, 5, 7, 8]) {
      const codes = codesOf(rows, cols, bits), words = packRows(codes, rows, cols, bits);
      const what = `(${rows}, ${cols}) of ${bits} bits`;
      assert.deepEqual(await packRowsGpu(gpu, codes, rows, cols, bits), words, what);
      assert.deepEqual(await unpackRowsGpu(gpu, words, rows, cols, bits), codes, what);
      assert.deepEqual(unpackRows(words, rows, cols, bits), codes, what);
    }
  }
});

gpuTest("packRowsGpu() tiles rows when a buffer is small", async (gpu) => {
  const codes = codesOf(40, 77, 3), words = packRows(codes, 40, 77, 3);
  assert.deepEqual(await packRowsGpu(gpu, codes, 40, 77, 3), words);
  assert.deepEqual(await unpackRowsGpu(gpu, words, 40, 77, 3), codes);
}, { maxBytes: 600 });

gpuTest("packRowsGpu() refuses a code that needs more bits, unpackRowsGpu() words that do not fit", async (gpu) => {
  await assert.rejects(packRowsGpu(gpu, Uint8Array.of(1, 8, 2), 1, 3, 3), /code 1: 8 needs more than 3 bits/);
  await assert.rejects(unpackRowsGpu(gpu, new Uint32Array(4), 1, 33, 2), /4 words for 1 rows of 3/);
});
