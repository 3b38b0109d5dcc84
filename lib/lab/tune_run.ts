// One tuning from a base to a file of tuned values: open, train with durable checkpoints, measure what was written.
import { join } from "node:path";
import { atomicWriteText, ensureWritableFolder } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import type { ModelFiles } from "../io/open_model.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Floats } from "../io/tensor.ts";
import { modelConfig } from "../model/families.ts";
import { runTuning, startTuning, tunedLoss, type TunePoint, type TuneRecipe } from "../model/tune.ts";
import { loadTuning, saveTuning, type TuneOrigin } from "../model/tune_checkpoint.ts";
import { type TuneCost, tuneCost } from "../model/tune_count.ts";
import { openTuneModel, type TuneModel } from "../model/tune_gradient.ts";
import { type Trainable, tuneLeaves } from "../model/tune_leaves.ts";
import type { TuneText } from "../model/tune_text.ts";
import { baseFingerprint, packedWeakIds, saveTuned, TUNED_FORMAT } from "./tuned.ts";
import { textSha256 } from "./tune_text.ts";
import { labVersion } from "./version.ts";

/** The way to tune, before the base is known. */
export type TuneWay =
  | { readonly method: "wct" }
  | { readonly method: "lora"; readonly rank: number; readonly alpha: number }
  | { readonly method: "full" }
  | { readonly method: "none" };

/**
 * Learning rates to begin with: a tenth of those that were best on the embedded model in 16 steps (columns and LoRA 0.01,
 * everything 0.003). Larger models want less: QEFT's script has 2e-4 for LoRA (papers.md 1.1).
 */
export const LEARNING_RATES = { wct: 1e-3, lora: 1e-3, full: 3e-4, none: 1e-3 } as const;

/** α of a LoRA unless told (papers.md 1.1: QEFT's script). */
export const LORA_ALPHA = 16;

/** A tuning. */
export interface TuneOptions {
  /** The base, open; a packed folder for wct. */
  readonly files: ModelFiles;
  readonly way: TuneWay;
  /** The base opened for this way, where several runs share it; it stays open. */
  readonly model?: TuneModel;
  readonly recipe: TuneRecipe;
  readonly train: TuneText;
  readonly heldOut: TuneText | null;
  /** The training text for people. */
  readonly task: string;
  /** Folder of the run. */
  readonly out: string;
  readonly resume?: boolean;
  readonly measureEvery?: number;
  readonly stop?: number;
  readonly checkpointSeconds?: number;
  readonly onPoint?: (point: TunePoint, curve: readonly TunePoint[]) => void;
  readonly onProgress?: OnProgress;
  readonly onLine?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** DIR/tuning.json: all there is to know about a tuning. */
export interface TuneReport {
  readonly model: string;
  readonly note: string;
  readonly method: TuneWay["method"];
  readonly rank: number | null;
  readonly alpha: number | null;
  readonly task: string;
  readonly recipe: TuneRecipe;
  readonly steps: number;
  readonly cost: TuneCost;
  /** Nats a token on the held-out text: the base, the trained float32 values, and the values as written in 16 bits. */
  readonly heldOut: { readonly base: number; readonly trained: number; readonly stored: number } | null;
  readonly seconds: { readonly step: number; readonly total: number };
  /** Largest resident memory of the process after a step; WebAssembly's memory never shrinks, so it holds the peak. */
  readonly residentBytes: number;
  readonly curve: readonly TunePoint[];
  readonly provenance: {
    readonly version: string;
    readonly date: string;
    readonly baseSha256: string;
    readonly textSha256: string;
  };
}

/** What is trained, in words: two checkpoints of the same words fit each other. */
export function describeWay(w: TuneWay, ranks: readonly number[] = []): string {
  if (w.method === "lora") return `lora rank ${w.rank} alpha ${w.alpha}`;
  return w.method === "wct" ? `wct rank ${[...new Set(ranks)].join("/")}` : w.method;
}

/**
 * What a way trains in a base.
 *
 * @param rank for wct: columns that each linear must have; absent: whatever the base has.
 * @throws LabError "input" where the base has none, or another number of them.
 */
export async function trainableOf(files: ModelFiles, way: TuneWay, rank?: number): Promise<Trainable> {
  if (way.method !== "wct") return way;
  const ids = await packedWeakIds(files), c = modelConfig(files.config);
  tuneLeaves(c, { method: "wct", ids });
  for (const [tensor, own] of ids) {
    if (rank === undefined || own.length === rank) continue;
    const most = c.linears.find((l) => tensor.endsWith(`.${l.name}`))?.in ?? 0;
    const problem = rank > most
      ? `${rank} is more than the ${most} columns of ${tensor}`
      : `${rank} columns were asked for, ${tensor} of this base has ${own.length}`;
    const hint = rank > most
      ? `Ask for at most ${most}.`
      : `Quantize a base for it: owq quantize --bits 3 --rank ${rank}.`;
    throw new LabError("input", "rank", problem, hint);
  }
  return { method: "wct", ids };
}

/** The cost of a tuning, before any work. */
export function costOf(files: ModelFiles, t: Trainable, recipe: TuneRecipe, length: number): TuneCost {
  const c = modelConfig(files.config);
  return tuneCost(c, t, tuneLeaves(c, t), { batch: recipe.batch, length, accumulate: recipe.accumulate });
}

/**
 * Tunes a base and writes DIR/tuned.safetensors (the values), DIR/tuning.json (the report) and DIR/checkpoint.safetensors
 * (to go on from).
 *
 * Stopped at any moment, the same call with `resume` goes on from the last checkpoint and ends with the same bits.
 *
 * @throws LabError as openTuneModel, runTuning and loadTuning; "resume" where DIR holds a run and `resume` is not set; an
 *   AbortError between steps when the signal says so, after a checkpoint.
 */
export async function tuneModel(o: TuneOptions): Promise<TuneReport> {
  const { files, way, recipe, train, out } = o, begun = performance.now();
  const trainable = await trainableOf(files, way), baseSha256 = await baseFingerprint(files, way.method);
  const model = o.model ?? await openTuneModel(files, trainable), cost = costOf(files, trainable, recipe, train.length);
  const ranks = trainable.method === "wct" ? [...trainable.ids.values()].map((ids) => ids.length) : [];
  const text = textSha256(train), path = join(out, "checkpoint.safetensors");
  const origin: TuneOrigin = { recipe, trains: describeWay(way, ranks), base: files.label, baseSha256, text };
  try {
    await ensureWritableFolder(out);
    const state = await startTuning(model, recipe.seed);
    const there = await Deno.stat(path).then(() => true, () => false);
    if (there && !o.resume) {
      throw new LabError(
        "resume",
        out,
        "holds a tuning already",
        "Add --resume to go on with it, or choose another --out.",
      );
    }
    const curve = await loadTuning(path, model.leaves, state, origin) ?? [];
    if (there) o.onLine?.(`going on after step ${state.step} of ${recipe.steps}`);
    let saved = performance.now(), savedStep = state.step, resident = 0;
    const save = async () => {
      await saveTuning(path, model.leaves, state, origin, curve);
      [saved, savedStep] = [performance.now(), state.step];
    };
    try {
      await runTuning({
        model,
        text: train,
        recipe: way.method === "none" ? { ...recipe, steps: state.step } : recipe,
        state,
        curve,
        measureEvery: o.measureEvery ?? 0,
        ...(o.heldOut ? { heldOut: o.heldOut } : {}),
        ...(o.stop === undefined ? {} : { stop: o.stop }),
        ...(o.onPoint ? { onPoint: o.onPoint } : {}),
        ...(o.onProgress ? { onProgress: o.onProgress } : {}),
        ...(o.signal ? { signal: o.signal } : {}),
        afterStep: async () => {
          resident = Math.max(resident, Deno.memoryUsage().rss);
          if (performance.now() - saved > 1000 * (o.checkpointSeconds ?? 60)) await save();
        },
      });
    } finally {
      if (state.step > savedStep) await save(); // also when it was stopped, or a loss was no number: the state before it
    }
    if (way.method !== "none") {
      const info = { base: files.label, baseSha256, task: o.task, recipe, steps: state.step };
      const alpha = way.method === "lora" ? way.alpha : null;
      await saveTuned(join(out, "tuned.safetensors"), trainable, model.leaves, state.values, {
        format: TUNED_FORMAT,
        method: way.method,
        alpha,
        ...info,
      });
    }
    const lossOf = (values: readonly Floats[], text: TuneText) => tunedLoss(model, values, text, recipe.batch);
    const heldOut = o.heldOut && {
      base: curve[0].heldOut ?? NaN,
      trained: (curve.at(-1)!.step === state.step && curve.at(-1)!.heldOut) || await lossOf(state.values, o.heldOut),
      stored: await lossOf(state.values.map((v) => v.map(Math.f16round)), o.heldOut),
    };
    const times = curve.slice(1).map((p, i) => p.heldOut === null ? p.seconds - curve[i].seconds : NaN);
    const sorted = times.filter((s) => s >= 0).sort((a, b) => a - b);
    const report: TuneReport = {
      model: files.label,
      note: files.note,
      method: way.method,
      rank: way.method === "lora" ? way.rank : ranks.length > 0 ? Math.max(...ranks) : null,
      alpha: way.method === "lora" ? way.alpha : null,
      task: o.task,
      recipe,
      steps: state.step,
      cost,
      heldOut,
      seconds: { step: sorted[Math.floor(sorted.length / 2)] ?? 0, total: (performance.now() - begun) / 1000 },
      residentBytes: Math.max(resident, Deno.memoryUsage().rss),
      curve,
      provenance: { version: await labVersion(), date: new Date().toISOString(), baseSha256, textSha256: text },
    };
    await atomicWriteText(join(out, "tuning.json"), JSON.stringify(report, null, 1) + "\n");
    return report;
  } finally {
    if (!o.model) model.close();
  }
}
