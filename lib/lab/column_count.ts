// Notebook 06: how many weak columns. OWQ, arXiv 2306.02272, table 8.
import type { Case } from "./compare.ts";
import { floatPerplexityOf } from "./compare_figures.ts";
import { type Figure, lineFigure } from "./figure.ts";
import { exact, type RecordedNumber } from "./record.ts";
import { halfRange, layerErrorsOf, meanOf, perplexitiesOf, seedNote, type Variant } from "./variants.ts";

/** OWQ with the same number of columns in every linear, one case a number. */
export function rankCases(ranks: readonly number[], bits: number, injected = 1): Case[] {
  const tail = injected === 1 ? "" : ", injected";
  return ranks.map((rank) => ({
    label: `${rank} ${rank === 1 ? "column" : "columns"}${tail}`,
    method: "owq",
    bits,
    rank,
    injected,
  }));
}

/** OWQ at targets of nominal bits, where wide linears get fewer columns. */
export function targetCases(targets: readonly number[]): Case[] {
  return targets.map((bits) => ({ label: `target ${bits}`, method: "owq", bits }));
}

const rankOf = (v: Variant) => v.rows[0].recipe.rank ?? NaN;

/** Perplexity or layer error against the number of columns kept. */
export function rankFigure(
  groups: Readonly<Record<string, readonly Variant[]>>,
  way: "perplexity" | "layer error",
): Figure {
  const first = Object.values(groups)[0], float = floatPerplexityOf(first.flatMap((v) => v.rows));
  const values = way === "perplexity" ? perplexitiesOf : layerErrorsOf;
  return lineFigure(
    {
      title: `${way === "perplexity" ? "Perplexity" : "Output error of all layers"} against weak columns`,
      x: { name: "weak columns of each linear" },
      y: { name: way === "perplexity" ? "perplexity" : "error tr(DHDᵀ) / RTN's" },
      ...(way === "perplexity"
        ? { guides: [{ axis: "y" as const, at: float, label: `float ${float.toPrecision(4)}` }] }
        : {}),
      caption: `Lower is better.${seedNote(first)}`,
    },
    Object.entries(groups).map(([name, variants], i) => ({
      name,
      style: i,
      x: variants.map(rankOf),
      y: variants.map((v) => meanOf(values(v))),
      spread: variants.map((v) => halfRange(values(v))),
    })),
  );
}

/** Perplexity against bits, once as papers count and once as a disk does. */
export function bitsFigure(variants: readonly Variant[]): Figure {
  const float = floatPerplexityOf(variants.flatMap((v) => v.rows)), y = variants.map((v) => meanOf(perplexitiesOf(v)));
  const bits = (f: "nominal" | "stored") => variants.map((v) => v.rows[0].report.bits[f]),
    labels = variants.map((v) => v.label);
  return lineFigure(
    {
      title: "The same models, counted twice",
      x: { name: "bits a weight", unit: "bit" },
      y: { name: "perplexity" },
      guides: [{ axis: "y", at: float, label: `float ${float.toPrecision(4)}` }],
      caption:
        "Nominal bits count codes and weak columns by the paper's formula, stored bits also scales, zero points, indices and " +
        "the low-bit copy of the weak columns.",
    },
    [
      { name: "nominal bits", x: bits("nominal"), y, labels, style: 0 },
      { name: "stored bits", x: bits("stored"), y, labels, style: 1 },
    ],
  );
}

/** Where the curve of perplexities flattens. */
export interface Saturation {
  /** Perplexity without weak columns less the best. */
  readonly gain: number;
  /** Share of the gain that the fewest columns bring. */
  readonly first: number;
  /** The fewest columns that bring half of the gain, and nine tenths. */
  readonly half: number;
  readonly most: number;
}

/**
 * Reads off a curve where it saturates.
 *
 * @param variants of {@link rankCases}, ascending, the first with 0 columns.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { saturation } from "./column_count.ts";
 * const v = (rank: number, quantized: number) =>
 *   ({ label: "", rows: [{ recipe: { rank }, report: { ppl: { quantized } } }] }) as never;
 * assert.deepEqual(saturation([v(0, 50), v(1, 45), v(2, 41), v(8, 40)]), { gain: 10, first: 0.5, half: 1, most: 2 });
 * ```
 */
export function saturation(variants: readonly Variant[]): Saturation {
  const p = variants.map((v) => meanOf(perplexitiesOf(v))), gain = p[0] - Math.min(...p);
  const reach = (share: number) => rankOf(variants[p.findIndex((x) => p[0] - x >= share * gain - 1e-12)]);
  return { gain, first: gain > 0 ? (p[0] - p[1]) / gain : 0, half: reach(0.5), most: reach(0.9) };
}

/** The same in a sentence. */
export function saturationSentence(variants: readonly Variant[]): string {
  const s = saturation(variants), few = rankOf(variants[1]), last = rankOf(variants.at(-1)!);
  const spread = Math.max(...variants.map((v) => halfRange(perplexitiesOf(v)))), seeds = variants[0].rows.length;
  const sure = seeds > 1
    ? `seeds spread by ± ${spread.toPrecision(2)} at most`
    : "one seed, so some of that may be chance";
  return `The ${few === 1 ? "weakest column brings" : `${few} weakest columns bring`} ${
    (100 * s.first).toFixed(0)
  } % of all that ${last} ` +
    `columns bring (${s.gain.toPrecision(3)} in perplexity; ${sure}). Half of the gain takes ` +
    `${s.half} of them, nine tenths ${s.most}.` +
    (s.most > last / 2 ? " Up to here the curve has not saturated." : " Beyond that the curve is flat.");
}

/** For a record. */
export function saturationNumbers(variants: readonly Variant[], name: string): Record<string, RecordedNumber> {
  const s = saturation(variants);
  return { [`${name}/columns for half the gain`]: { ...exact(s.half), tolerance: { relative: 1 } } };
}
