// Scoring text: the lab's own path (jax-js on WebAssembly) beside the packed runtime.
import { rng } from "../../../io/rng.ts";
import { openLanguageModel } from "../../../model/language_model.ts";
import { openPackedRuntime } from "../../../model/packed_runtime.ts";
import { perplexity } from "../../../model/perplexity.ts";
import { resolveModel } from "../../open.ts";
import { type Contestant, interleave } from "../timing.ts";
import { type BenchRow, type BenchTask, shareOfLimit } from "../types.ts";

export const perplexityTask: BenchTask = {
  name: "perplexity",
  about: "scoring windows of text, jax-js on WebAssembly beside our runtime on the device",
  weight: 25,
  run: async (c): Promise<BenchRow[]> => {
    const files = await resolveModel(c.model), model = await openLanguageModel(files);
    const open: { close(): void }[] = [files.source, model];
    try {
      const length = Math.min(c.quick ? 16 : 128, model.config.maxPositions ?? 128), windows = c.quick ? 1 : 2;
      const stream = rng(c.seed, "windows"), { vocab } = model.config;
      const ids = Int32Array.from({ length: windows * length }, () => stream.int(vocab));
      const text = { ids, windows, length }, jax = await perplexity(model, text);
      const timed = (name: string, work: () => Promise<unknown>): Contestant => ({
        name,
        run: async () => {
          const begun = performance.now();
          await work();
          return (performance.now() - begun) / 1000;
        },
      });
      const peers: Contestant[] = [];
      let agreement: number | undefined;
      if (c.gpu) {
        const runtime = await openPackedRuntime(c.gpu, files, { capacity: length, chunk: Math.min(64, length) });
        open.unshift(runtime);
        agreement = 1 - Math.abs((await runtime.score(text)).meanNll / jax.meanNll - 1);
        peers.push(timed("packed runtime, dense f32", () => runtime.score(text)));
      }
      const t = await interleave(timed("ours", () => perplexity(model, text)), peers, { rounds: c.rounds, seconds: 0 });
      const weights = model.linears(0).reduce((n, l) => n + l.out * l.in, 0) * model.blocks +
        vocab * model.config.width;
      const first = Object.values(t.peers)[0];
      return [{
        name: "perplexity",
        shape: `${files.label}, ${windows} windows of ${length} tokens`,
        seconds: t.ours.seconds,
        shareOfLimit: shareOfLimit(c.limits, 2 * weights * windows * length, 0, t.ours.seconds),
        peers: Object.fromEntries(Object.entries(t.peers).map(([p, v]) => [p, v.seconds])),
        ratio: first?.ratio ?? null,
        spread: first?.ratioSpread ?? t.ours.spread,
        rounds: t.rounds,
        ...(agreement === undefined ? {} : { agreement }),
        note: "ours is jax-js on WebAssembly, which every experiment scores with; agreement: of the mean likelihoods",
        figures: { tokensPerSecond: windows * length / t.ours.seconds },
      }];
    } finally {
      for (const o of open) o.close();
    }
  },
};
