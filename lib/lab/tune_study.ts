// Notebook wct: ways to tune one quantized base on one text, side by side. OWQ, arXiv 2306.02272, figure 4.
import { join } from "node:path";
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { ModelFiles } from "../io/open_model.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { type MeanWithError, meanWithError } from "../model/scorer.ts";
import { TUNE_DEFAULTS, tunedLoss, type TunePoint, type TuneRecipe, tuneRecipe } from "../model/tune.ts";
import { openTuneModel, type TuneModel } from "../model/tune_gradient.ts";
import { takeWindows, type TuneText } from "../model/tune_text.ts";
import { runExperiment } from "./experiment.ts";
import { resolveModel } from "./open.ts";
import { PACKED_INDEX } from "./packed.ts";
import { labPaths } from "./paths.ts";
import { makeRecipe, type RecipeInput, type TextRecipe } from "./recipe.ts";
import { type Instruction, instructions } from "./tasks/instructions.ts";
import { LORA_ALPHA, trainableOf, tuneModel, type TuneReport, type TuneWay } from "./tune_run.ts";
import { openTuneTexts, questionWindows, textSha256, type TuneTexts } from "./tune_text.ts";
import { baseFingerprint, openTuned, tunedValues, withTuned } from "./tuned.ts";
import { labVersion } from "./version.ts";

/** One way to tune, with its learning rate. */
export interface TuneCase {
  /** "WCT, 8 columns", "LoRA, rank 64", "full". */
  readonly label: string;
  readonly way: TuneWay;
  /** Columns or rank; 0 for full. */
  readonly rank: number;
  readonly learningRate: number;
}

/** A case with its runs, one a seed. */
export interface TuneRow extends TuneCase {
  /** The base's name where it is not the study's own. */
  readonly on?: string;
  readonly reports: readonly TuneReport[];
  /** Folders of the runs. */
  readonly folders: readonly string[];
}

/**
 * Ways from a line such as "wct:8:0.01 lora:64:0.01 full:0:0.003": method, columns or rank, learning rate.
 *
 * @throws LabError "input" for a word that is none.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { tuneCases } from "./tune_study.ts";
 * assert.deepEqual(tuneCases("wct:8:0.01 full:0:0.003").map((c) => c.label), ["WCT, 8 columns", "full"]);
 * ```
 */
export function tuneCases(line: string): TuneCase[] {
  return line.split(/\s+/).filter(Boolean).map((word) => {
    const [method, size, rate] = word.split(":"), rank = Number(size), learningRate = Number(rate);
    if (!Number.isInteger(rank) || !(learningRate > 0)) {
      throw new LabError("input", `way "${word}"`, "is not METHOD:RANK:RATE", "Such as wct:8:0.01.");
    }
    if (method === "wct") return { label: `WCT, ${rank} columns`, way: { method }, rank, learningRate };
    if (method === "full") return { label: "full", way: { method }, rank: 0, learningRate };
    if (method === "lora") {
      return { label: `LoRA, rank ${rank}`, way: { method, rank, alpha: LORA_ALPHA }, rank, learningRate };
    }
    throw new LabError("input", `way "${word}"`, `tunes by "${method}"`, "Ways are wct, lora and full.");
  });
}

/**
 * The texts of a study: as openTuneTexts, but a text to measure on must be there.
 *
 * @param data TEXT, such as `license`. @param length tokens a window. @param most windows to measure on, the first ones.
 * @throws LabError "input" where the text is too short to hold anything out.
 */
export async function studyTexts(
  files: ModelFiles,
  data: string,
  length: number,
  most: number,
): Promise<TuneTexts & { readonly heldOut: TuneText }> {
  const texts = await openTuneTexts(files, { data, length, seed: 0 }), { heldOut } = texts;
  if (heldOut) {
    const windows = Math.min(most, heldOut.windows);
    return { ...texts, heldOut: takeWindows(heldOut, Array.from({ length: windows }, (_, i) => i)) };
  }
  const problem = `its ${texts.train.windows} windows of ${length} are too few to hold some out`;
  throw new LabError("input", texts.label, problem, "Give a longer text, or shorter windows.");
}

/**
 * A base to tune, made once and kept under out/.
 *
 * @param how to quantize it: OWQ with `rank` weak columns of every linear for wct, any method for LoRA.
 * @param text what second moments are measured on, which choose the columns.
 * @throws LabError as runExperiment.
 */
export async function tuneBase(
  model: string,
  how: Pick<RecipeInput, "method" | "bits" | "rank">,
  text: TextRecipe,
  onProgress?: OnProgress,
): Promise<ModelFiles> {
  const texts = { calibration: text, evaluation: { ...text, samples: 1 } };
  const recipe = makeRecipe({ model, ...how, ...texts });
  const key = sha256Hex(JSON.stringify([recipe, await labVersion()])).slice(0, 12);
  const out = join(labPaths().out, "tune-bases", key), report = onProgress ? { onProgress } : {};
  if (!await Deno.stat(join(out, PACKED_INDEX)).catch(() => null)) {
    await runExperiment(recipe, { out, resume: true, skipFloat: true, ...report });
  }
  return await resolveModel(out);
}

/**
 * Tunes in each way with each seed, from the same base on the same windows. Runs are kept under out/tunings: what is finished is
 * read back, what was stopped goes on.
 *
 * @param files the base; all cases of wct take its columns. @param onPoint after each step, for a live picture.
 */
export async function compareTuning(
  o: {
    readonly files: ModelFiles;
    /** The base's name, where it is not the study's own. */
    readonly on?: string;
    readonly cases: readonly TuneCase[];
    readonly texts: TuneTexts;
    readonly recipe: Partial<TuneRecipe>;
    readonly seeds: readonly number[];
    /** Measure the held-out text every so many steps; 0: before and after only. */
    readonly measureEvery?: number;
    readonly onPoint?: (label: string, curve: readonly TunePoint[]) => void;
    /** Where the runs are kept. */
    readonly out?: string;
  },
): Promise<TuneRow[]> {
  const rows: TuneRow[] = [], on = o.on === undefined ? {} : { on: o.on };
  for (const { label: way, ...c } of o.cases) {
    const name = o.on === undefined ? way : `${o.on} and ${way}`;
    const reports: TuneReport[] = [], folders: string[] = [];
    let model: TuneModel | null = null;
    try {
      for (const seed of o.seeds) {
        const recipe = tuneRecipe({ ...TUNE_DEFAULTS, ...o.recipe, learningRate: c.learningRate, seed });
        const out = await tuningFolder(o, c, recipe), label = `${name}, seed ${seed}`;
        let report = await finishedTuning(out);
        if (report) o.onPoint?.(label, report.curve);
        else {
          const rank = c.way.method === "wct" ? c.rank : undefined;
          model ??= await openTuneModel(o.files, await trainableOf(o.files, c.way, rank));
          report = await tuneModel({
            files: o.files,
            way: c.way,
            model,
            recipe,
            train: o.texts.train,
            heldOut: o.texts.heldOut,
            task: o.texts.label,
            out,
            resume: true,
            measureEvery: o.measureEvery ?? 0,
            onPoint: (_, curve) => o.onPoint?.(label, curve),
          });
        }
        folders.push(out);
        reports.push(report);
      }
    } finally {
      model?.close();
    }
    rows.push({ ...c, ...on, label: name, reports, folders });
  }
  return rows;
}

/** Where a run of compareTuning lies: named by all that decides it. */
async function tuningFolder(
  o: { readonly files: ModelFiles; readonly texts: TuneTexts; readonly measureEvery?: number; readonly out?: string },
  c: Pick<TuneCase, "way" | "rank">,
  recipe: TuneRecipe,
): Promise<string> {
  const { train, heldOut } = o.texts, base = await baseFingerprint(o.files, c.way.method);
  const read = [textSha256(train), heldOut ? textSha256(heldOut) : null, o.measureEvery ?? 0];
  const key = sha256Hex(JSON.stringify([c.way, c.rank, recipe, base, read, await labVersion()]));
  return join(o.out ?? join(labPaths().out, "tunings"), key.slice(0, 16));
}

/** The report of a run that came to its end. */
async function finishedTuning(folder: string): Promise<TuneReport | null> {
  const text = await Deno.readTextFile(join(folder, "tuning.json")).catch(() => null);
  return text === null ? null : JSON.parse(text) as TuneReport;
}

/** Perplexity on the held-out text after each of a row's runs, of the values as they are stored. */
export function tunedPerplexities(row: TuneRow): number[] {
  return row.reports.map((r) => Math.exp(r.heldOut?.stored ?? NaN));
}

/** What a run changed in one linear: |Ŵ_tuned − Ŵ| (out, in). */
export async function changeOf(files: ModelFiles, folder: string, linear: string): Promise<Matrix> {
  const tuned = await openTuned(join(folder, "tuned.safetensors"), files), name = `${linear}.weight`;
  const before = await files.source.read(name), after = await withTuned(files, tuned).source.read(name);
  tuned.close();
  return { data: after.data.map((x, i) => Math.abs(x - before.data[i])), rows: before.shape[0], cols: before.shape[1] };
}

/** What one set of columns achieves. */
export interface SwapRow {
  readonly label: string;
  /** On each task's text; of instructions only the answers count. */
  readonly perplexities: readonly number[];
  /** Share of the last text's windows that are answered exactly by greedy decoding, with Wilson's interval. */
  readonly exact: MeanWithError;
}

/**
 * Serves tasks from one base, opened once: with its own weak columns, then with each task's.
 *
 * @param folders of runs of wct. @param texts one a task, the last of questions.
 */
export async function swapTasks(
  files: ModelFiles,
  folders: Readonly<Record<string, string>>,
  texts: readonly TuneText[],
): Promise<SwapRow[]> {
  const model = await openTuneModel(files, await trainableOf(files, { method: "wct" })), rows: SwapRow[] = [];
  const measure = async (label: string, values: readonly Floats[]) => {
    const perplexities: number[] = [], right: number[] = [], questions = texts[texts.length - 1];
    for (const text of texts) perplexities.push(Math.exp(await tunedLoss(model, values, text, 10)));
    for (let w = 0; w < questions.windows; w += 10) {
      const which = Array.from({ length: Math.min(10, questions.windows - w) }, (_, i) => w + i);
      right.push(...await model.exact(values, takeWindows(questions, which)));
    }
    rows.push({ label, perplexities, exact: meanWithError(right) });
  };
  await measure("the base", await model.start(0));
  for (const [label, folder] of Object.entries(folders)) {
    const tuned = await openTuned(join(folder, "tuned.safetensors"), files);
    await measure(`columns for ${label}`, await tunedValues(tuned, model.leaves));
    tuned.close();
  }
  model.close();
  return rows;
}

/** The kit's instructions as windows of a model: to learn from, and to test with. */
export async function instructionTexts(
  files: ModelFiles,
  o: { readonly length: number; readonly train: number; readonly test: number; readonly seed: number },
): Promise<{ texts: TuneTexts; test: TuneText; items: readonly Instruction[] }> {
  const tokenizer = await files.tokenizer();
  if (!tokenizer) throw new LabError("input", files.label, "has no tokenizer, which instructions need");
  const made = instructions(o),
    windows = (items: readonly Instruction[]) => questionWindows(items, tokenizer, o.length, "instructions");
  const train = windows(made.train), test = windows(made.test);
  return { texts: { train, heldOut: null, label: "instructions", sha256: textSha256(train) }, test, items: made.test };
}
