// Notebook 09: weak columns in some linears of a block only. OWQ, arXiv 2306.02272, appendix.
import type { Case } from "./compare.ts";
import { meanOf, perplexitiesOf, type Variant } from "./variants.ts";

/**
 * One case a subset: only its linears get weak columns, and share all of the target among them.
 *
 * @param subsets names of linears, subsets divided by semicolons: "q_proj k_proj; down_proj".
 * @param bits OWQ's target of nominal bits, the same for each subset.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { subsetCases } from "./weak_subsets.ts";
 * const [c] = subsetCases("q_proj k_proj", 3.1);
 * assert.deepEqual([c.label, c.weakLayers], ["columns in q, k only", "\\.(q_proj|k_proj)$"]);
 * ```
 */
export function subsetCases(subsets: string, bits: number): Case[] {
  return subsets.split(";").map((s) => s.trim().split(/\s+/).filter(Boolean)).filter((s) => s.length > 0).map((
    names,
  ) => ({
    label: `columns in ${names.map((n) => n.replace(/_proj$/, "")).join(", ")} only`,
    method: "owq",
    bits,
    weakLayers: `\\.(${names.join("|")})$`,
  }));
}

/** Short names of the rows, for the axis of a figure: "none", "all", "q k". */
export function subsetLabels(variants: readonly Variant[]): string[] {
  return variants.map(({ label }) => {
    if (label.startsWith("no ")) return "none";
    return label.replace(/^columns in /, "").replace(/ only$| linears$/, "").replaceAll(",", "");
  });
}

/**
 * The share of the gain of weak columns that each subset keeps, in a sentence.
 *
 * @param none OWQ without weak columns. @param all with columns in all linears. @param subsets the rest.
 */
export function subsetSentence(none: Variant, all: Variant, subsets: readonly Variant[]): string {
  const p = (v: Variant) => meanOf(perplexitiesOf(v)), gain = p(none) - p(all);
  const part = (v: Variant) => `${v.label} ${(100 * (p(none) - p(v)) / gain).toFixed(0)} %`;
  const shares = gain > 0 ? ` Of that, ${subsets.map(part).join(", ")}.` : " There is no gain to share.";
  return `Weak columns everywhere take perplexity from ${p(none).toPrecision(4)} to ${p(all).toPrecision(4)}, ` +
    `${(100 * gain / p(none)).toPrecision(2)} %.${shares}`;
}
