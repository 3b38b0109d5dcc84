// Tables 1 and 2 of the paper: the same quantized models read several texts, and the headline rows are drawn again under other
// seeds and another calibration text.
import { type Case, type CompareOptions, compareShown, type Row } from "./compare.ts";
import { floatPerplexityOf } from "./compare_figures.ts";
import { NOISE } from "./claims.ts";
import { barFigure, type Figure } from "./figure.ts";
import { makeRecipe, type RecipeInput } from "./recipe.ts";
import { type RecordedNumber, relative } from "./record.ts";
import { type Table, table } from "./table.ts";
import { halfRange, meanOf, perplexitiesOf, type Variant } from "./variants.ts";

/** Rows of the same cases, read on one text. */
export interface TextRows {
  /** The text's name, such as "sotu". */
  readonly text: string;
  readonly rows: readonly Row[];
}

/**
 * Reads every case on every text; each model is quantized once.
 *
 * @param common model, calibration and the windows of evaluation. @param cases what differs. @param texts names of evaluation texts.
 * @throws LabError as compare.
 */
export async function compareTexts(
  common: RecipeInput,
  cases: readonly Case[],
  texts: readonly string[],
  o: CompareOptions = {},
): Promise<TextRows[]> {
  // Case by case, so that the texts of one model follow each other.
  const { evaluation } = makeRecipe(common);
  const all = cases.flatMap((c) => texts.map((text) => ({ ...c, evaluation: { ...evaluation, text } })));
  const rows = await compareShown(common, all, o);
  return texts.map((text, t) => ({ text, rows: cases.map((_, i) => rows[i * texts.length + t]) }));
}

const perplexity = (r: Row) => r.report.ppl.quantized ?? NaN;
const textOf = (g: TextRows) =>
  g.rows[0].report.provenance.evaluation as { label: string; windows: number; seqLen: number };

/** Perplexity of each case on each text, with stored bits; the float model first. */
export function textsTable(groups: readonly TextRows[]): Table {
  const { windows, seqLen } = textOf(groups[0]);
  return table(
    ["method", "stored bits a weight", ...groups.map((g) => `perplexity, ${g.text}`)],
    [
      ["float", null, ...groups.map((g) => floatPerplexityOf(g.rows))],
      ...groups[0].rows.map((r, i) => [r.label, r.report.bits.stored, ...groups.map((g) => perplexity(g.rows[i]))]),
    ],
    `Token perplexity on ${
      groups.map((g) => textOf(g).label).join("; ")
    }; ${windows} windows of ${seqLen} tokens each.`,
  );
}

/** How far each case is above the float model on each text; on a logarithmic axis where the cases differ by decades. */
export function textsFigure(groups: readonly TextRows[]): Figure {
  const above = groups.map((g) => g.rows.map((r) => 100 * (perplexity(r) / floatPerplexityOf(g.rows) - 1)));
  const least = Math.min(...above.flat()), log = least > 0 && Math.max(...above.flat()) > 30 * least;
  return barFigure(
    {
      title: "One model, several texts",
      x: { name: "method and bits" },
      y: { name: "perplexity above float", unit: "%", ...(log ? { log } : {}) },
      caption: "Lower is better; below zero is better than float, on these windows.",
    },
    groups[0].rows.map((r) => r.label),
    groups.map((g, i) => ({ name: g.text, style: i, y: above[i] })),
  );
}

/**
 * Pairs of cases that one text puts in one order and another in the other, by more than 1 % on both.
 *
 * @param perplexities one list a text, each over the same cases.
 * @returns pairs of indices (i, j), i < j.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { swappedPairs } from "./main_result.ts";
 * assert.deepEqual(swappedPairs([[10, 20, 30], [11, 33, 22]]), [[1, 2]]);
 * assert.deepEqual(swappedPairs([[10, 20], [20.1, 20]]), []); // half a percent is no order
 * ```
 */
export function swappedPairs(perplexities: readonly (readonly number[])[]): [number, number][] {
  const pairs: [number, number][] = [], cases = perplexities[0].length;
  for (let i = 0; i < cases; i++) {
    for (let j = i + 1; j < cases; j++) {
      const below = perplexities.some((p) => p[i] < p[j] * (1 - NOISE)),
        above = perplexities.some((p) => p[j] < p[i] * (1 - NOISE));
      if (below && above) pairs.push([i, j]);
    }
  }
  return pairs;
}

/** Whether the texts agree on the order. */
export function textsSentence(groups: readonly TextRows[]): string {
  const labels = groups[0].rows.map((r) => r.label), pairs = swappedPairs(groups.map((g) => g.rows.map(perplexity)));
  const all = labels.length * (labels.length - 1) / 2;
  return pairs.length === 0
    ? `No two of the ${labels.length} rows change places from text to text by more than 1 %: the order does not depend on the text.`
    : `${pairs.length} of ${all} pairs change places from text to text: ` +
      `${pairs.slice(0, 4).map(([i, j]) => `${labels[i]} and ${labels[j]}`).join(", ")}${
        pairs.length > 4 ? ", …" : ""
      }.`;
}

/**
 * How far two variants lie apart under the same draws, and how far that difference itself moves from draw to draw.
 *
 * @param a the one that is said to be better. @param b the other; the same seeds.
 * @returns the differences b − a, in perplexity, one a seed, their mean, half their range, and whether they support a difference:
 * all on one side, the mean more than twice the half range.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pairedGap } from "./main_result.ts";
 * assert.deepEqual(pairedGap([40, 44], [41, 45.5]), { each: [1, 1.5], mean: 1.25, half: 0.25, clear: true });
 * assert.equal(pairedGap([40, 44], [41, 44]).clear, false);
 * ```
 */
export function pairedGap(a: readonly number[], b: readonly number[]) {
  const each = a.map((p, i) => b[i] - p), mean = meanOf(each), half = halfRange(each);
  return { each, mean, half, clear: each.length > 1 && Math.abs(mean) > 2 * half };
}

/** `pairedGap` in words. */
export function gapSentence(a: Variant, b: Variant): string {
  const { each, mean, half, clear } = pairedGap(perplexitiesOf(a), perplexitiesOf(b));
  const wins = each.filter((d) => d > 0).length, seeds = each.length;
  const verdict = !clear ? "no difference that counts" : mean > 0 ? "a difference" : "a difference the other way";
  return `under the same windows ${a.label} is ${mean.toPrecision(2)} below ${b.label}, ± ${
    half.toPrecision(2)
  } from draw to draw; ` +
    `it wins ${wins} of ${seeds}. That is ${verdict}.`;
}

/** The numbers of both halves for a record. */
export function mainNumbers(
  groups: readonly TextRows[],
  headline: Readonly<Record<string, readonly Variant[]>>,
): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = {};
  for (const g of groups) {
    numbers[`float on ${g.text}/perplexity`] = relative(floatPerplexityOf(g.rows), 1e-3);
    for (const r of g.rows) {
      numbers[`${r.label}/stored bits`] = relative(r.report.bits.stored, 1e-9, "bit");
      // Ties flip between devices and move a small model's perplexity by a few thousandths.
      numbers[`${r.label} on ${g.text}/perplexity`] = relative(perplexity(r), 2e-2);
    }
  }
  for (const [text, variants] of Object.entries(headline)) {
    for (const v of variants) {
      numbers[`${v.label}, calibrated on ${text}/perplexity`] = relative(perplexitiesOf(v), 2e-2);
    }
  }
  return numbers;
}
