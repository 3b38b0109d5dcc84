// From a search to models: the configuration at an average, and what the final quantizers make of it beside uniform bits.
import { LabError } from "../../io/errors.ts";
import { averageBits, type MixedSpace } from "../../quant/mixed_bits.ts";
import { makeRecipe, type RecipeInput } from "../recipe.ts";
import type { Report } from "../report.ts";
import { runCells, type SweepOptions } from "../sweep.ts";
import type { Cell } from "../sweep_file.ts";
import { type Table, table } from "../table.ts";
import type { Entry } from "./archive.ts";
import { kendall, spearman } from "./correlation.ts";
import { checkReachable, textPlan, uniformChoice } from "./space.ts";

/** How far a configuration's average may lie below the target; AMQ's is 0.005 to both sides with many thousand evaluations. */
export const TOLERANCE = 0.1;

/**
 * The configuration to take at an average: of those that have at most that, and not less than it by more than the tolerance, the
 * one with the least divergence.
 *
 * @param target bits a weight, scales and zero points included.
 * @throws LabError "input" where no configuration can have the target, or none that was evaluated comes near (it names the nearest).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pickEntry } from "./models.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 3, 4], groupSize: 64, pinned: ["1.q"] };
 * const entry = (point: string, bits: number, jsd: number) => ({ round: 0, point, bits, jsd, old: 0 });
 * assert.equal(pickEntry(space, [entry("344", 4.17, 0.1), entry("443", 4.17, 0.2)], 4.2).point, "344");
 * assert.throws(() => pickEntry(space, [], 9), /no configuration has it/);
 * ```
 */
export function pickEntry(
  space: MixedSpace,
  entries: readonly Entry[],
  target: number,
  tolerance: number = TOLERANCE,
): Entry {
  checkReachable(space, target, tolerance);
  const near = entries.filter((e) => e.bits <= target + 1e-9 && e.bits >= target - tolerance - 1e-9);
  if (near.length > 0) return near.reduce((best, e) => e.jsd < best.jsd ? e : best);
  const gap = (e: Entry) => Math.abs(e.bits - target);
  const nearest = entries.reduce<Entry | null>((best, e) => best && gap(best) <= gap(e) ? best : e, null);
  const said = nearest ? `, the nearest has ${nearest.bits.toFixed(4)}` : "";
  throw new LabError(
    "input",
    `an average of ${target} bits`,
    `nothing from it to ${tolerance} below was evaluated${said}`,
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
  const models = o.targets.flatMap((target) => {
    const entry = pickEntry(space, entries, target, o.tolerance), bits = Number(entry.bits.toFixed(6));
    return o.methods.flatMap((method): Unnumbered[] => [
      { target, method, way: "search", entry, ...configured(space, entry, { ...common, method }) },
      {
        target,
        method,
        way: "uniform",
        entry: null,
        label: `${method.toUpperCase()} uniform at ${bits.toFixed(3)}`,
        recipe: makeRecipe({ ...common, method, budget: "stored", bits }),
      },
    ]);
  });
  return numbered(models);
}

type Unnumbered = Omit<FinalModel, "cell"> & Omit<Cell, "cell">;

function numbered(models: readonly Unnumbered[]): FinalModel[] {
  return models.map(({ label, recipe, ...model }, i) => ({ ...model, cell: { cell: i + 1, label, recipe } }));
}

/** A configuration as a recipe: each linear held to its bits and their share of scales and zero points. */
function configured(space: MixedSpace, entry: Entry, common: RecipeInput): Pick<Cell, "label" | "recipe"> {
  const least = space.bits[0],
    beside = averageBits({ ...space, pinned: [] }, uniformChoice({ ...space, pinned: [] }, 0)) - least;
  const bits = Number((least + Math.min(beside, 0.999)).toFixed(6)); // a plan leaves less than a bit for what lies beside codes
  const linearBits = Object.fromEntries(textPlan(space, entry.point));
  return {
    label: `${(common.method ?? "owq").toUpperCase()} by linear at ${entry.bits.toFixed(3)}`,
    recipe: makeRecipe({ ...common, budget: "stored", bits, linearBits }),
  };
}

/**
 * Models to measure how well the proxy orders configurations: some of those that were evaluated, evenly over average bits, by
 * each final method.
 *
 * @param entries random ones say most: a search's own all lie near one line. @param count configurations.
 * @throws LabError as makeRecipe.
 */
export function fidelityModels(
  space: MixedSpace,
  entries: readonly Entry[],
  common: RecipeInput,
  o: { count: number; methods: readonly string[] },
): FinalModel[] {
  const sorted = [...entries].sort((a, b) => a.bits - b.bits), n = Math.min(o.count, sorted.length);
  const chosen = Array.from({ length: n }, (_, i) => sorted[Math.round(i * (sorted.length - 1) / Math.max(1, n - 1))]);
  return numbered(o.methods.flatMap((method) =>
    chosen.map((entry): Unnumbered => ({
      target: entry.bits,
      method,
      way: "search",
      entry,
      ...configured(space, entry, { ...common, method }),
    }))
  ));
}

/** How the proxy's order of configurations agrees with that of final models. */
export interface Fidelity {
  readonly method: string;
  readonly models: number;
  /** Of the proxy's divergence and the final perplexity, over all configurations. */
  readonly spearman: number;
  readonly kendall: number;
  /**
   * Kendall's τ over pairs of configurations with nearly the same average only, where bits alone say nothing; null where there is
   * no such pair.
   */
  readonly kendallNear: number | null;
  readonly pairsNear: number;
}

/** Averages that count as nearly the same. */
const NEAR = 0.15;

/**
 * Rank correlations of the proxy's divergence with final perplexity, by method.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { type FinishedModel, proxyFidelity } from "./models.ts";
 * const model = (jsd: number, quantized: number) =>
 *   ({ method: "optq", way: "search", entry: { jsd, bits: 3 }, report: { ppl: { quantized } } }) as unknown as FinishedModel;
 * const [f] = proxyFidelity([model(0.1, 30), model(0.2, 35), model(0.3, 33)]);
 * assert.deepEqual([f.spearman, f.kendall, f.pairsNear], [0.5, 1 / 3, 3]);
 * ```
 */
export function proxyFidelity(models: readonly FinishedModel[]): Fidelity[] {
  const measured = models.filter((m) => m.entry !== null);
  return [...new Set(measured.map((m) => m.method))].map((method) => {
    const own = measured.filter((m) => m.method === method), jsd = own.map((m) => m.entry!.jsd);
    const ppl = own.map((m) => m.report.ppl.quantized ?? NaN);
    let same = 0, pairsNear = 0;
    own.forEach((a, i) =>
      own.slice(0, i).forEach((b, j) => {
        if (Math.abs(a.entry!.bits - b.entry!.bits) > NEAR) return;
        pairsNear++;
        same += Math.sign(jsd[i] - jsd[j]) * Math.sign(ppl[i] - ppl[j]);
      })
    );
    const kendallNear = pairsNear > 0 ? same / pairsNear : null;
    return {
      method,
      models: own.length,
      spearman: spearman(jsd, ppl),
      kendall: kendall(jsd, ppl),
      kendallNear,
      pairsNear,
    };
  });
}

/** Fidelities as a table. */
export function fidelityTable(found: readonly Fidelity[]): Table {
  const rows = found.map((f) => [f.method, f.models, f.spearman, f.kendall, f.kendallNear, f.pairsNear]);
  return table(
    ["final method", "configurations", "Spearman", "Kendall", `Kendall of pairs within ${NEAR} bits`, "such pairs"],
    rows,
    "The proxy's divergence against the final models' perplexity.",
  );
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
