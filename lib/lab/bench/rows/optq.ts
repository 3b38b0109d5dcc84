// OPTQ on a layer: factorization and sweep against torch's three steps (Cholesky, inverse, Cholesky) and column loop.
import type { Matrix } from "../../../io/tensor.ts";
import { openKernels } from "../../../kernels/kernels.ts";
import { factorDamped } from "../../../quant/factor.ts";
import { layerCase } from "../cases.ts";
import { type Contestant, interleave } from "../timing.ts";
import { type BenchContext, type BenchRow, type BenchTask, shareOfLimit } from "../types.ts";
import { missing } from "./matvec.ts";

const FULL = [[576, 576], [576, 1536], [2048, 2048]], QUICK = [[96, 160]];
const BITS = 3, DAMP = 0.01, BLOCK = 128;

export const optqTask: BenchTask = {
  name: "optq-vs-torch",
  about: "factorization and OPTQ sweep of a layer against torch's three-step one",
  weight: 90,
  needs: ["torch"],
  run: async (c) => {
    const rows: BenchRow[] = [];
    for (const [r, k] of c.quick ? QUICK : FULL) rows.push(await optqRow(c, r, k));
    return rows;
  },
};

async function optqRow(c: BenchContext, rows: number, cols: number): Promise<BenchRow> {
  const name = "optq-vs-torch", shape = `${rows} × ${cols}, ${BITS} bits`;
  const { weight, hessian } = layerCase(rows, cols, c.seed), kernels = await openKernels("auto");
  try {
    const search = { bits: BITS, symmetric: false, steps: 40, exponent: 2.4 as const };
    const grid = await kernels.searchGrid(weight, search);
    const parts = { factor: [] as number[], sweep: [] as number[] };
    const once = async () => {
      const begun = performance.now(), order = Int32Array.from({ length: cols }, (_, j) => j);
      const { feedback } = await factorDamped(hessian, order, DAMP, kernels), factored = performance.now();
      const result = await kernels.sweep({
        weight,
        feedback: feedback!,
        quantized: cols,
        bits: BITS,
        grid,
        groupSize: 0,
        search: null,
        scaleBits: 32,
        blockSize: BLOCK,
      });
      const done = performance.now();
      parts.factor.push((factored - begun) / 1000);
      parts.sweep.push((done - factored) / 1000);
      return { codes: result.codes, seconds: (done - begun) / 1000 };
    };
    const { codes } = await once(),
      peers: Contestant[] = [],
      torchParts = { factor: [] as number[], loop: [] as number[] };
    let share: number | null = null, error: number | null = null;
    if (c.torch) {
      const torch = c.torch;
      await torch.load("w", weight.data, [rows, cols]);
      await torch.load("h", hessian.data, [cols, cols]);
      await torch.load("s", grid.scale, [rows]);
      await torch.load("z", grid.zero, [rows]);
      const request = { weight: "w", hessian: "h", scale: "s", zero: "z", bits: BITS, damp: DAMP, block: BLOCK };
      await torch.ask("optq", { ...request, out: "codes" });
      const theirs = new Uint8Array(await torch.take("codes"));
      share = codes.reduce((n, v, i) => n + (v === theirs[i] ? 1 : 0), 0) / codes.length;
      error = errorOf(weight, hessian, codes, grid) / errorOf(weight, hessian, theirs, grid);
      peers.push({
        name: "torch",
        run: async () => {
          const r = await torch.ask("optq", request);
          torchParts.factor.push(r.factor);
          torchParts.loop.push(r.loop);
          return r.seconds;
        },
      });
    }
    parts.factor.length = parts.sweep.length = 0;
    const ours = { name: "ours", run: async () => (await once()).seconds };
    const t = await interleave(ours, peers, { rounds: c.rounds, seconds: c.rowSeconds });
    await c.torch?.ask("drop", { names: ["w", "h", "s", "z", "codes"] });
    const first = t.peers.torch, median = (v: number[]) => v.sort((a, b) => a - b)[v.length >> 1];
    return {
      name,
      shape,
      seconds: t.ours.seconds,
      shareOfLimit: shareOfLimit(
        c.limits,
        cols ** 3 / 3 + rows * cols ** 2,
        8 * rows * cols + 4 * cols ** 2,
        t.ours.seconds,
      ),
      peers: first ? { torch: first.seconds } : {},
      ratio: first?.ratio ?? null,
      spread: first?.ratioSpread ?? t.ours.spread,
      rounds: t.rounds,
      ...(share === null ? {} : { agreement: share }),
      note: [
        kernels.description,
        share === null ? "" : `${(100 * share).toFixed(3)} % of the codes equal, error ${error!.toFixed(5)} of torch's`,
        ...missing(c, ["torch"]),
      ].filter((p) => p !== "").join("; "),
      figures: {
        factor: median(parts.factor),
        sweep: median(parts.sweep),
        ...(first
          ? {
            "torch factor": median(torchParts.factor),
            "torch loop": median(torchParts.loop),
            errorRatio: error!,
            ratioOfFastest: first.fastest / t.ours.fastest,
          }
          : {}),
      },
    };
  } finally {
    kernels.close();
  }
}

/** tr(D H Dᵀ) over the first rows: enough to tell a wrong sweep from one that broke ties otherwise. */
function errorOf(w: Matrix, h: Matrix, codes: Uint8Array, grid: { scale: Float32Array; zero: Float32Array }): number {
  const n = w.cols, d = new Float64Array(n);
  let total = 0;
  for (let r = 0; r < Math.min(16, w.rows); r++) {
    for (let j = 0; j < n; j++) d[j] = grid.scale[r] * (codes[r * n + j] - grid.zero[r]) - w.data[r * n + j];
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += h.data[i * n + j] * d[j];
      total += d[i] * sum;
    }
  }
  return total;
}
