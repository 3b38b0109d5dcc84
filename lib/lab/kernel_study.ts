// What notebook 04 measures: kernels against the limits of the device, weak columns against none, models in several widths.
import { type Gpu, requireGpu } from "../gpu/device.ts";
import { rng } from "../io/rng.ts";
import type { Matrix } from "../io/tensor.ts";
import { openDenseLinear, openPackedLinear } from "../kernels/linear.ts";
import { type LinearTiming, openLinearTiming } from "../kernels/linear_timing.ts";
import { openMatmul } from "../kernels/matmul.ts";
import { openLanguageModel } from "../model/language_model.ts";
import { openPackedRuntime, type PackedRuntime, type RuntimeOptions } from "../model/packed_runtime.ts";
import { type TimedText, timedText } from "../model/timed_text.ts";
import { agreement, normalMatrix, packedBytes, packedMatrix, unpacked, weakColumnsOf } from "./bench/cases.ts";
import { dequantized, layerFinder, storedModel } from "./bench/decode_case.ts";
import { measureLimits } from "./bench/measure_limits.ts";
import { weakRow } from "./bench/rows/matvec.ts";
import { type Contestant, interleave, quartiles, repeatsFor } from "./bench/timing.ts";
import type { BenchContext, DeviceLimits } from "./bench/types.ts";
import type { OnProgress } from "../io/progress.ts";
import { resolveModel } from "./open.ts";

/** The device of a study, its limits measured. */
export interface KernelStudy {
  readonly gpu: Gpu;
  readonly limits: DeviceLimits;
  readonly context: BenchContext;
  close(): void;
}

/**
 * Opens the device and measures its two limits.
 *
 * @param o.seconds that each comparison goes on beyond its first seven rounds: longer is calmer.
 * @throws LabError of kind "device" where there is no adapter.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { openKernelStudy } from "./kernel_study.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   gpu.close();
 *   const study = await openKernelStudy({ seed: 0, seconds: 0 });
 *   assert.ok(study.limits.mulAddGflops > 0);
 *   study.close();
 * }
 * ```
 */
export async function openKernelStudy(o: { readonly seed: number; readonly seconds: number }): Promise<KernelStudy> {
  const gpu = await requireGpu(), sampleSeconds = 0.01;
  const limits = await measureLimits(gpu, { copyBytes: 64 << 20, rounds: 7, sampleSeconds: 0.02 });
  const context: BenchContext = {
    gpu,
    limits,
    quick: false,
    seed: o.seed,
    model: "fixture",
    rotateBytes: (gpu.software ? 64 : 256) << 20,
    torch: null,
    onnx: null,
    absent: {},
    sampleSeconds,
    rounds: 7,
    rowSeconds: o.seconds,
  };
  return { gpu, limits, context, close: () => gpu.close() };
}

/** One kernel under the roof. */
export interface RoofPoint {
  readonly name: string;
  /** Arithmetic operations, a multiply-add being two. */
  readonly operations: number;
  /** Read and written at the least. */
  readonly bytes: number;
  readonly seconds: number;
  readonly spread: number;
  /** Share of the answer within the bound of float32 sums. */
  readonly agreement: number;
}

/**
 * Our kernels on one square layer: operations, least bytes, time.
 *
 * @param size rows and columns. @param vectors of the products with many.
 */
export async function roofPoints(s: KernelStudy, size: number, vectors: number): Promise<RoofPoint[]> {
  const { gpu, context: c } = s, plain = packedMatrix(size, size, 3, 0, c.seed);
  const kept = packedMatrix(size, size, 3, weakColumnsOf(size, 3, 3.1), c.seed);
  const one = normalMatrix(1, size, c.seed, "x"), many = normalMatrix(vectors, size, c.seed, "x"), w = unpacked(plain);
  const points: RoofPoint[] = [];
  const measure = async (
    name: string,
    open: Parameters<typeof openLinearTiming>[1],
    x: Matrix,
    right: Matrix,
    weightBytes: number,
    unit = 2 ** -24,
  ) => {
    const t = await openLinearTiming(gpu, open, x, x.rows === 1 ? c.rotateBytes : 0);
    try {
      const share = agreement(await t.output(), x, right, unit);
      const repeats = await repeatsFor((n) => t.run(n), c.sampleSeconds);
      const ours = { name, run: async () => await t.run(repeats) / repeats };
      const { seconds, spread } = (await interleave(ours, [], { rounds: c.rounds, seconds: c.rowSeconds / 2 })).ours;
      const bytes = weightBytes + 8 * x.rows * size;
      points.push({ name, operations: 2 * x.rows * size * size, bytes, seconds, spread, agreement: share });
    } finally {
      t.close();
    }
  };
  const half = 2 ** -11 / size; // the weights' own rounding to 16 bits, once a term
  await measure("float32, one vector", () => openDenseLinear(gpu, w), one, w, 4 * size * size);
  await measure("float16, one vector", () => openDenseLinear(gpu, w, { dtype: "f16" }), one, w, 2 * size * size, half);
  await measure("3 bits, one vector", () => openPackedLinear(gpu, plain), one, w, packedBytes(plain));
  await measure("3.1 bits, one vector", () => openPackedLinear(gpu, kept), one, unpacked(kept), packedBytes(kept));
  await measure(`float32, ${vectors} vectors`, () => openMatmul(gpu, w), many, w, 4 * size * size);
  await measure(`3 bits, ${vectors} vectors`, () => openPackedLinear(gpu, plain), many, w, packedBytes(plain));
  return points;
}

/** What some weak columns cost. */
export interface WeakCost {
  readonly count: number;
  /** Time over the time without weak columns. */
  readonly ratio: number;
  /** Standard error of that ratio. */
  readonly error: number;
  /** Bytes over the bytes without weak columns. */
  readonly byteFloor: number;
  readonly bytes: number;
  readonly agreement: number;
}

/** The time of a 3-bit layer with weak columns over its time without, by their number. */
export async function weakCosts(
  s: KernelStudy,
  size: number,
  counts: readonly number[],
  onProgress?: OnProgress,
): Promise<WeakCost[]> {
  const out: WeakCost[] = [];
  for (const [i, count] of counts.entries()) {
    onProgress?.({ what: "weak columns", done: i, total: counts.length, unit: "layers" });
    const row = await weakRow(s.context, "with weak columns", { rows: size, cols: size, width: size }, count);
    const { bytes, byteFloor, standardError: error } = row.figures!;
    out.push({ count, ratio: row.ratio!, error, byteFloor, bytes, agreement: row.agreement! });
  }
  onProgress?.({ what: "weak columns", done: counts.length, total: counts.length, unit: "layers" });
  return out;
}

/** Seconds of one vector times a square layer, by kind of weights. */
export interface SizeCost {
  readonly size: number;
  readonly seconds: Readonly<Record<string, number>>;
  /** Bytes of the weights. */
  readonly bytes: Readonly<Record<string, number>>;
}

/** How the time of each kind grows with the layer. */
export async function sizeCosts(
  s: KernelStudy,
  sizes: readonly number[],
  onProgress?: OnProgress,
): Promise<SizeCost[]> {
  const { gpu, context: c } = s, out: SizeCost[] = [];
  for (const [i, size] of sizes.entries()) {
    onProgress?.({ what: "layer sizes", done: i, total: sizes.length, unit: "sizes" });
    const x = normalMatrix(1, size, c.seed, "x"), open: LinearTiming[] = [];
    const plain = packedMatrix(size, size, 3, 0, c.seed), w = unpacked(plain);
    const kept = packedMatrix(size, size, 3, weakColumnsOf(size, 3, 3.1), c.seed);
    try {
      const contestant = async (name: string, linear: Parameters<typeof openLinearTiming>[1]): Promise<Contestant> => {
        const t = await openLinearTiming(gpu, linear, x, c.rotateBytes);
        open.push(t);
        const repeats = await repeatsFor((n) => t.run(n), c.sampleSeconds);
        return { name, run: async () => await t.run(repeats) / repeats };
      };
      const ours = await contestant("3 bits", () => openPackedLinear(gpu, plain));
      const t = await interleave(ours, [
        await contestant("3.1 bits", () => openPackedLinear(gpu, kept)),
        await contestant("float16", () => openDenseLinear(gpu, w, { dtype: "f16" })),
        await contestant("float32", () => openDenseLinear(gpu, w)),
      ], { rounds: c.rounds, seconds: c.rowSeconds });
      const peers = Object.fromEntries(Object.entries(t.peers).map(([name, v]) => [name, v.seconds]));
      out.push({
        size,
        seconds: { "3 bits": t.ours.seconds, ...peers },
        bytes: {
          "3 bits": packedBytes(plain),
          "3.1 bits": packedBytes(kept),
          "float16": 2 * size * size,
          "float32": 4 * size * size,
        },
      });
    } finally {
      for (const t of open) t.close();
    }
  }
  onProgress?.({ what: "layer sizes", done: sizes.length, total: sizes.length, unit: "sizes" });
  return out;
}

/** A model in one stored form on the device. */
export interface ModelCost {
  readonly label: string;
  readonly weakColumns: number;
  /** Bits a weight of the linears: codes, grids, weak columns and their ids, each as short as it can be. */
  readonly stored: number;
  /** The same as they lie on the device, in the layout of its kernels. */
  readonly held: number;
  readonly linearBytes: number;
  /** Embeddings and head. */
  readonly endBytes: number;
  /** All of it, keys and values and scratch memory too. */
  readonly totalBytes: number;
  readonly tokensPerSecond: number;
  readonly firstTokenSeconds: number;
  /** Share of the greedy tokens that are those of the same weights dense; null where that is not asked. */
  readonly sameText: number | null;
}

const PROMPT = 8;

/**
 * Memory and speed of a model, dense and at several targets of bits (rounded to nearest: the speed knows no difference).
 *
 * All forms lie on the device together and write in turns.
 *
 * @param spec of the model. @param targets nominal bits. @param tokens written in each sample; medians of seven rounds count.
 */
export async function modelCosts(
  s: KernelStudy,
  spec: string,
  targets: readonly number[],
  tokens: number,
  onProgress?: OnProgress,
): Promise<{ label: string; costs: ModelCost[] }> {
  const files = await resolveModel(spec), model = await openLanguageModel(files), { vocab } = model.config;
  const stream = rng(s.context.seed, "prompt"), prompt = Array.from({ length: PROMPT }, () => stream.int(vocab));
  const capacity = PROMPT + tokens + 1, rounds = s.context.rounds, total = targets.length + 2 + rounds;
  const weights = model.linears(0).reduce((n, l) => n + l.in * l.out, 0) * model.blocks;
  const report = (done: number, what: string) => onProgress?.({ what, done, total, unit: "steps" });
  const write = (runtime: PackedRuntime) => {
    runtime.restart();
    return timedText(runtime, prompt, { tokens });
  };
  type Form = Pick<ModelCost, "label" | "stored"> & { weak: number; runtime: PackedRuntime; texts: TimedText[] };
  const forms: (Form & { same: number | null })[] = [];
  const add = async (label: string, stored: number, o: Omit<RuntimeOptions, "capacity">, weak = 0) => {
    report(forms.length, `${label} onto the device`);
    const runtime = await openPackedRuntime(s.gpu, files, { ...o, capacity });
    forms.push({ label, weak, stored, runtime, same: null, texts: [] });
    return (await write(runtime)).ids; // warms up
  };
  try {
    await add("float32", 32, {});
    await add("float16", 16, { dtype: "f16" });
    for (const target of targets) {
      const stored = await storedModel(model, target);
      const bits = 8 * [...stored.packed.values()].reduce((n, m) => n + packedBytes(m), 0) / weights;
      const ids = await add(`${target} bits`, bits, { linears: layerFinder(stored.packed) }, stored.weakColumns);
      const dense = await openPackedRuntime(s.gpu, files, { capacity, linears: layerFinder(dequantized(stored)) });
      const same = (await write(dense)).ids;
      dense.close();
      forms[forms.length - 1].same = ids.filter((id, i) => id === same[i]).length / ids.length;
    }
    for (let round = 0; round < rounds; round++) {
      report(forms.length + round, "writing in turns");
      for (const f of forms) f.texts.push(await write(f.runtime));
    }
    report(total, "models");
    const costs = forms.map(({ label, weak, stored, runtime, same, texts }): ModelCost => ({
      label,
      weakColumns: weak,
      stored,
      held: 8 * runtime.bytes.linears / weights,
      linearBytes: runtime.bytes.linears,
      endBytes: runtime.bytes.ends,
      totalBytes: runtime.bytes.total,
      tokensPerSecond: quartiles(texts.map((t) => t.tokensPerSecond)).median,
      firstTokenSeconds: quartiles(texts.map((t) => t.firstTokenSeconds)).median,
      sameText: same,
    }));
    return { label: files.label, costs };
  } finally {
    for (const f of forms) f.runtime.close();
    model.close();
    files.source.close();
  }
}
