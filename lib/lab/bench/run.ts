// The whole table in one process: the two limits of the device first, then row after row beside its peers.
import { LabError } from "../../io/errors.ts";
import { type Gpu, openGpu } from "../../gpu/device.ts";
import type { OnProgress } from "../../io/progress.ts";
import { labVersion } from "../version.ts";
import { measureLimits } from "./measure_limits.ts";
import { ONNX_HINT, openOnnx } from "./onnx.ts";
import { BENCH_TASKS } from "./rows.ts";
import { openTorch, TORCH_HINT } from "./torch.ts";
import { type BenchContext, type BenchRow, type BenchTask, type DeviceLimits, emptyRow } from "./types.ts";

/** The table and all that is needed to read it later. */
export interface BenchReport {
  /** The adapter's name. */
  readonly adapter: string;
  readonly limits: DeviceLimits | null;
  readonly rows: readonly BenchRow[];
  readonly device: {
    readonly software: boolean;
    readonly cores: number;
    readonly system: string;
    readonly cacheBytes: number | null;
    readonly rotateBytes: number;
    /** Processes that wanted a core when the table was done, a minute's mean; far above `cores`, other work was in the way. */
    readonly load: number;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly method: {
    readonly rounds: number;
    readonly sampleSeconds: number;
    readonly seed: number;
    readonly quick: boolean;
  };
  readonly seconds: number;
}

/** What to measure. */
export interface BenchOptions {
  /** Names of rows; all when absent or empty. */
  readonly only?: readonly string[];
  /** Small layers, few repeats: for tests, whose numbers mean little. */
  readonly quick?: boolean;
  readonly seed?: number;
  /** SPEC of the model for the rows that need one; the embedded model by default. */
  readonly model?: string;
  /** Peers to look for; by default those that the rows can use (onnxruntime, a download of 110 MB, not when quick). */
  readonly peers?: readonly string[];
  readonly onProgress?: OnProgress;
}

/** Peers that need something beyond this repository. */
export const PEERS = ["torch", "onnxruntime"] as const;

/**
 * Measures the table.
 *
 * Warm, in turns (A/B/A), medians of at least seven rounds, each sample ended by bytes read back, weights rotated beyond
 * the last cache. A row that fails stays in the table with the reason; {@link failedRows} counts them.
 *
 * @returns rows in the order of {@link BENCH_TASKS}; several shapes give several rows of one name.
 * @throws LabError of kind "input" for a name that no row has.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runBench } from "./run.ts";
 * const report = await runBench({ only: ["dispatch"], quick: true, peers: [] });
 * assert.equal(report.rows[0].name, "dispatch");
 * ```
 */
export async function runBench(o: BenchOptions = {}): Promise<BenchReport> {
  const begun = performance.now(), tasks = tasksOf(o.only ?? []), quick = o.quick ?? false, seed = o.seed ?? 0;
  const wanted = o.peers ?? (quick ? ["torch"] : PEERS), needed = new Set(tasks.flatMap((t) => t.needs ?? []));
  const total = tasks.reduce((a, t) => a + t.weight, 0), absent: Record<string, string> = {};
  const report = (done: number, what: string) => o.onProgress?.({ what, done, total, unit: "parts" });
  report(0, "limits of the device");
  const gpu = await openGpu(), cacheBytes = await lastCache();
  const rotateBytes = quick ? 8 << 20 : rotation(gpu, cacheBytes);
  const sampleSeconds = quick ? 0.002 : gpu?.software === false ? 0.01 : 0.02, rounds = 7;
  const torch = await peer("torch", needed.has("torch"), wanted, absent, TORCH_HINT, openTorch);
  const onnx = await peer("onnxruntime", needed.has("onnx"), wanted, absent, ONNX_HINT, openOnnx);
  if (onnx && onnx.refused !== "") absent["onnxruntime's WebGPU"] = onnx.refused;
  try {
    const limits = gpu && await measureLimits(gpu, { copyBytes: quick ? 1 << 20 : 64 << 20, rounds, sampleSeconds });
    const context: BenchContext = {
      gpu,
      limits,
      quick,
      seed,
      model: o.model ?? "fixture",
      rotateBytes,
      torch,
      onnx,
      absent,
      sampleSeconds,
      rounds,
      rowSeconds: quick ? 0 : 4,
    };
    const rows: BenchRow[] = [];
    let done = 0;
    for (const task of tasks) {
      report(done, task.name);
      rows.push(...await rowsOf(task, context));
      report(done += task.weight, task.name);
    }
    return {
      adapter: gpu?.description ?? "none",
      limits,
      rows,
      device: {
        software: gpu?.software ?? true,
        cores: navigator.hardwareConcurrency,
        system: `${Deno.build.os} ${Deno.build.arch}`,
        cacheBytes,
        rotateBytes,
        load: Deno.loadavg()[0],
      },
      versions: {
        owqLab: await labVersion(),
        deno: Deno.version.deno,
        ...(torch ? { torch: torch.description } : {}),
        ...(onnx ? { onnxruntime: onnx.description } : {}),
      },
      method: { rounds, sampleSeconds, seed, quick },
      seconds: (performance.now() - begun) / 1000,
    };
  } finally {
    await torch?.close();
    await onnx?.close();
    gpu?.close();
  }
}

/** Rows that could not be measured for another reason than a missing adapter or peer. */
export function failedRows(r: BenchReport): BenchRow[] {
  return r.rows.filter((row) => row.note.startsWith(FAILED));
}

const FAILED = "FAILED: ";

async function rowsOf(task: BenchTask, c: BenchContext): Promise<BenchRow[]> {
  try {
    return await task.run(c);
  } catch (e) {
    if (!(e instanceof LabError)) throw e;
    return [emptyRow(task.name, "–", FAILED + e.message)];
  }
}

function tasksOf(only: readonly string[]): readonly BenchTask[] {
  for (const name of only) {
    if (BENCH_TASKS.some((t) => t.name === name)) continue;
    throw new LabError("input", `--only ${name}`, "is no row", `Rows: ${BENCH_TASKS.map((t) => t.name).join(", ")}.`);
  }
  return only.length === 0 ? BENCH_TASKS : BENCH_TASKS.filter((t) => only.includes(t.name));
}

async function peer<T>(
  name: string,
  needed: boolean,
  wanted: readonly string[],
  absent: Record<string, string>,
  hint: string,
  open: () => Promise<T | null>,
): Promise<T | null> {
  if (!needed) return null;
  if (!wanted.includes(name)) {
    absent[name] = "not asked for";
    return null;
  }
  try {
    const opened = await open();
    if (opened === null) absent[name] = hint;
    return opened;
  } catch (e) {
    if (!(e instanceof LabError) || e.kind !== "network") throw e;
    absent[name] = e.message;
    return null;
  }
}

/** Bytes to rotate weights over: twice the last cache, at least 64 MiB; 256 MiB hold any GPU's, and are the most. */
function rotation(gpu: Gpu | null, cacheBytes: number | null): number {
  const most = 256 << 20;
  if (gpu?.software === false) return most;
  return Math.min(most, Math.max(64 << 20, 2 * (cacheBytes ?? 32 << 20)));
}

/** The size of the CPU's last cache where the system tells it (Linux). */
async function lastCache(): Promise<number | null> {
  const text = await Deno.readTextFile("/sys/devices/system/cpu/cpu0/cache/index3/size").catch(() => "");
  const match = /^(\d+)K/.exec(text);
  return match ? Number(match[1]) * 1024 : null;
}
