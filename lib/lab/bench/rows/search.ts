// The grid search against the same search in torch: every range, every zero point.
import { openKernels } from "../../../kernels/kernels.ts";
import { layerCase } from "../cases.ts";
import { type Contestant, interleave } from "../timing.ts";
import { type BenchContext, type BenchRow, type BenchTask } from "../types.ts";
import { missing } from "./matvec.ts";

interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly bits: number;
}

const FULL: readonly Case[] = [{ rows: 576, cols: 576, bits: 3 }, { rows: 192, cols: 1536, bits: 4 }];
const QUICK: readonly Case[] = [{ rows: 32, cols: 192, bits: 3 }];
const STEPS = 100;

export const searchTask: BenchTask = {
  name: "search-vs-torch",
  about: "grid search of 100 ranges against torch, same answer",
  weight: 60,
  needs: ["torch"],
  run: async (c) => {
    const rows: BenchRow[] = [];
    for (const s of c.quick ? QUICK : FULL) rows.push(await searchRow(c, s));
    return rows;
  },
};

async function searchRow(c: BenchContext, s: Case): Promise<BenchRow> {
  const name = "search-vs-torch", shape = `${s.rows} × ${s.cols}, ${s.bits} bits, ${STEPS} ranges`;
  const w = layerCase(s.rows, s.cols, c.seed).weight;
  const o = { bits: s.bits, symmetric: false, steps: STEPS, exponent: 2.4 as const };
  const auto = await openKernels("auto"), shader = c.gpu ? await openKernels("gpu") : null;
  const contestant = (name: string, k: typeof auto): Contestant => ({
    name,
    run: async () => {
      const begun = performance.now();
      await k.searchGrid(w, o);
      return (performance.now() - begun) / 1000;
    },
  });
  try {
    const ours = await auto.searchGrid(w, o), peers: Contestant[] = [];
    let share: number | null = null;
    if (c.torch) {
      const torch = c.torch;
      await torch.load("w", w.data, [s.rows, s.cols]);
      const request = { weight: "w", bits: s.bits, steps: STEPS };
      await torch.ask("search", { ...request, out: "grid" });
      const scale = new Float32Array(await torch.take("grid.scale")),
        zero = new Float32Array(await torch.take("grid.zero"));
      const same = [...scale].filter((v, r) => zero[r] === ours.zero[r] && Math.abs(v - ours.scale[r]) <= 1e-6 * v);
      share = same.length / s.rows;
      peers.push({ name: "torch", run: async () => (await torch.ask("search", request)).seconds });
    }
    if (shader && auto.description !== shader.description) peers.push(contestant("own shader", shader));
    const t = await interleave(contestant("ours", auto), peers, { rounds: c.rounds, seconds: c.rowSeconds });
    await c.torch?.ask("drop", { names: ["w", "grid.scale", "grid.zero"] });
    const first = t.peers.torch;
    return {
      name,
      shape,
      seconds: t.ours.seconds,
      shareOfLimit: null, // most of what the definition computes is never done, and the rest is no multiply-add
      peers: Object.fromEntries(Object.entries(t.peers).map(([p, v]) => [p, v.seconds])),
      ratio: first?.ratio ?? null,
      spread: first?.ratioSpread ?? t.ours.spread,
      rounds: t.rounds,
      ...(share === null ? {} : { agreement: share }),
      note: [
        auto.description,
        share === null ? "" : `same scale and zero point on ${(100 * share).toFixed(2)} % of the rows`,
        ...missing(c, ["torch"]),
      ].filter((p) => p !== "").join("; "),
      figures: {
        weightsPerSecond: s.rows * s.cols / t.ours.seconds,
        ...(first ? { ratioOfFastest: first.fastest / t.ours.fastest } : {}),
      },
    };
  } finally {
    auto.close();
    shader?.close();
  }
}
