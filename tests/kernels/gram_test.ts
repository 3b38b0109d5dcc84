import assert from "node:assert/strict";
import { type GramMean, openGramGpu, openGramTwin } from "../../lib/kernels/gram.ts";
import { rng } from "../../lib/io/rng.ts";
import type { Matrix } from "../../lib/io/tensor.ts";
import { assertWithin } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";

function sample(tokens: number, width: number, seed: number): Matrix {
  const random = rng(seed, `sample ${tokens} ${width}`);
  return {
    data: Float32Array.from({ length: tokens * width }, (_, i) => (i % 7 === 3 ? 9 : 1) * random.normal()),
    rows: tokens,
    cols: width,
  };
}

async function meanOf(mean: GramMean, samples: readonly Matrix[]): Promise<Matrix> {
  for (const x of samples) await mean.add(x);
  const value = await mean.value();
  mean.close();
  return value;
}

/** |computed − exact| ≤ γ Σ|x_i x_j| in any order; the terms' sizes are the twin's value for |X|. */
async function assertMean(got: Matrix, samples: readonly Matrix[], what: string): Promise<void> {
  const n = got.rows, tokens = samples.reduce((sum, x) => sum + x.rows, 0);
  const want = await meanOf(openGramTwin(n, "twin"), samples);
  const sizes = await meanOf(openGramTwin(n, "sizes"), samples.map((x) => ({ ...x, data: x.data.map(Math.abs) })));
  const gamma = (tokens + 4 * samples.length + 8) * 2 ** -24;
  assertWithin(got.data, want.data, (i) => gamma * sizes.data[i], what);
}

gpuTest("openGramGpu() gives the twin's mean within the rounding bound, and both halves alike", async (gpu) => {
  for (const [tokens, width] of [[1, 1], [5, 31], [31, 33], [33, 128], [128, 257], [70, 576]]) {
    const samples = [sample(tokens, width, 1), sample(tokens + 3, width, 2), sample(1, width, 3)];
    const got = await meanOf(await openGramGpu(gpu, width, "h"), samples);
    await assertMean(got, samples, `${tokens} × ${width}`);
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < i; j++) assert.equal(got.data[i * width + j], got.data[j * width + i]);
    }
    assert.deepEqual(await meanOf(await openGramGpu(gpu, width, "h"), samples), got);
  }
});

gpuTest("openGramGpu() gives the twin's mean with the shared tiles of real GPUs", async (gpu) => {
  const samples = [sample(40, 130, 1), sample(9, 130, 2)];
  await assertMean(await meanOf(await openGramGpu({ ...gpu, software: false }, 130, "h"), samples), samples, "tiled");
});

gpuTest("openGramGpu() keeps H in strips and takes tokens in parts where a buffer is small", async (gpu) => {
  const samples = [sample(150, 140, 1), sample(70, 140, 2)];
  await assertMean(await meanOf(await openGramGpu(gpu, 140, "h"), samples), samples, "in strips");
}, { maxBytes: 192 * 64 * 4 });

gpuTest("openGramGpu() is zero before the first sample, and names what is not finite", async (gpu) => {
  const mean = await openGramGpu(gpu, 3, "0.fc1");
  assert.deepEqual((await mean.value()).data, new Float32Array(9));
  const bad = sample(2, 3, 1);
  bad.data[4] = NaN;
  await assert.rejects(mean.add(bad), /0\.fc1: NaN in the calibration input at token 1, column 1 of sample 0/);
  await assert.rejects(mean.add(sample(2, 4, 1)), /4 columns, not 3/);
  mean.close();
});
