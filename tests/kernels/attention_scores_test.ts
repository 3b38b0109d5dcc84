import assert from "node:assert/strict";
import { bindScores } from "../../lib/kernels/attention_scores.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { attentionCases, expected } from "./attention_cases.ts";
import { runKernel } from "./bound_kernel_cases.ts";

gpuTest("bindScores() stays within rounding of scoresTwin() and writes nothing out of sight", async (gpu) => {
  for (const c of attentionCases()) {
    const want = expected(c);
    const [got] = await runKernel(gpu, c.start, c.vectors, async ({ input, output, step }) => {
      const scores = output(want.scores.length), queries = input(c.queries), keys = input(c.keys);
      const bias = input(c.spec.bias ?? [0, 0, 0, 0]);
      return { kernel: await bindScores(gpu, c.spec, { step, queries, keys, bias, scores }), outputs: [scores] };
    });
    const seen = [...want.scores.keys()].filter((i) => !Number.isNaN(want.scores[i]));
    assertWithin(seen.map((i) => got[i]), seen.map((i) => want.scores[i]), (i) => want.scoreBound(seen[i]), c.what);
    assert.ok(want.scores.every((x, i) => !Number.isNaN(x) || Number.isNaN(got[i])), c.what);
  }
});
