import { bindMix } from "../../lib/kernels/attention_mix.ts";
import { firstKey } from "../../lib/kernels/attention_scores.ts";
import { quadsOf } from "../../lib/kernels/rotary.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { attentionCases, expected } from "./attention_cases.ts";
import { runKernel } from "./bound_kernel_cases.ts";

gpuTest("bindMix() stays within rounding of mixTwin(), values out of sight being NaN", async (gpu) => {
  for (const c of attentionCases()) {
    const want = expected(c), { heads, keyHeads, dim, capacity, window } = c.spec, quads = quadsOf(dim);
    const width = Math.ceil(capacity / 4), rows = c.vectors * heads;
    // What wgsl/attention_scores.wgsl leaves: −1e30 beside keys in sight, anything beyond.
    const scores = new Float32Array(rows * width * 4).fill(NaN);
    for (let line = 0; line < rows; line++) {
      const position = c.start + Math.floor(line / heads), first = firstKey(window, position);
      for (let s = first & ~3; s <= (position | 3); s++) {
        scores[line * width * 4 + s] = s < first || s > position ? -1e30 : want.scores[line * capacity + s];
      }
    }
    const values = Float32Array.from({ length: keyHeads * quads * capacity * 4 }, (_, i) => {
      const s = Math.floor(i / 4) % capacity, row = Math.floor(i / 4 / capacity), h = Math.floor(row / quads);
      return c.values[((h * capacity + s) * quads + row % quads) * 4 + i % 4];
    });
    const [got] = await runKernel(gpu, c.start, c.vectors, async ({ output, texels, step }) => {
      const mixed = output(want.mixed.length), seen = texels(width, rows, scores);
      const own = texels(capacity, keyHeads * quads, values);
      return { kernel: await bindMix(gpu, c.spec, { step, scores: seen, values: own, mixed }), outputs: [mixed] };
    });
    assertWithin(got.subarray(0, want.mixed.length), want.mixed, want.mixBound, c.what);
  }
});
