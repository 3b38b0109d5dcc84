// Experiments that differ in one thing, each under several seeds: what came out, with its spread, so that no accident is taken
// for a result.
import { type Case, type CompareOptions, compareShown, type Row } from "./compare.ts";
import { errorShare, floatPerplexityOf, weakColumnCount } from "./compare_figures.ts";
import { barFigure, type Figure } from "./figure.ts";
import type { RecipeInput } from "./recipe.ts";
import { recipeCommand } from "./recipe_command.ts";
import { exact, type RecordedNumber, relative } from "./record.ts";
import { type Table, table } from "./table.ts";

/** One thing tried, once a seed. */
export interface Variant {
  readonly label: string;
  readonly rows: readonly Row[];
}

/**
 * Runs every case under every seed, under a progress display; what is on disk is read back.
 *
 * @param common what all share. @param cases what differs, each with a label of its own.
 * @param seeds seeds of calibration windows and of everything else that draws.
 * @throws LabError as compare.
 */
export async function compareSeeds(
  common: RecipeInput,
  cases: readonly Case[],
  seeds: readonly number[],
  o: CompareOptions = {},
): Promise<Variant[]> {
  const all = cases.flatMap((c) => seeds.map((seed) => ({ ...c, seed })));
  const rows = await compareShown(common, all, o);
  return cases.map(({ label }, i) => ({ label, rows: rows.slice(i * seeds.length, (i + 1) * seeds.length) }));
}

/** Perplexities of a variant, one a seed. */
export function perplexitiesOf(v: Variant): number[] {
  return v.rows.map((r) => r.report.ppl.quantized ?? NaN);
}

/** Errors of a variant's layers as a share of round-to-nearest's, one a seed; empty where a method measures none. */
export function layerErrorsOf(v: Variant): number[] {
  return v.rows.map(errorShare).filter((e) => e !== null);
}

/**
 * The mean of some values.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { halfRange, meanOf } from "./variants.ts";
 * assert.deepEqual([meanOf([1, 3]), halfRange([1, 3])], [2, 1]);
 * ```
 */
export function meanOf(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

/** Half of the distance from the least to the largest value: what "±" says here. */
export function halfRange(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / 2;
}

/** What one seed more would tell: a note for captions, "" where there is one only. */
export function seedNote(variants: readonly Variant[]): string {
  return variants.some((v) => v.rows.length > 1) ? " The line at each value: least to largest over seeds." : "";
}

/** "38.1 ± 0.3", without the second part for a single value. */
export function withSpread(values: readonly number[]): string {
  const mean = meanOf(values).toPrecision(4), digits = (mean.split(".")[1] ?? "").length;
  return values.length > 1 ? `${mean} ± ${halfRange(values).toFixed(digits)}` : mean;
}

/** All variants as a table, the float model first. */
export function variantTable(variants: readonly Variant[], what: string): Table {
  const rows = variants.flatMap((v) => v.rows),
    text = rows[0].report.provenance.evaluation as {
      label: string;
      windows: number;
      seqLen: number;
    };
  const seeds = variants[0].rows.length;
  return table(
    [what, "nominal bits", "stored bits", "weak columns", "layer error / RTN's", "perplexity"],
    [
      ["float", null, null, null, null, floatPerplexityOf(rows)],
      ...variants.map((v) => {
        const { bits } = v.rows[0].report, errors = layerErrorsOf(v);
        const said = (values: readonly number[]) => values.length > 1 ? withSpread(values) : values[0] ?? null;
        return [v.label, bits.nominal, bits.stored, weakColumnCount(v.rows[0]), said(errors), said(perplexitiesOf(v))];
      }),
    ],
    `Token perplexity on ${text.label}, ${text.windows} windows of ${text.seqLen} tokens` +
      `${seeds > 1 ? `; mean and half the range over ${seeds} seeds` : ""}. ` +
      `Layer error: tr(DHDᵀ) over all layers.${rows[0].report.note ? ` Note: ${rows[0].report.note}.` : ""}`,
  );
}

/** A bar a variant: perplexity above the float model's, or layer error, with its spread over seeds. */
export function variantFigure(
  groups: Readonly<Record<string, readonly Variant[]>>,
  way: "perplexity" | "layer error",
  o: { readonly title: string; readonly x: string; readonly labels?: readonly string[] },
): Figure {
  const names = Object.keys(groups), first = groups[names[0]];
  const float = floatPerplexityOf(first.flatMap((v) => v.rows));
  const values = (v: Variant) =>
    way === "perplexity" ? perplexitiesOf(v).map((p) => 100 * (p / float - 1)) : layerErrorsOf(v);
  return barFigure(
    {
      title: o.title,
      x: { name: o.x },
      y: way === "perplexity" ? { name: "perplexity above float", unit: "%" } : { name: "layer error / RTN's" },
      caption: `Lower is better.${seedNote(first)}`,
    },
    o.labels ?? first.map((v) => v.label),
    names.map((name, i) => ({
      name,
      style: i,
      y: groups[name].map((v) => meanOf(values(v))),
      spread: groups[name].map((v) => halfRange(values(v))),
    })),
  );
}

/**
 * The order of the variants, best first, and how far one may trust it.
 *
 * @returns such as "OWQ (37.9 ± 0.2) < RTN (42.9). The largest spread over seeds is 0.2; …".
 */
export function variantSentence(variants: readonly Variant[]): string {
  const sorted = [...variants].sort((a, b) => meanOf(perplexitiesOf(a)) - meanOf(perplexitiesOf(b)));
  const order = sorted.map((v) => `${v.label} (${withSpread(perplexitiesOf(v))})`).join(" < ");
  const range = meanOf(perplexitiesOf(sorted.at(-1)!)) - meanOf(perplexitiesOf(sorted[0]));
  const spread = Math.max(...variants.map((v) => halfRange(perplexitiesOf(v))));
  const trust = variants[0].rows.length < 2
    ? "There is one seed only, so nothing says how much of that is chance."
    : range > 4 * spread
    ? `From first to last it is ${range.toPrecision(2)}, well beyond the spread over seeds (± ${
      spread.toPrecision(2)
    } at most).`
    : `From first to last it is ${range.toPrecision(2)}, and one and the same choice moves by ± ${
      spread.toPrecision(2)
    } from seed to seed: the order is not to be trusted.`;
  return `Best first by perplexity: ${order}. ${trust}`;
}

/** The order by layer error, which is far less a matter of chance. */
export function layerErrorSentence(variants: readonly Variant[]): string {
  const sorted = variants.filter((v) => layerErrorsOf(v).length > 0)
    .sort((a, b) => meanOf(layerErrorsOf(a)) - meanOf(layerErrorsOf(b)));
  return `Best first by layer error: ${sorted.map((v) => `${v.label} (${withSpread(layerErrorsOf(v))})`).join(" < ")}.`;
}

/** The variants for a record: one value a seed. */
export function variantNumbers(variants: readonly Variant[]): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = {
    "float/perplexity": relative(floatPerplexityOf(variants.flatMap((v) => v.rows)), 1e-3),
  };
  for (const v of variants) {
    const errors = layerErrorsOf(v);
    numbers[`${v.label}/stored bits`] = relative(v.rows[0].report.bits.stored, 1e-9, "bit");
    numbers[`${v.label}/weak columns`] = exact(weakColumnCount(v.rows[0]));
    // At two and three bits ties flip between devices and move a small model's perplexity by a few thousandths.
    numbers[`${v.label}/perplexity`] = relative(perplexitiesOf(v), 2e-2);
    if (errors.length > 0) numbers[`${v.label}/layer error of RTN's`] = relative(errors, 3e-2);
  }
  return numbers;
}

/** The command that makes each row again, for readers. */
export function commandTable(variants: readonly Variant[]): Table {
  return table(
    ["row", "the one command that makes it again"],
    variants.map((v) => [v.label, recipeCommand(v.rows[0].recipe)]),
    variants[0].rows.length > 1 ? "The first seed; give --seed another." : "",
  );
}
