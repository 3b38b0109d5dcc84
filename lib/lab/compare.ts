// Several experiments side by side: each runs once, finished ones are read back from disk, and all become rows of a table.
import { join } from "node:path";
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import { type Kernels, openKernels } from "../kernels/kernels.ts";
import {
  type ExperimentOptions,
  fingerprintOf,
  type OpenedExperiment,
  openExperiment,
  runOpened,
  type WindowCache,
} from "./experiment.ts";
import { type Report } from "./report.ts";
import { labPaths } from "./paths.ts";
import { makeRecipe, type Recipe, type RecipeInput } from "./recipe.ts";

/** One row to compute: a label and what differs from the common recipe. */
export interface Case extends RecipeInput {
  readonly label: string;
}

/** One finished row. */
export interface Row {
  readonly label: string;
  readonly recipe: Recipe;
  readonly report: Report;
}

/** How the cases are run. */
export interface CompareOptions extends Omit<ExperimentOptions, "out" | "resume"> {
  /** Folder of all runs; out/runs by default. */
  readonly folder?: string;
  /** Says which case begins: its index, the number of cases, its label. */
  readonly onCase?: (index: number, cases: number, label: string) => void;
}

/**
 * Runs every case that is not on disk yet and returns the rows in order.
 *
 * A case is found again by its recipe and by the hashes of model, texts and version: whatever changed, it runs anew.
 *
 * @param common what all cases share. @param cases what differs.
 * @throws LabError as runExperiment.
 */
export async function compare(common: RecipeInput, cases: readonly Case[], o: CompareOptions = {}): Promise<Row[]> {
  const rows: Row[] = [], cut: WindowCache = new Map(), kernels = await openKernels(o.device ?? "auto");
  try {
    for (const [i, { label, ...differs }] of cases.entries()) {
      o.onCase?.(i, cases.length, label);
      const recipe = makeRecipe({ ...common, ...differs }), opened = await openExperiment(recipe, o, cut);
      try {
        rows.push({ label, recipe, report: await experimentOnce(opened, kernels, o) });
      } finally {
        opened.close();
      }
    }
  } finally {
    kernels.close();
  }
  return rows;
}

/**
 * The report of an opened experiment: read back where a finished run of exactly this is on disk, resumed where it was
 * stopped, run where it is new.
 */
export async function experimentOnce(opened: OpenedExperiment, kernels: Kernels, o: CompareOptions): Promise<Report> {
  const { folder: chosen, onCase: _, ...options } = o, folder = chosen ?? join(labPaths().out, "runs");
  const { recipe, evaluation } = opened;
  const key = { ...await fingerprintOf(opened, kernels), "evaluation sha256": evaluation.sha256 };
  const name = sha256Hex(JSON.stringify(key)).slice(0, 16);
  const out = join(folder, `${recipe.method}-${recipe.bits}-${name}`);
  const known = await Deno.readTextFile(join(out, "report.json")).then((t) => JSON.parse(t) as Report, () => null);
  return known ?? await runOpened(opened, kernels, { ...options, out, resume: true });
}

/** What the rows of the end-to-end comparison share. */
export function comparisonRecipe(
  model: string,
  o: { calib: string; evaluation: string; samples: number; seqLen: number; seed: number; injected: number },
): RecipeInput {
  const text = { samples: o.samples, seqLen: o.seqLen };
  return {
    model,
    injected: o.injected,
    calibration: { text: o.calib, ...text },
    evaluation: { text: o.evaluation, ...text },
    seed: o.seed,
  };
}

/**
 * Its cases: RTN and OPTQ at whole bits, OWQ at its targets.
 *
 * @param bits numbers with spaces between them, such as "3 4". @param targets likewise, such as "3.01 3.1".
 * @throws LabError for anything that is not a number.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { comparisonCases } from "./compare.ts";
 * assert.deepEqual(comparisonCases("3", "3.1").map((c) => c.label), ["RTN 3", "OPTQ 3", "OWQ 3.1"]);
 * ```
 */
export function comparisonCases(bits: string, targets: string): Case[] {
  const numbers = (text: string) =>
    text.split(/\s+/).filter(Boolean).map((word) => {
      const value = Number(word);
      if (!Number.isFinite(value)) throw new LabError("input", "bits", `"${word}" is not a number`, 'Such as "3 4".');
      return value;
    });
  const row = (method: string, b: number) => ({ label: `${method.toUpperCase()} ${b}`, method, bits: b });
  return [
    ...numbers(bits).flatMap((b) => [row("rtn", b), row("optq", b)]),
    ...numbers(targets).map((b) => row("owq", b)),
  ];
}
