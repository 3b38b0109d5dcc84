import assert from "node:assert/strict";
import { bindScores, firstKey } from "../../lib/kernels/attention_scores.ts";
import { quadsOf } from "../../lib/kernels/rotary.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { attentionCases, expected } from "./attention_cases.ts";
import { runKernel } from "./bound_kernel_cases.ts";

gpuTest("bindScores() stays within rounding of scoresTwin() and hides what is out of sight", async (gpu) => {
  for (const c of attentionCases()) {
    const want = expected(c), { heads, keyHeads, dim, capacity, window } = c.spec, quads = quadsOf(dim);
    const width = Math.ceil(capacity / 4), rows = c.vectors * heads;
    const [got] = await runKernel(gpu, c.start, c.vectors, async ({ input, texels, step }) => {
      const scores = texels(width, rows), queries = texels(quads, rows, c.queries);
      const keys = texels(capacity, keyHeads * quads, c.keys), bias = input(c.spec.bias ?? [0, 0, 0, 0]);
      return { kernel: await bindScores(gpu, c.spec, { step, queries, keys, bias, scores }), outputs: [scores] };
    });
    const folds = Math.ceil(width / 1024), rowOf = (line: number) => line * folds * Math.min(width, 1024) * 4;
    for (let line = 0; line < rows; line++) {
      const position = c.start + Math.floor(line / heads), first = firstKey(window, position), at = line * capacity;
      const row = got.subarray(rowOf(line)), seen = position + 1 - first;
      const mine = row.subarray(first, position + 1), theirs = want.scores.subarray(at + first, at + position + 1);
      assertWithin(mine, theirs, (i) => want.scoreBound(at + first + i), c.what);
      assert.equal(mine.length, seen);
      for (let s = first & ~3; s < first; s++) assert.equal(row[s], Math.fround(-1e30), `${c.what}, key ${s}`);
      for (let s = position + 1; s % 4 !== 0; s++) assert.equal(row[s], Math.fround(-1e30), `${c.what}, key ${s}`);
    }
  }
});
