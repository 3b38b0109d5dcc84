import { bindNll, joinNll, NLL_PARTS, nllTwin } from "../../lib/kernels/token_nll.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { normals, runKernel, U } from "./bound_kernel_cases.ts";

gpuTest("bindNll() and joinNll() give nllTwin()'s likelihoods, whatever parts the vocabulary lies in", async (gpu) => {
  for (const vocab of [1, 31, 257, 3000]) {
    const vectors = 4, logits = normals(vectors * vocab, "logits", 6), targets = [0, vocab - 1, vocab >> 1, vocab >> 2];
    if (vocab > 30) logits[5] = 300; // one token beyond all others
    for (const cuts of [[0, vocab], [0, vocab >> 1, vocab], [0, 1, vocab]]) {
      const pieces: Float32Array[] = [];
      for (let p = 0; p + 1 < cuts.length; p++) {
        const first = cuts[p], rows = cuts[p + 1] - first;
        if (rows === 0) continue;
        const own = Float32Array.from({ length: vectors * rows }, (_, i) => {
          return logits[Math.floor(i / rows) * vocab + first + i % rows];
        });
        const [parts] = await runKernel(gpu, 0, vectors, async ({ input, words, output }) => {
          const out = output(vectors * NLL_PARTS * 4);
          const buffers = { logits: input(own), targets: words(targets), parts: out };
          return { kernel: await bindNll(gpu, { first, rows }, buffers), outputs: [out] };
        });
        pieces.push(parts);
      }
      const want = nllTwin(logits, targets);
      // The sum of exponentials is right to (3 + 2·range) units and its length's rounding; the logits come exact.
      const bound = (3 + 2 * 60 + vocab / 64 + 8) * 2 * U;
      assertWithin(joinNll(pieces, vectors), want, (i) => bound + 4 * U * Math.abs(want[i]), `${vocab} in ${cuts}`);
    }
  }
});
