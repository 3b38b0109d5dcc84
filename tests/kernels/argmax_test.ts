import assert from "node:assert/strict";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import { argmaxTwin, bindArgmax, NOT_FINITE, winnersWords } from "../../lib/kernels/argmax.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { normals } from "./bound_kernel_cases.ts";

gpuTest("bindArgmax() picks argmaxTwin()'s token, the first of equals, from any parts of a vocabulary", async (gpu) => {
  for (const vocab of [1, 31, 257, 3000]) {
    for (const cuts of [[0, vocab], [0, vocab >> 1, vocab]]) {
      for (const trial of ["normal", "equal", "last", "tie", "negative", "NaN", "infinite"]) {
        const logits = normals(vocab, `${vocab} ${trial}`);
        if (trial === "equal") logits.fill(-2);
        if (trial === "last") logits[vocab - 1] = 9;
        if (trial === "tie") [vocab - 1, vocab >> 2, vocab >> 1].forEach((i) => logits[i] = 9);
        if (trial === "negative") logits.forEach((x, i) => logits[i] = x - 1e30);
        if (trial === "NaN") logits[vocab >> 1] = NaN;
        if (trial === "infinite") logits[vocab >> 2] = -Infinity;
        const buffers = openBuffers(gpu), step = buffers.uniform(2), parts = [];
        gpu.device.queue.writeBuffer(step, 0, Uint32Array.of(3, 1));
        for (let p = 0; p + 1 < cuts.length; p++) {
          const [first, end] = [cuts[p], cuts[p + 1]];
          if (end > first) {
            parts.push({ buffer: buffers.upload(logits.slice(first, end), "part"), first, rows: end - first });
          }
        }
        const ids = buffers.scratch(16, "ids"), written = buffers.scratch(20, "written");
        const winners = buffers.scratch(winnersWords(parts.length) * 4, "winners");
        const kernels = await bindArgmax(gpu, parts, { step, winners, ids, written });
        const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
        for (const k of kernels) k.record(pass, 3, 1);
        pass.end();
        gpu.device.queue.submit([encoder.finish()]);
        const want = argmaxTwin(logits), what = `${trial}, ${vocab} in ${cuts}`;
        assert.equal(new Uint32Array(await buffers.read(ids, 4))[0], want, what);
        const all = new Uint32Array(await buffers.read(written, 20)),
          nan = new Uint32Array(new Float32Array([NaN]).buffer)[0];
        assert.deepEqual([...all], [nan, nan, nan, want, nan], what);
        if (trial === "NaN" || trial === "infinite") assert.equal(want, NOT_FINITE);
        buffers.free();
      }
    }
  }
});
