// The second moment of a layer's inputs, the heaviest sum of calibration, on the device beside torch and jax-js.
import { openGramGpu } from "../../../kernels/gram.ts";
import { openGramPeer } from "../../../model/matmul_peer.ts";
import { normalMatrix } from "../cases.ts";
import { type Contestant, interleave } from "../timing.ts";
import { type BenchTask, emptyRow, shareOfLimit } from "../types.ts";
import { missing, NO_GPU } from "./matvec.ts";

export const gramTask: BenchTask = {
  name: "gram",
  about: "second moments XᵀX of a layer's inputs against torch and jax-js",
  weight: 12,
  needs: ["torch"],
  run: async (c) => {
    const [tokens, width] = c.quick ? [64, 96] : [2048, 576], shape = `${tokens} tokens, ${width} columns`;
    if (!c.gpu) return [emptyRow("gram", shape, NO_GPU)];
    const x = normalMatrix(tokens, width, c.seed, "inputs"), gpu = c.gpu, jax = await openGramPeer(x);
    const first = await openGramGpu(gpu, width, "bench"), ours = await openGramGpu(gpu, width, "bench");
    try {
      await first.add(x);
      const h = await first.value(), right = await jax.result();
      const size = (i: number) => Math.sqrt(right.data[i * width + i]);
      let same = 0; // H = 2/n · XᵀX with one sample: twice the peer's; the bound is that of a float32 sum
      for (let i = 0; i < width; i++) {
        for (let j = 0; j < width; j++) {
          const at = i * width + j, bound = 2 * (tokens + 2) * 2 ** -24 * size(i) * size(j);
          if (Math.abs(h.data[at] - 2 * right.data[at]) <= 2 * bound) same++;
        }
      }
      const timed = async (work: () => Promise<unknown>) => {
        const begun = performance.now();
        await work();
        return (performance.now() - begun) / 1000;
      };
      const peers: Contestant[] = [{ name: "jax-js wasm", run: () => jax.run() }];
      if (c.torch) {
        const torch = c.torch;
        await torch.load("x", x.data, [tokens, width]);
        peers.unshift({ name: "torch", run: async () => (await torch.ask("gram", { x: "x", repeats: 3 })).seconds });
      }
      const t = await interleave({ name: "ours", run: () => timed(() => ours.add(x)) }, peers, {
        rounds: c.rounds,
        seconds: 0,
      });
      await c.torch?.ask("drop", { names: ["x"] });
      const main = t.peers[peers[0].name], operations = tokens * width * (width + 1);
      return [{
        name: "gram",
        shape,
        seconds: t.ours.seconds,
        shareOfLimit: shareOfLimit(c.limits, operations, 4 * (tokens * width + 2 * width * width), t.ours.seconds),
        peers: Object.fromEntries(Object.entries(t.peers).map(([p, v]) => [p, v.seconds])),
        ratio: main.ratio,
        spread: main.ratioSpread,
        rounds: t.rounds,
        agreement: same / (width * width),
        note: [
          "the upper triangle counts as the work; upload and Deno's wait for the device are in our time",
          ...missing(c, ["torch"]),
        ]
          .join("; "),
        figures: { gflops: operations / t.ours.seconds / 1e9 },
      }];
    } finally {
      first.close();
      ours.close();
      jax.close();
    }
  },
};
