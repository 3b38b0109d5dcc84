// Notebook wct: how the best learning rate moves with the number of columns. QEFT's falls like 1/√k (papers.md 1.1).
import type { OnProgress } from "../io/progress.ts";
import type { TuneRecipe } from "../model/tune.ts";
import { type Figure, lineFigure } from "./figure.ts";
import { type RecordedNumber, relative } from "./record.ts";
import type { TextRecipe } from "./recipe.ts";
import { compareTuning, tuneBase, tuneCases, tunedPerplexities } from "./tune_study.ts";
import type { TuneTexts } from "./tune_text.ts";

/** Perplexity on held-out text after tuning k columns of every linear, at each learning rate; one seed. */
export interface RateCurve {
  readonly columns: number;
  readonly rates: readonly number[];
  readonly perplexities: readonly number[];
}

/**
 * Tunes bases of several numbers of columns at several learning rates, all on the same windows in the same order.
 *
 * @param o.text chooses the columns of each base. @param o.recipe of every run, but for the rate.
 * @returns one curve a number of columns. @throws LabError as tuneBase and compareTuning.
 */
export async function sweepTuning(
  o: {
    readonly model: string;
    readonly bits: number;
    readonly text: TextRecipe;
    readonly columns: readonly number[];
    readonly rates: readonly number[];
    readonly texts: TuneTexts;
    readonly recipe: Partial<TuneRecipe>;
    readonly measureEvery?: number;
    readonly onProgress?: OnProgress;
  },
): Promise<RateCurve[]> {
  const curves: RateCurve[] = [], total = o.columns.length * o.rates.length;
  const tell = (done: number, what: string) => o.onProgress?.({ what, done, total, unit: "tunings" });
  for (const [i, columns] of o.columns.entries()) {
    const what = `${columns} columns`, perplexities: number[] = [];
    tell(i * o.rates.length, what);
    const files = await tuneBase(o.model, { method: "owq", bits: o.bits, rank: columns }, o.text);
    for (const rate of o.rates) {
      const [row] = await compareTuning({
        files,
        cases: tuneCases(`wct:${columns}:${rate}`),
        texts: o.texts,
        recipe: o.recipe,
        seeds: [0],
        measureEvery: o.measureEvery ?? 0,
      });
      perplexities.push(tunedPerplexities(row)[0]);
      tell(i * o.rates.length + perplexities.length, what);
    }
    files.source.close();
    curves.push({ columns, rates: o.rates, perplexities });
  }
  return curves;
}

/** The curves, learning rates on a logarithmic axis. */
export function rateFigure(curves: readonly RateCurve[]): Figure {
  return lineFigure(
    {
      title: "Columns and learning rate",
      x: { name: "learning rate", log: true },
      y: { name: "perplexity on held-out text", log: true },
      caption: "Lower is better. One seed: windows and their order are the same for every point.",
    },
    curves.map((c, style) => ({ name: `${c.columns} columns`, style, x: c.rates, y: c.perplexities })),
  );
}

/**
 * Which rate was best for each number of columns, and whether it lies at an end of what was tried.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { bestRateSentence } from "./tune_sweep.ts";
 * const curve = { columns: 8, rates: [0.001, 0.01, 0.1], perplexities: [50, 47, 90] };
 * assert.equal(bestRateSentence([curve]), "Best rate: 8 columns 0.01 (47.00).");
 * ```
 */
export function bestRateSentence(curves: readonly RateCurve[]): string {
  const parts = curves.map(({ columns, rates, perplexities }) => {
    const least = Math.min(...perplexities), i = perplexities.indexOf(least), end = i === 0 || i === rates.length - 1;
    return `${columns} columns ${rates[i]} (${least.toPrecision(4)}${end ? ", an end of what was tried" : ""})`;
  });
  return `Best rate: ${parts.join(", ")}.`;
}

/** For the record. */
export function rateNumbers(curves: readonly RateCurve[]): Record<string, RecordedNumber> {
  return Object.fromEntries(curves.map((c) => [
    `${c.columns} columns by rate/perplexity`,
    relative([...c.perplexities], 0.02), // steps multiply what devices differ by
  ]));
}
