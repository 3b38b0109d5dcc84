// One experiment from a recipe to a report: open, plan, quantize, evaluate, write down where each figure came from.
import { join } from "node:path";
import { atomicWriteText } from "../io/atomic.ts";
import { sha256Hex } from "../io/digest.ts";
import { labCache } from "../io/cache.ts";
import type { ModelFiles } from "../io/open_model.ts";
import type { OnProgress } from "../io/progress.ts";
import type { TextTokenizer } from "../io/text_tokenizer.ts";
import { openWindows, type TextWindows } from "../io/windows.ts";
import { type Kernels, openKernels } from "../kernels/kernels.ts";
import { needsOf } from "../methods/method.ts";
import { findMethod } from "../methods/table.ts";
import { type LossGradients, openGradients } from "../model/gradient.ts";
import { type LanguageModel, openLanguageModel } from "../model/language_model.ts";
import { estimateMemory, type MemoryEstimate } from "../model/memory.ts";
import { injectOutliers } from "../model/outliers.ts";
import { perplexity } from "../model/perplexity.ts";
import { secondsSince } from "../quant/context.ts";
import { type Fingerprint, openJournal } from "./journal.ts";
import { resolveModel } from "./open.ts";
import { PACKED_FORMAT, PACKED_INDEX, type PackedEntry } from "./packed.ts";
import { quantizeModel } from "./quantize.ts";
import { type Plan, planExperiment } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { evaluationProvenance, makeReport, type Report } from "./report.ts";
import { writeRest } from "./save.ts";
import { labVersion } from "./version.ts";

/** Where and how a recipe is run; none of it may change the result, but for `device`, which may in the last bits. */
export interface ExperimentOptions {
  /** Folder of the run; it becomes the packed model. */
  readonly out: string;
  readonly device?: "auto" | "gpu" | "cpu";
  readonly resume?: boolean;
  /** A local copy of a text that otherwise comes from the hub. */
  readonly localCopy?: string;
  readonly onProgress?: OnProgress;
  /** Lines for people: the plan before the work, and what was found on the way. */
  readonly onLine?: (line: string) => void;
  readonly signal?: AbortSignal;
  readonly onLayer?: Parameters<typeof quantizeModel>[0]["onLayer"];
  /** Do not evaluate the float model (its perplexity is NaN in the report). */
  readonly skipFloat?: boolean;
}

/** An opened experiment: the model, its texts and the plan, before any work. */
export interface OpenedExperiment {
  readonly recipe: Recipe;
  readonly files: ModelFiles;
  readonly model: LanguageModel;
  readonly calibration: TextWindows | null;
  readonly evaluation: TextWindows;
  readonly plan: Plan;
  close(): void;
}

/** How much memory the experiment will take at its peak. */
export function memoryOf(x: OpenedExperiment): MemoryEstimate {
  const most = (f: (w: TextWindows) => number) => Math.max(f(x.evaluation), x.calibration ? f(x.calibration) : 0);
  return estimateMemory(x.model.config, {
    windows: most((w) => w.windows),
    length: most((w) => w.length),
    quantize: x.calibration !== null,
  });
}

/** Books that were tokenized and windows that were cut before, by what decides them: tokenizing a book takes seconds. */
export interface WindowCache {
  readonly windows: Map<string, TextWindows>;
  readonly ids: Map<string, number[]>;
}

/** An empty cache, to be shared by experiments on the same texts. */
export function windowCache(): WindowCache {
  return { windows: new Map(), ids: new Map() };
}

/** A tokenizer that remembers the ids of long texts. */
function remembering(tokenizer: TextTokenizer, model: string, ids: Map<string, number[]>): TextTokenizer {
  const { vocabSize, bosId, eosId } = tokenizer;
  const encode = (text: string) => {
    if (text.length < 100_000) return tokenizer.encode(text);
    const key = `${model} ${text}`, known = ids.get(key) ?? tokenizer.encode(text);
    ids.set(key, known);
    return known;
  };
  return { encode, decode: (list) => tokenizer.decode(list), vocabSize, bosId, eosId };
}

/**
 * Opens the model and the texts of a recipe; nothing is quantized yet.
 *
 * @param cut windows of earlier experiments, to take from and to add to.
 * @throws LabError as resolveModel, openLanguageModel, openWindows and planExperiment.
 */
export async function openExperiment(
  recipe: Recipe,
  o: Pick<ExperimentOptions, "onProgress" | "localCopy"> = {},
  cut: WindowCache = windowCache(),
): Promise<OpenedExperiment> {
  const plain = await resolveModel(recipe.model, o.onProgress ? { onProgress: o.onProgress } : {});
  const files = recipe.injected === 1 ? plain : injectOutliers(plain, { factor: recipe.injected });
  try {
    const model = await openLanguageModel(files), plainTokenizer = await files.tokenizer();
    const tokenizer = plainTokenizer && remembering(plainTokenizer, recipe.model, cut.ids);
    const windows = async (t: Recipe["calibration"], purpose: "calibration" | "evaluation") => {
      const key = JSON.stringify([recipe.model, recipe.seed, purpose, t]), known = cut.windows.get(key);
      if (known) return known;
      const opened = await openWindows(t.text, {
        tokenizer,
        samples: t.samples,
        seqLen: t.seqLen,
        seed: recipe.seed,
        purpose,
        ...(o.localCopy ? { localCopy: o.localCopy } : {}),
      });
      cut.windows.set(key, opened);
      return opened;
    };
    const needs = needsOf(findMethod(recipe.method), recipe.options).text;
    const calibration = needs ? await windows(recipe.calibration, "calibration") : null;
    const evaluation = await windows(recipe.evaluation, "evaluation");
    const plan = planExperiment(recipe, model);
    return { recipe, files, model, calibration, evaluation, plan, close: () => files.source.close() };
  } catch (e) {
    files.source.close();
    throw e;
  }
}

/**
 * Runs an experiment and writes DIR/report.json; DIR is then a packed model that `--model DIR` loads.
 *
 * Finished blocks survive whatever ends the process; the same call with `resume` goes on and ends bit-identical.
 *
 * @throws LabError on anything that does not fit; an AbortError when the signal says so.
 */
export async function runExperiment(recipe: Recipe, o: ExperimentOptions): Promise<Report> {
  const begun = performance.now(), opened = await openExperiment(recipe, o);
  const kernels = await openKernels(o.device ?? "auto");
  try {
    return await runOpened(opened, kernels, o, begun);
  } finally {
    kernels.close();
    opened.close();
  }
}

/**
 * Runs an experiment that is open already; both it and the kernels stay open.
 *
 * @param begun when the work began, a value of performance.now(): `seconds.load` and `seconds.total` count from there.
 * @throws as {@link runExperiment}.
 */
export async function runOpened(
  opened: OpenedExperiment,
  kernels: Kernels,
  o: ExperimentOptions,
  begun: number = performance.now(),
): Promise<Report> {
  const seconds: Record<string, number> = {}, { recipe, model, calibration, evaluation } = opened;
  o.onLine?.(`kernels on ${kernels.description}`);
  o.onLine?.(`memory: ${memoryOf(opened).sentence}`);
  const fingerprint = await fingerprintOf(opened, kernels);
  seconds.load = secondsSince(begun);
  const journal = await openJournal(o.out, fingerprint, o.resume ?? false);
  if (journal.finished.length > 0) {
    o.onLine?.(`resuming: ${journal.finished.length} of ${model.blocks} blocks are done`);
  }
  const lap = async <T>(stage: string, work: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    const value = await work();
    seconds[stage] = secondsSince(start);
    return value;
  };
  const common = { ...(o.onProgress ? { onProgress: o.onProgress } : {}), ...(o.signal ? { signal: o.signal } : {}) };
  const result = await lap("quantizeAndCalibrate", async () => {
    const gradients = await gradientsFor(opened);
    try {
      return await quantizeModel({
        recipe,
        model,
        calibration,
        kernels,
        journal,
        ...common,
        ...(gradients ? { gradients } : {}),
        ...(o.onLayer ? { onLayer: o.onLayer } : {}),
      });
    } finally {
      gradients?.close();
    }
  });
  await lap("save", () => savePacked(o.out, opened, result.layers));
  const fp = o.skipFloat ? null : await lap("evaluateFloat", () => floatPerplexity(opened, o));
  const quantized = await lap("evaluate", () => packedPerplexity(evaluation, o));
  seconds.total = secondsSince(begun);
  const report = makeReport(opened, kernels, { fp, quantized }, seconds, result, fingerprint);
  await atomicWriteText(join(o.out, "report.json"), JSON.stringify(report, null, 1) + "\n");
  return report;
}

/**
 * The report of a finished run on another evaluation text: nothing is quantized again.
 *
 * @param opened the same experiment but for its evaluation. @param before the finished run's report. @param o its folder.
 */
export async function evaluateFinished(
  opened: OpenedExperiment,
  before: Report,
  o: ExperimentOptions,
): Promise<Report> {
  const { evaluation } = opened, start = performance.now();
  const fp = o.skipFloat ? null : await floatPerplexity(opened, o), quantized = await packedPerplexity(evaluation, o);
  const report: Report = {
    ...before,
    ppl: { fp, quantized },
    seconds: { ...before.seconds, evaluate: secondsSince(start) },
    provenance: {
      ...before.provenance,
      date: new Date().toISOString(),
      evaluation: evaluationProvenance(evaluation),
    },
  };
  await atomicWriteText(join(o.out, "report.json"), JSON.stringify(report, null, 1) + "\n");
  return report;
}

/** Token perplexity of the packed model in the run's folder. */
async function packedPerplexity(evaluation: TextWindows, o: ExperimentOptions): Promise<number> {
  const packed = await resolveModel(o.out);
  try {
    const model = await openLanguageModel(packed), onProgress = relabel(o.onProgress, "evaluating the quantized model");
    return (await perplexity(model, evaluation, { onProgress })).perplexity;
  } finally {
    packed.source.close();
  }
}

/** Gradients of the float model, where the method needs them: on its first `samples` windows. */
async function gradientsFor({ recipe, files, calibration }: OpenedExperiment): Promise<LossGradients | null> {
  if (!needsOf(findMethod(recipe.method), recipe.options).gradient || !calibration) return null;
  const { ids, length } = calibration, windows = Math.min(Number(recipe.options.samples), calibration.windows);
  return await openGradients(files, { ids: ids.subarray(0, windows * length), windows, length });
}

/** Progress under another name. */
function relabel(onProgress: OnProgress | undefined, what: string): OnProgress {
  return (p) => onProgress?.({ ...p, what });
}

/** What decides the result to the last bit. */
export async function fingerprintOf(x: OpenedExperiment, kernels: Kernels): Promise<Fingerprint> {
  const { evaluation: _, model: __, ...recipe } = x.recipe;
  return {
    "lab version": await labVersion(),
    recipe: JSON.stringify(recipe),
    "model sha256": await x.files.source.sha256(),
    "calibration sha256": x.calibration?.sha256 ?? "none",
    "kernels on": kernels.description,
  };
}

/**
 * Token perplexity of the unquantized model; remembered in the cache under the hashes of model and windows, because
 * every experiment on the same two asks for it again.
 */
export async function floatPerplexity(x: OpenedExperiment, o: Pick<ExperimentOptions, "onProgress">): Promise<number> {
  const key = [await labVersion(), await x.files.source.sha256(), x.evaluation.sha256].join(" ");
  const file = join(labCache(), "perplexity", `${sha256Hex(key)}.json`);
  const known = await Deno.readTextFile(file).then(
    (t) => JSON.parse(t) as { key: string; perplexity: number },
    () => null,
  );
  if (known?.key === key && Number.isFinite(known.perplexity)) return known.perplexity;
  const r = await perplexity(x.model, x.evaluation, {
    onProgress: relabel(o.onProgress, "evaluating the float model"),
  });
  await Deno.mkdir(join(file, ".."), { recursive: true });
  await atomicWriteText(file, JSON.stringify({ key, perplexity: r.perplexity }));
  return r.perplexity;
}

/** Makes the run's folder a packed model: what is not quantized, config and tokenizer, and last of all the index. */
async function savePacked(out: string, x: OpenedExperiment, layers: Record<string, PackedEntry>): Promise<void> {
  const quantized = new Set(Object.keys(layers).map((t) => `${t}.weight`));
  await writeRest(out, x.files, quantized);
  const index = {
    format: PACKED_FORMAT,
    version: await labVersion(),
    model: x.files.label,
    note: x.files.note,
    recipe: x.recipe,
    layers,
  };
  await atomicWriteText(join(out, PACKED_INDEX), JSON.stringify(index, null, 1) + "\n");
}
