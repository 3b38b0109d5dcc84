// What a comparison of experiments looks like: the table, perplexity against stored bits, errors by layer, and its record.
import type { Row } from "./compare.ts";
import { barFigure, type Figure, lineFigure, scatterFigure } from "./figure.ts";
import { exact, type RecordedNumber, relative, timing } from "./record.ts";
import { type Table, table } from "./table.ts";

/** Token perplexity of a row; throws where it was not measured, so that no figure shows a hole as a value. */
function quantizedPerplexity(row: Row): number {
  const p = row.report.ppl.quantized;
  if (p === null) throw new RangeError(`${row.label}: its perplexity was not measured`);
  return p;
}

/** The float model's perplexity, the same in all rows. */
export function floatPerplexityOf(rows: readonly Row[]): number {
  const p = rows.find((r) => r.report.ppl.fp !== null)?.report.ppl.fp;
  if (p === null || p === undefined) throw new RangeError("no row measured the float model");
  return p;
}

/** Layer error tr(DHDᵀ) summed over all layers, as a share of round-to-nearest's at the same bits; null where unmeasured. */
export function errorShare(row: Row): number | null {
  let own = 0, rtn = 0;
  for (const l of row.report.layers) {
    if (l.objective === null || l.objectiveRtn === null) return null;
    own += l.objective;
    rtn += l.objectiveRtn;
  }
  return own / rtn;
}

/** Weak columns in all layers of a row. */
export function weakColumnCount(row: Row): number {
  return row.report.layers.reduce((a, l) => a + l.weak.length, 0);
}

/**
 * The table of a comparison, the float model first.
 *
 * @param rows finished experiments on one model and one text.
 */
export function comparisonTable(rows: readonly Row[]): Table {
  const body = rows.map((r) => [
    r.label,
    r.report.bits.stored,
    quantizedPerplexity(r),
    quantizedPerplexity(r) / floatPerplexityOf(rows),
    weakColumnCount(r),
    errorShare(r),
    r.report.layers.filter((l) => l.fallback !== null).length,
    r.report.seconds.quantizationWall,
  ]);
  const text = rows[0].report.provenance.evaluation as { label: string; windows: number; seqLen: number };
  return table(
    [
      "method",
      "stored bits a weight",
      "perplexity",
      "times float",
      "weak columns",
      "layer error / RTN's",
      "fallbacks",
      "time (s)",
    ],
    [["float", null, floatPerplexityOf(rows), 1, null, null, null, null], ...body],
    `Token perplexity on ${text.label}, ${text.windows} windows of ${text.seqLen} tokens. ` +
      `Time: calibration and quantization.${rows[0].report.note ? ` Note: ${rows[0].report.note}.` : ""}`,
  );
}

/** Perplexity against stored bits, one curve a method, the float model as a line. */
export function perplexityFigure(rows: readonly Row[], title = "What a bit buys"): Figure {
  const methods = [...new Set(rows.map((r) => r.recipe.method))], fp = floatPerplexityOf(rows);
  return lineFigure(
    {
      title,
      x: { name: "stored bits", unit: "bit per weight" },
      y: { name: "perplexity", log: true },
      guides: [{ axis: "y", at: fp, label: `float ${fp.toPrecision(4)}` }],
      caption: "Stored bits count codes, scales, zero points, weak columns and their indices. Lower is better.",
    },
    methods.map((m) => {
      const own = rows.filter((r) => r.recipe.method === m).sort((a, b) => a.report.bits.stored - b.report.bits.stored);
      return {
        name: m.toUpperCase(),
        x: own.map((r) => r.report.bits.stored),
        y: own.map(quantizedPerplexity),
        labels: own.map((r) => r.label),
      };
    }),
  );
}

/** The rows whose layer errors are known, at the fewest bits a code: where methods differ most. */
function atFewestBits(rows: readonly Row[]): Row[] {
  const measured = rows.filter((r) => errorShare(r) !== null);
  const fewest = Math.min(...measured.map((r) => Math.floor(r.recipe.bits)));
  return measured.filter((r) => Math.floor(r.recipe.bits) === fewest);
}

/**
 * Output error of each layer, one series a row, in the order of the model.
 *
 * y: tr(D H Dᵀ) as a share of round-to-nearest's at the same bits, so that layers of all sizes fit one axis.
 */
export function layerErrorFigure(rows: readonly Row[]): Figure {
  const measured = atFewestBits(rows);
  return scatterFigure(
    {
      title: "Output error of every layer, beside round-to-nearest",
      x: { name: "layer, in the order of the model" },
      y: { name: "error tr(DHDᵀ) / RTN's", log: true },
      guides: [{ axis: "y", at: 1, label: "round to nearest" }],
      caption: "Each point is one linear layer; below the line it does better than rounding to nearest.",
    },
    measured.map((r, i) => ({
      name: r.label,
      style: i,
      x: r.report.layers.map((_, i) => i),
      y: r.report.layers.map((l) => l.objective! / l.objectiveRtn!),
      labels: r.report.layers.map((l) => l.name),
    })),
  );
}

/** How much of the layer error is left, by kind of linear: one group of bars a kind, one bar a row. */
export function kindErrorFigure(rows: readonly Row[]): Figure {
  const measured = atFewestBits(rows), kind = (name: string) => name.replace(/^\d+\./, "");
  const kinds = [...new Set(measured[0].report.layers.map((l) => kind(l.name)))];
  const sum = (r: Row, k: string, f: (l: Row["report"]["layers"][number]) => number) =>
    r.report.layers.filter((l) => kind(l.name) === k).reduce((a, l) => a + f(l), 0);
  return barFigure(
    {
      title: "Which kind of layer gains",
      x: { name: "kind of linear" },
      y: { name: "error / RTN's at the same bits" },
      guides: [{ axis: "y", at: 1 }],
    },
    kinds.map((k) => k.replace(/^.*\./, "")),
    measured.map((r, i) => ({
      name: r.label,
      style: i,
      y: kinds.map((k) => sum(r, k, (l) => l.objective!) / sum(r, k, (l) => l.objectiveRtn!)),
    })),
  );
}

/** The comparison as numbers for a record: "OWQ 3.1/perplexity" and so on. */
export function comparisonNumbers(rows: readonly Row[]): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = {
    "float/perplexity": relative(floatPerplexityOf(rows), 1e-3),
  };
  for (const r of rows) {
    const share = errorShare(r);
    numbers[`${r.label}/stored bits`] = relative(r.report.bits.stored, 1e-9);
    // At three bits ties flip between devices and move a small model's perplexity by a few thousandths.
    numbers[`${r.label}/perplexity`] = relative(quantizedPerplexity(r), 1e-2);
    numbers[`${r.label}/weak columns`] = exact(weakColumnCount(r));
    if (share !== null) numbers[`${r.label}/layer error of RTN's`] = relative(share, 2e-2);
    numbers[`${r.label}/time`] = timing(r.report.seconds.quantizationWall);
  }
  return numbers;
}

/**
 * The order of the rows by perplexity, in words: what came out, best first.
 *
 * @returns such as "OWQ 3.2 (61.2) < OPTQ 3 (70.1) < RTN 3 (101)".
 */
export function orderSentence(rows: readonly Row[]): string {
  return [...rows].sort((a, b) => quantizedPerplexity(a) - quantizedPerplexity(b))
    .map((r) => `${r.label} (${quantizedPerplexity(r).toPrecision(4)})`).join(" < ");
}

/** The weak columns that each row with any of them chose, block by block in one line a linear. */
export function weakColumnTable(rows: readonly Row[]): Table {
  const chosen = rows.filter((r) => weakColumnCount(r) > 0);
  if (chosen.length === 0) return table(["layer", "weak columns"], [], "No method here kept weak columns.");
  const r = chosen.reduce((a, b) => weakColumnCount(a) <= weakColumnCount(b) ? a : b), shown = 12;
  const list = (weak: readonly number[]) =>
    weak.slice(0, shown).join(" ") + (weak.length > shown ? ` and ${weak.length - shown} more` : "");
  return table(
    ["layer", "weak columns", "their indices"],
    r.report.layers.slice(0, 4 * 7).map((l) => [l.name, l.weak.length, list(l.weak)]),
    `${r.label}, the one with the fewest; the first four blocks at most.`,
  );
}

/** Where a comparison's numbers come from: what its rows share. */
export function comparisonProvenance(rows: readonly Row[]): Record<string, unknown> {
  const { recipe: _, date: __, resumedBlocks: ___, ...shared } = rows[0].report.provenance;
  return { ...shared, note: rows[0].report.note, recipes: rows.map((r) => r.recipe) };
}
