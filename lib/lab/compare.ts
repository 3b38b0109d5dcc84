// Several experiments side by side: each runs once, finished ones are read back from disk, and all become rows of a table.
import { LabError } from "../io/errors.ts";
import { progress } from "./progress.ts";
import { makeRecipe, type Recipe, type RecipeInput } from "./recipe.ts";
import type { Report } from "./report.ts";
import { runCells, type SweepOptions } from "./sweep.ts";

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
export interface CompareOptions extends Omit<SweepOptions, "onCell" | "onReport"> {
  /** Says which case begins: how many are finished, the number of those to run, its label. */
  readonly onCase?: (finished: number, cases: number, label: string) => void;
}

/**
 * Runs every case that is not on disk yet and returns the rows in order; see {@link runCells}.
 *
 * @param common what all cases share. @param cases what differs.
 * @throws LabError as runExperiment.
 */
export async function compare(common: RecipeInput, cases: readonly Case[], o: CompareOptions = {}): Promise<Row[]> {
  const { onCase, ...options } = o;
  const cells = cases.map(({ label, ...differs }, i) => ({
    cell: i + 1,
    label,
    recipe: makeRecipe({ ...common, ...differs }),
  }));
  const reports = await runCells(cells, { ...options, ...(onCase ? { onCell: onCase } : {}) });
  return cells.map(({ label, recipe }, i) => ({ label, recipe, report: reports[i] }));
}

/** As `compare`, under a progress display. */
export async function compareShown(
  common: RecipeInput,
  cases: readonly Case[],
  o: CompareOptions = {},
): Promise<Row[]> {
  const bar = progress("experiments", { total: cases.length, unit: "experiments" });
  try {
    const tell = (done: number, total: number, label = "") =>
      bar.onProgress({ what: label || "experiments", done, total, unit: "experiments" });
    const rows = await compare(common, cases, { onCase: tell, ...o });
    tell(cases.length, cases.length);
    return rows;
  } finally {
    await bar.finish();
  }
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
