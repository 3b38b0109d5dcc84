// One vector times a layer: what weak columns cost beside plain 3 bits, and what 3 bits save beside dense weights.
import type { Matrix } from "../../../io/tensor.ts";
import { openDenseLinear, openPackedLinear } from "../../../kernels/linear.ts";
import { type LinearTiming, openLinearTiming } from "../../../kernels/linear_timing.ts";
import { agreement, normalMatrix, packedBytes, packedMatrix, unpacked, weakColumnsOf } from "../cases.ts";
import { ONNX_FLOAT, ONNX_UINT8 } from "../onnx_model.ts";
import { type Contestant, interleave, medianError, repeatsFor } from "../timing.ts";
import { type BenchContext, type BenchRow, type BenchTask, emptyRow, shareOfLimit } from "../types.ts";

interface Shape {
  readonly rows: number;
  readonly cols: number;
  /** Width of the model whose layer it is. */
  readonly width: number;
}

const square = (n: number): Shape => ({ rows: n, cols: n, width: n });
const FULL: readonly Shape[] = [square(2048), square(4096), { rows: 4096, cols: 11008, width: 4096 }];
const QUICK: readonly Shape[] = [square(512)];

export const NO_GPU = "no WebGPU adapter: install a Vulkan driver (Debian: mesa-vulkan-drivers)";

/** A device linear as a contestant: each sample long enough for the clock. */
export async function contestant(name: string, t: LinearTiming, sampleSeconds: number): Promise<Contestant> {
  const repeats = await repeatsFor((n) => t.run(n), sampleSeconds);
  return { name, run: async () => await t.run(repeats) / repeats };
}

/** The rows `weak-TARGET`: our kernel with weak columns over our kernel without any. */
export function weakTask(target: number): BenchTask {
  const name = `weak-${target}`;
  return {
    name,
    about: `weak columns at ${target} bits over plain 3 bits, one vector`,
    weight: 30,
    run: async (c) => {
      const rows: BenchRow[] = [];
      for (const s of c.quick ? QUICK : FULL) {
        rows.push(await weakRow(c, name, s, weakColumnsOf(s.cols, 3, target, s.width)));
      }
      return rows;
    },
  };
}

/**
 * One such row, for any number of weak columns.
 *
 * @returns seconds with weak columns; ratio: over the time without; figures: bytes and the ratio that bytes alone explain.
 */
export async function weakRow(c: BenchContext, name: string, s: Shape, weak: number): Promise<BenchRow> {
  const shape = `${s.rows} × ${s.cols}, 3 bits, ${weak} weak columns`;
  if (!c.gpu) return emptyRow(name, shape, NO_GPU);
  const gpu = c.gpu, x = normalMatrix(1, s.cols, c.seed, "x");
  const kept = packedMatrix(s.rows, s.cols, 3, weak, c.seed), plain = packedMatrix(s.rows, s.cols, 3, 0, c.seed);
  const a = await openLinearTiming(gpu, () => openPackedLinear(gpu, plain), x, c.rotateBytes);
  const b = await openLinearTiming(gpu, () => openPackedLinear(gpu, kept), x, c.rotateBytes);
  try {
    const right = agreement(await b.output(), x, unpacked(kept));
    // Many short rounds: a per cent shows only where the noise of each falls away. As many repeats for both: on a busy
    // machine a longer sample is interrupted more often.
    const repeats = await repeatsFor((n) => a.run(n), c.sampleSeconds / 2);
    const of = (name: string, timing: LinearTiming): Contestant => ({
      name,
      run: async () => await timing.run(repeats) / repeats,
    });
    const ours = of("3 bits", a), peer = of(name, b);
    const t = await interleave(ours, [peer], { rounds: 4 * c.rounds, seconds: 2 * c.rowSeconds });
    const with_ = t.peers[name], floor = packedBytes(kept) / packedBytes(plain);
    return {
      name,
      shape,
      seconds: with_.seconds,
      shareOfLimit: shareOfLimit(
        c.limits,
        2 * s.rows * s.cols,
        packedBytes(kept) + 4 * (s.rows + s.cols),
        with_.seconds,
      ),
      peers: { "own 3 bits": t.ours.seconds },
      ratio: with_.ratio,
      spread: with_.ratioSpread,
      rounds: t.rounds,
      agreement: right,
      note: [
        `kernel "${b.variant}"`,
        `median over ${t.rounds} rounds ± ${percent(medianError(with_.ratioSpread, t.rounds))} (standard error)`,
        `fastest over fastest ${percent(with_.fastest / t.ours.fastest - 1)} more`,
        `the bytes alone are ${percent(floor - 1)} more`,
      ].join("; "),
      figures: {
        weakColumns: weak,
        bytes: packedBytes(kept),
        bytesPlain: packedBytes(plain),
        byteFloor: floor,
        standardError: medianError(with_.ratioSpread, t.rounds),
        ratioOfFastest: with_.fastest / t.ours.fastest,
      },
    };
  } finally {
    a.close();
    b.close();
  }
}

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

export const matvecTask: BenchTask = {
  name: "matvec3-vs-f32",
  about: "3 bits against dense float32 and float16 of the same kind, one vector",
  weight: 60,
  needs: ["torch", "onnx"],
  run: async (c) => {
    const rows: BenchRow[] = [];
    for (const s of c.quick ? QUICK : FULL) rows.push(await matvecRow(c, s));
    return rows;
  },
};

/** Ours: 3 bits. Peers: our own dense kernels first, then the CPU's libraries. */
export async function matvecRow(c: BenchContext, s: Shape): Promise<BenchRow> {
  const name = "matvec3-vs-f32", shape = `${s.rows} × ${s.cols}, 3 bits`;
  if (!c.gpu) return emptyRow(name, shape, NO_GPU);
  const gpu = c.gpu, x = normalMatrix(1, s.cols, c.seed, "x"), packed = packedMatrix(s.rows, s.cols, 3, 0, c.seed);
  const w = unpacked(packed), open: LinearTiming[] = [], closers: (() => Promise<void> | void)[] = [];
  try {
    const timing = async (linear: Parameters<typeof openLinearTiming>[1]) => {
      const t = await openLinearTiming(gpu, linear, x, c.rotateBytes);
      open.push(t);
      return t;
    };
    const three = await timing(() => openPackedLinear(gpu, packed));
    const f32 = await timing(() => openDenseLinear(gpu, w, { dtype: "f32" }));
    const f16 = await timing(() => openDenseLinear(gpu, w, { dtype: "f16" }));
    const right = Math.min(
      agreement(await three.output(), x, w),
      agreement(await f32.output(), x, w),
      agreement(await f16.output(), x, w, 2 ** -11 / s.cols), // the weights' own rounding, once a term
    );
    const peers = [
      await contestant("own f32", f32, c.sampleSeconds),
      await contestant("own f16", f16, c.sampleSeconds),
    ];
    peers.push(...await cpuPeers(c, x, w, closers));
    const ours = await contestant("3 bits", three, c.sampleSeconds);
    const t = await interleave(ours, peers, { rounds: c.rounds, seconds: c.rowSeconds, restMs: 5 });
    const bytes = packedBytes(packed) + 4 * (s.rows + s.cols);
    return {
      name,
      shape,
      seconds: t.ours.seconds,
      shareOfLimit: shareOfLimit(c.limits, 2 * s.rows * s.cols, bytes, t.ours.seconds),
      peers: Object.fromEntries(Object.entries(t.peers).map(([p, v]) => [p, v.seconds])),
      ratio: t.peers["own f32"].ratio,
      spread: t.peers["own f32"].ratioSpread,
      rounds: t.rounds,
      agreement: right,
      note: [
        `kernels "${three.variant}", "${f32.variant}", "${f16.variant}", weights rotated over ${
          Math.round(three.bytes * three.copies / 2 ** 20)
        } MiB`,
        peers.length > 2 ? "the CPU's libraries keep one copy of the weights, in the cache where it fits" : "",
        ...missing(c, ["torch", "onnxruntime", "onnxruntime's WebGPU"]),
      ].filter((p) => p !== "").join("; "),
      figures: {
        "own f16 / 3 bits": t.peers["own f16"].ratio,
        gigaweightsPerSecond: s.rows * s.cols / t.ours.seconds / 1e9,
        "read GB/s": bytes / t.ours.seconds / 1e9,
      },
    };
  } finally {
    for (const t of open) t.close();
    for (const close of closers) await close();
  }
}

/** What of the CPU's libraries is there, with the same weights (onnxruntime's 4 bits: with codes of its own). */
async function cpuPeers(
  c: BenchContext,
  x: Matrix,
  w: Matrix,
  closers: (() => Promise<void> | void)[],
): Promise<Contestant[]> {
  const peers: Contestant[] = [];
  for (const provider of c.onnx?.providers ?? []) {
    const dense = await c.onnx!.open(
      {
        operator: "MatMul",
        domain: "",
        attributes: {},
        inputs: [{ name: "x", shape: [1, w.cols] }],
        constants: [{ name: "w", type: ONNX_FLOAT, shape: [w.cols, w.rows], data: bytesOf(transposed(w).data) }],
        output: [1, w.rows],
      },
      x.data,
      provider,
    );
    closers.push(dense.close);
    peers.push(await onnxContestant(`onnxruntime MatMul f32 (${provider})`, dense, c.sampleSeconds));
    const nibbles = await c.onnx!.open(fourBitNode(w), x.data, provider);
    closers.push(nibbles.close);
    peers.push(await onnxContestant(`onnxruntime MatMulNBits 4 bits (${provider})`, nibbles, c.sampleSeconds));
  }
  if (c.torch) {
    const torch = c.torch;
    await torch.load("x", x.data, [1, x.cols]);
    await torch.load("w", w.data, [w.rows, w.cols]);
    const repeats = await repeatsFor(
      async (n) => (await torch.ask("matmul", { x: "x", weight: "w", repeats: n })).seconds * n,
      c.sampleSeconds,
    );
    peers.push({
      name: "torch f32 (cpu)",
      run: async () => (await torch.ask("matmul", { x: "x", weight: "w", repeats })).seconds,
    });
    closers.push(async () => void await torch.ask("drop", { names: ["x", "w"] }));
  }
  return peers;
}

/** An onnxruntime session as a contestant. */
export async function onnxContestant(
  name: string,
  session: { run(repeats: number): Promise<number> },
  sampleSeconds: number,
): Promise<Contestant> {
  const repeats = await repeatsFor(async (n) => await session.run(n) * n, sampleSeconds);
  return { name, run: () => session.run(repeats) };
}

/** MatMulNBits in blocks of 32 with 4-bit codes: W's own values do not matter to its speed, any codes do. */
function fourBitNode(w: Matrix) {
  const blocks = Math.ceil(w.cols / 32), codes = new Uint8Array(w.rows * blocks * 16);
  for (let i = 0; i < codes.length; i++) codes[i] = Math.imul(i, 2654435761) >>> 24;
  const scales = new Float32Array(w.rows * blocks).fill(0.01);
  return {
    operator: "MatMulNBits",
    domain: "com.microsoft",
    attributes: { K: w.cols, N: w.rows, bits: 4, block_size: 32 },
    inputs: [{ name: "x", shape: [1, w.cols] }],
    constants: [
      { name: "w", type: ONNX_UINT8, shape: [w.rows, blocks, 16], data: codes },
      { name: "s", type: ONNX_FLOAT, shape: [w.rows * blocks], data: bytesOf(scales) },
    ],
    output: [1, w.rows],
  };
}

export function bytesOf(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

export function transposed(m: Matrix): Matrix {
  const data = new Float32Array(m.data.length);
  for (let r = 0; r < m.rows; r++) for (let c = 0; c < m.cols; c++) data[c * m.rows + r] = m.data[r * m.cols + c];
  return { data, rows: m.cols, cols: m.rows };
}

/** Sentences about the peers that are not there. */
export function missing(c: BenchContext, names: readonly string[]): string[] {
  return names.filter((n) => c.absent[n]).map((n) => `no ${n}: ${c.absent[n]}`);
}
