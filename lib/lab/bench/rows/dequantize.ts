// Plain dequantization of a whole layer.
import { dequantizeTwin } from "../../../kernels/dequantize.ts";
import { openDequantizeTiming } from "../../../kernels/linear_timing.ts";
import { packedBytes, packedMatrix, weakColumnsOf } from "../cases.ts";
import { interleave, repeatsFor } from "../timing.ts";
import { type BenchTask, emptyRow, shareOfLimit } from "../types.ts";
import { NO_GPU } from "./matvec.ts";

export const dequantizeTask: BenchTask = {
  name: "dequantize",
  about: "a whole layer from 3 bits to float32 on the device, beside its TypeScript twin",
  weight: 5,
  run: async (c) => {
    const size = c.quick ? 256 : 2048, weak = weakColumnsOf(size, 3, 3.1);
    const shape = `${size} × ${size}, 3 bits, ${weak} weak columns`;
    if (!c.gpu) return [emptyRow("dequantize", shape, NO_GPU)];
    const m = packedMatrix(size, size, 3, weak, c.seed), timing = await openDequantizeTiming(c.gpu, m);
    try {
      const right = dequantizeTwin(m).data, got = await timing.output(); // size is a multiple of the stride's eight
      const agreement = right.reduce((n, v, i) => n + (v === got[i] ? 1 : 0), 0) / right.length;
      const repeats = await repeatsFor((n) => timing.run(n), c.sampleSeconds);
      const twin = {
        name: "TypeScript twin",
        run: () => {
          const begun = performance.now();
          dequantizeTwin(m);
          return Promise.resolve((performance.now() - begun) / 1000);
        },
      };
      const ours = { name: "ours", run: async () => await timing.run(repeats) / repeats };
      const t = await interleave(ours, [twin], { rounds: c.rounds, seconds: 0 });
      const bytes = packedBytes(m) + 4 * size * size;
      return [{
        name: "dequantize",
        shape,
        seconds: t.ours.seconds,
        shareOfLimit: shareOfLimit(c.limits, 2 * size * size, bytes, t.ours.seconds),
        peers: { "TypeScript twin": t.peers["TypeScript twin"].seconds },
        ratio: t.peers["TypeScript twin"].ratio,
        spread: t.peers["TypeScript twin"].ratioSpread,
        rounds: t.rounds,
        agreement,
        note: "bit for bit the twin's",
        figures: { "read and written GB/s": bytes / t.ours.seconds / 1e9 },
      }];
    } finally {
      timing.close();
    }
  },
};
