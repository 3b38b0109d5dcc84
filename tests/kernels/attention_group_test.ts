import assert from "node:assert/strict";
import { bindGroupAttention } from "../../lib/kernels/attention_group.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { attentionCases, expected } from "./attention_cases.ts";
import { runKernel } from "./bound_kernel_cases.ts";

gpuTest("bindGroupAttention() stays within rounding of scoresTwin() and mixTwin()", async (gpu) => {
  for (const c of attentionCases()) {
    const want = expected(c);
    const [got] = await runKernel(gpu, c.start, c.vectors, async ({ input, output, step }) => {
      const mixed = output(want.mixed.length), queries = input(c.queries), keys = input(c.keys);
      const values = input(c.values), bias = input(c.spec.bias ?? [0, 0, 0, 0]);
      const buffers = { step, queries, keys, bias, values, mixed };
      return { kernel: await bindGroupAttention(gpu, c.spec, buffers), outputs: [mixed] };
    });
    assertWithin(got.subarray(0, want.mixed.length), want.mixed, want.mixBound, c.what);
  }
});

gpuTest("bindGroupAttention() refuses heads wider than its workgroup", async (gpu) => {
  const spec = { heads: 1, keyHeads: 1, dim: 516, capacity: 4, window: null, bias: null };
  const none = {} as Parameters<typeof bindGroupAttention>[2];
  await assert.rejects(bindGroupAttention(gpu, spec, none), /attention: heads of 516 numbers, a workgroup takes 512/);
});
