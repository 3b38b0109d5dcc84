// Many vectors times a layer, as prompts and calibration need: dense against jax-js on the same adapter, and 3 bits against dense.
import { openPackedLinear } from "../../../kernels/linear.ts";
import { openLinearTiming } from "../../../kernels/linear_timing.ts";
import { openMatmul } from "../../../kernels/matmul.ts";
import { openMatmulPeer } from "../../../model/matmul_peer.ts";
import { agreement, normalMatrix, packedBytes, packedMatrix, unpacked, weakColumnsOf } from "../cases.ts";
import { ONNX_FLOAT } from "../onnx_model.ts";
import { type Contestant, interleave, repeatsFor } from "../timing.ts";
import { type BenchContext, type BenchRow, type BenchTask, emptyRow, shareOfLimit } from "../types.ts";
import { bytesOf, contestant, missing, NO_GPU, onnxContestant, transposed } from "./matvec.ts";

/** [vectors, in, out] */
type Shape = readonly [vectors: number, cols: number, rows: number];
const FULL: readonly Shape[] = [[512, 576, 1536], [1024, 1024, 1024]], QUICK: readonly Shape[] = [[64, 192, 128]];
const titleOf = ([v, cols, rows]: Shape) => `${v} vectors, ${cols} → ${rows}`;

export const matmulTask: BenchTask = {
  name: "matmul-vs-jax",
  about: "dense float32 product against jax-js on the same adapter",
  weight: 40,
  needs: ["torch", "onnx"],
  run: async (c) => {
    const rows: BenchRow[] = [];
    for (const s of c.quick ? QUICK : FULL) rows.push(await matmulRow(c, s));
    return rows;
  },
};

async function matmulRow(c: BenchContext, s: Shape): Promise<BenchRow> {
  const [vectors, cols, rows] = s, name = "matmul-vs-jax", shape = `${titleOf(s)}, f32`;
  if (!c.gpu) return emptyRow(name, shape, NO_GPU);
  const gpu = c.gpu, x = normalMatrix(vectors, cols, c.seed, "x"), w = normalMatrix(rows, cols, c.seed, "w");
  const timing = await openLinearTiming(gpu, () => openMatmul(gpu, w), x, 0);
  const closers: (() => Promise<void> | void)[] = [() => timing.close()], peers: Contestant[] = [];
  try {
    const ours = await contestant("ours", timing, c.sampleSeconds);
    let right = agreement(await timing.output(), x, w);
    for (const backend of ["webgpu", "wasm"] as const) {
      const jax = await openMatmulPeer(x, w, backend);
      closers.push(jax.close);
      if (backend === "webgpu") right = Math.min(right, agreement(await jax.result(), x, w));
      const repeats = await repeatsFor(async (n) => await jax.run(n) * n, Math.max(c.sampleSeconds, 0.05));
      peers.push({ name: `jax-js ${backend}`, run: () => jax.run(repeats) });
    }
    for (const provider of c.onnx?.providers ?? []) {
      const session = await c.onnx!.open(
        {
          operator: "MatMul",
          domain: "",
          attributes: {},
          inputs: [{ name: "x", shape: [vectors, cols] }],
          constants: [{ name: "w", type: ONNX_FLOAT, shape: [cols, rows], data: bytesOf(transposed(w).data) }],
          output: [vectors, rows],
        },
        x.data,
        provider,
      );
      closers.push(session.close);
      peers.push(await onnxContestant(`onnxruntime (${provider})`, session, c.sampleSeconds));
    }
    if (c.torch) {
      const torch = c.torch;
      await torch.load("x", x.data, [vectors, cols]);
      await torch.load("w", w.data, [rows, cols]);
      peers.push({
        name: "torch (cpu)",
        run: async () => (await torch.ask("matmul", { x: "x", weight: "w", repeats: 5 })).seconds,
      });
      closers.push(async () => void await torch.ask("drop", { names: ["x", "w"] }));
    }
    const t = await interleave(ours, peers, { rounds: c.rounds, seconds: c.rowSeconds, restMs: 5 });
    const operations = 2 * vectors * cols * rows;
    return {
      name,
      shape,
      seconds: t.ours.seconds,
      shareOfLimit: shareOfLimit(c.limits, operations, 4 * (vectors * (cols + rows) + rows * cols), t.ours.seconds),
      peers: Object.fromEntries(Object.entries(t.peers).map(([p, v]) => [p, v.seconds])),
      ratio: t.peers["jax-js webgpu"].ratio,
      spread: t.peers["jax-js webgpu"].ratioSpread,
      rounds: t.rounds,
      agreement: right,
      note: [`kernel "${timing.variant}"`, ...missing(c, ["torch", "onnxruntime", "onnxruntime's WebGPU"])].join("; "),
      figures: { gflops: operations / t.ours.seconds / 1e9 },
    };
  } finally {
    for (const close of closers) await close();
  }
}

export const packedMatmulTask: BenchTask = {
  name: "matmul3-vs-f32",
  about: "3 bits with weak columns, unpacked inside the product, against our dense product",
  weight: 20,
  run: async (c) => {
    const rows: BenchRow[] = [];
    for (const s of c.quick ? QUICK : FULL) rows.push(await packedRow(c, s));
    return rows;
  },
};

async function packedRow(c: BenchContext, s: Shape): Promise<BenchRow> {
  const [vectors, cols, rows] = s, weak = weakColumnsOf(cols, 3, 3.01), name = "matmul3-vs-f32";
  const shape = `${titleOf(s)}, 3 bits, ${weak} weak columns`;
  if (!c.gpu) return emptyRow(name, shape, NO_GPU);
  const gpu = c.gpu, x = normalMatrix(vectors, cols, c.seed, "x"), m = packedMatrix(rows, cols, 3, weak, c.seed);
  const w = unpacked(m);
  const a = await openLinearTiming(gpu, () => openPackedLinear(gpu, m), x, 0);
  const b = await openLinearTiming(gpu, () => openMatmul(gpu, w), x, 0);
  try {
    const right = agreement(await a.output(), x, w);
    const ours = await contestant("3 bits", a, c.sampleSeconds),
      dense = await contestant("own f32", b, c.sampleSeconds);
    const t = await interleave(ours, [dense], { rounds: c.rounds, seconds: c.rowSeconds });
    const operations = 2 * vectors * cols * rows;
    return {
      name,
      shape,
      seconds: t.ours.seconds,
      shareOfLimit: shareOfLimit(c.limits, operations, packedBytes(m) + 4 * vectors * (cols + rows), t.ours.seconds),
      peers: { "own f32": t.peers["own f32"].seconds },
      ratio: t.peers["own f32"].ratio,
      spread: t.peers["own f32"].ratioSpread,
      rounds: t.rounds,
      agreement: right,
      note: `kernels "${a.variant}", "${b.variant}"`,
      figures: { gflops: operations / t.ours.seconds / 1e9 },
    };
  } finally {
    a.close();
    b.close();
  }
}
