import { bindMix } from "../../lib/kernels/attention_mix.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { attentionCases, expected } from "./attention_cases.ts";
import { runKernel } from "./bound_kernel_cases.ts";

gpuTest("bindMix() stays within rounding of mixTwin()", async (gpu) => {
  for (const c of attentionCases()) {
    const want = expected(c);
    const [got] = await runKernel(gpu, c.start, c.vectors, async ({ input, output, step }) => {
      const mixed = output(want.mixed.length), scores = input(want.scores), values = input(c.values);
      return { kernel: await bindMix(gpu, c.spec, { step, scores, values, mixed }), outputs: [mixed] };
    });
    assertWithin(got.subarray(0, want.mixed.length), want.mixed, want.mixBound, c.what);
  }
});
