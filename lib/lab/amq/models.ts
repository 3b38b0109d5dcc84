// From a search to models: the configuration at an average, and what the final quantizers make of it beside uniform bits.
import { LabError } from "../../io/errors.ts";
import { averageBits, type MixedSpace } from "../../quant/mixed_bits.ts";
import { makeRecipe, type RecipeInput } from "../recipe.ts";
import type { Report } from "../report.ts";
import { runCells, type SweepOptions } from "../sweep.ts";
import type { Cell } from "../sweep_file.ts";
import { type Table, table } from "../table.ts";
import type { Entry } from "./archive.ts";
import { checkReachable, textPlan, uniformChoice } from "./space.ts";

/** How far a configuration's average may lie from the target; AMQ's is 0.005 with many thousand evaluations. */
export const TOLERANCE = 0.05;

/**
 * The configuration to take at an average: of those within the tolerance the one with the least divergence.
 *
 * @param target bits a weight, scales and zero points included.
 * @throws LabError "input" where no configuration can have the target, or none that was evaluated comes near (it names the nearest).
 */
export function pickEntry(
  space: MixedSpace,
  entries: readonly Entry[],
  target: number,
  tolerance: number = TOLERANCE,
): Entry {
  checkReachable(space, target, tolerance);
  const near = entries.filter((e) => Math.abs(e.bits - target) <= tolerance + 1e-9);
  if (near.length > 0) return near.reduce((best, e) => e.jsd < best.jsd ? e : best);
  const gap = (e: Entry) => Math.abs(e.bits - target);
  const nearest = entries.reduce<Entry | null>((best, e) => best && gap(best) <= gap(e) ? best : e, null);
  const said = nearest ? `, the nearest has ${nearest.bits.toFixed(4)}` : "";
  throw new LabError(
    "input",
    `an average of ${target} bits`,
    `nothing within ${tolerance} of it was evaluated${said}`,
    "Search longer, or give a larger --tolerance.",
  );
}

/** One final model. */
export interface FinalModel {
  readonly target: number;
  readonly method: string;
  /** "search": bits by linear; "uniform": the method alone holds all linears to as many stored bits. */
  readonly way: "search" | "uniform";
  /** The configuration, where the search gave one. */
  readonly entry: Entry | null;
  readonly cell: Cell;
}

/**
 * Final models: for each target and method the search's configuration, and uniform bits at as many stored bits.
 *
 * Both are held to stored bits: a linear of b bits to b + 32⌈in/g⌉/in, the average that the search counted, which the method
 * spends on groups, scales or weak columns as it does anywhere; the uniform one to that average in every linear.
 *
 * @param common the model, texts and seed. @param entries an archive's.
 * @throws LabError as pickEntry and makeRecipe.
 */
export function finalModels(
  space: MixedSpace,
  entries: readonly Entry[],
  common: RecipeInput,
  o: { targets: readonly number[]; methods: readonly string[]; tolerance?: number },
): FinalModel[] {
  const top = space.bits.length - 1, most = space.bits[top];
  const overhead = averageBits({ ...space, pinned: [] }, uniformChoice({ ...space, pinned: [] }, top)) - most;
  let cell = 0;
  return o.targets.flatMap((target) => {
    const entry = pickEntry(space, entries, target, o.tolerance),
      linearBits = Object.fromEntries(textPlan(space, entry.point));
    return o.methods.flatMap((method) => {
      const recipe = (input: RecipeInput) => makeRecipe({ ...common, method, budget: "stored", ...input });
      const average = Number(entry.bits.toFixed(6));
      const mixed = recipe({ bits: Number((most + overhead).toFixed(6)), linearBits }),
        plain = recipe({ bits: average });
      const label = (way: string) => `${method.toUpperCase()} ${way} at ${average.toFixed(3)}`;
      return [
        {
          target,
          method,
          way: "search" as const,
          entry,
          cell: { cell: ++cell, label: label("by linear"), recipe: mixed },
        },
        {
          target,
          method,
          way: "uniform" as const,
          entry: null,
          cell: { cell: ++cell, label: label("uniform"), recipe: plain },
        },
      ];
    });
  });
}

/** A final model with its report. */
export interface FinishedModel extends FinalModel {
  readonly report: Report;
}

/** Runs final models; finished ones are read back. @throws LabError as runCells. */
export async function runFinal(models: readonly FinalModel[], o: SweepOptions = {}): Promise<FinishedModel[]> {
  const reports = await runCells(models.map((m) => m.cell), o);
  return models.map((m, i) => ({ ...m, report: reports[i] }));
}

/** Final models as a table. */
export function finalTable(models: readonly FinishedModel[]): Table {
  const rows = models.map(({ target, method, way, entry, report: r }) => [
    target,
    method,
    way === "search" ? "by linear" : "uniform",
    r.bits.stored,
    r.ppl.quantized,
    r.ppl.fp,
    entry?.jsd ?? null,
  ]);
  return table(
    ["target", "method", "bits", "stored bits a weight", "perplexity", "float", "divergence of the proxy"],
    rows,
    "Token perplexity. Stored bits count codes, scales, zero points, weak columns and their indices.",
  );
}
