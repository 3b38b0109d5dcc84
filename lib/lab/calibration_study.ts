// Notebook 08: what the calibration text decides: how much of it, in what windows, from where, how much damping.
import type { Matrix } from "../io/tensor.ts";
import { symmetricEigen } from "../quant/svd.ts";
import type { Case } from "./compare.ts";
import { floatPerplexityOf } from "./compare_figures.ts";
import { type Figure, lineFigure } from "./figure.ts";
import { openStudy, studyLayers } from "./layer_study.ts";
import type { TextRecipe } from "./recipe.ts";
import { exact, type RecordedNumber, relative } from "./record.ts";
import { halfRange, layerErrorsOf, meanOf, perplexitiesOf, seedNote, type Variant } from "./variants.ts";

/** Cases of one method over numbers of calibration windows. */
export function sampleCases(method: string, bits: number, counts: readonly number[], text: TextRecipe): Case[] {
  return counts.map((samples) => ({
    label: `${method.toUpperCase()}, ${samples} ${samples === 1 ? "window" : "windows"}`,
    method,
    bits,
    calibration: { ...text, samples },
  }));
}

/** The same number of tokens in shorter and longer windows. */
export function lengthCases(bits: number, lengths: readonly number[], text: TextRecipe): Case[] {
  const tokens = text.samples * text.seqLen;
  return lengths.map((seqLen) => ({
    label: `windows of ${seqLen}`,
    method: "owq",
    bits,
    calibration: { ...text, seqLen, samples: Math.max(1, Math.round(tokens / seqLen)) },
  }));
}

/** The same amount of another text. */
export function textCases(bits: number, texts: readonly string[], text: TextRecipe): Case[] {
  return texts.map((t) => ({ label: `calibrated on ${t}`, method: "owq", bits, calibration: { ...text, text: t } }));
}

/** More and less damping: λ as a share of H's mean diagonal. */
export function dampCases(bits: number, damps: readonly number[], text: TextRecipe): Case[] {
  return damps.map((damp) => ({ label: `damping ${damp}`, method: "owq", bits, calibration: text, options: { damp } }));
}

/** Perplexity on other text, and the error that the calibration text itself shows, against its amount. */
export function samplesFigure(
  groups: Readonly<Record<string, readonly Variant[]>>,
  way: "perplexity" | "layer error",
): Figure {
  const values = way === "perplexity" ? perplexitiesOf : layerErrorsOf;
  const float = floatPerplexityOf(Object.values(groups)[0].flatMap((v) => v.rows));
  return lineFigure(
    {
      title: way === "perplexity" ? "On text it has never seen" : "On the calibration text itself",
      x: { name: "calibration windows", log: true },
      y: way === "perplexity" ? { name: "perplexity" } : { name: "layer error / RTN's" },
      ...(way === "perplexity"
        ? { guides: [{ axis: "y" as const, at: float, label: `float ${float.toPrecision(4)}` }] }
        : {}),
      caption: `Lower is better.${seedNote(Object.values(groups)[0])}`,
    },
    Object.entries(groups).map(([name, variants], i) => ({
      name,
      style: i,
      x: variants.map((v) => v.rows[0].recipe.calibration.samples),
      y: variants.map((v) => meanOf(values(v))),
      spread: variants.map((v) => halfRange(values(v))),
    })),
  );
}

/** Whether too little text is learnt by heart, in a sentence. */
export function heartSentence(variants: readonly Variant[]): string {
  const [few, many] = [variants[0], variants.at(-1)!], e = (v: Variant) => meanOf(layerErrorsOf(v));
  const p = (v: Variant) => meanOf(perplexitiesOf(v)), up = (a: number, b: number) => b > a ? "rises" : "falls";
  return `From ${few.label} to ${many.label} the error on the calibration text ${up(e(few), e(many))} from ` +
    `${e(few).toPrecision(3)} to ${e(many).toPrecision(3)} of RTN's, while perplexity on other text ${
      up(p(few), p(many))
    } from ` +
    `${p(few).toPrecision(4)} to ${p(many).toPrecision(4)}.`;
}

/** The spectrum of one layer's H from so many windows. */
export interface Spectrum {
  readonly samples: number;
  readonly tokens: number;
  /** Eigenvalues, descending, as shares of their mean. */
  readonly values: readonly number[];
  /** Eigenvalues above 1e-6 of the largest. */
  readonly rank: number;
  /** (Σλ)² / Σλ²: how many directions the inputs really use. */
  readonly effective: number;
}

/**
 * The eigenvalues of H, and how many of them count.
 *
 * @param h H (n, n), symmetric. @returns values descending, over their mean; rank; participation ratio.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { spectrumOf } from "./calibration_study.ts";
 * const s = spectrumOf({ data: Float32Array.of(2, 0, 0, 0, 2, 0, 0, 0, 0), rows: 3, cols: 3 });
 * assert.deepEqual([s.rank, Math.round(s.effective)], [2, 2]);
 * ```
 */
export function spectrumOf(h: Matrix): Pick<Spectrum, "values" | "rank" | "effective"> {
  const { values } = symmetricEigen(Float64Array.from(h.data), h.rows);
  const sorted = [...values].sort((a, b) => b - a), sum = sorted.reduce((a, b) => a + b, 0), mean = sum / sorted.length;
  return {
    values: sorted.map((v) => Math.max(0, v) / mean),
    rank: sorted.filter((v) => v > 1e-6 * sorted[0]).length,
    effective: sum * sum / sorted.reduce((a, v) => a + v * v, 0),
  };
}

/** Spectra of one layer's H over numbers of windows: the first so many of those that the largest number draws. */
export async function spectra(
  model: string,
  layer: string,
  counts: readonly number[],
  text: TextRecipe,
  seed: number,
): Promise<Spectrum[]> {
  const found: Spectrum[] = [], study = await openStudy(model, { ...text, samples: Math.max(...counts), seed });
  try {
    const { ids, length } = study.windows, pattern = `^${layer.replaceAll(".", "\\.")}$`;
    for (const samples of counts) {
      const windows = { ids: ids.subarray(0, samples * length), windows: samples, length };
      for await (const { hessian } of studyLayers(study.model, windows, { pattern })) {
        found.push({ samples, tokens: samples * length, ...spectrumOf(hessian) });
      }
    }
  } finally {
    study.close();
  }
  return found;
}

/** Eigenvalues of H, the largest first, one curve a number of windows. */
export function spectrumFigure(spectra: readonly Spectrum[], layer: string): Figure {
  return lineFigure(
    {
      title: `What the calibration text says of ${layer}`,
      x: { name: "direction, the strongest first" },
      y: { name: "eigenvalue of H / mean", log: true, range: [1e-7, 1e3] },
      caption:
        "Where a curve ends or drops, the text says nothing: an error in those directions costs nothing on it, and anything " +
        "may be done there.",
    },
    spectra.map((s, i) => ({
      name: `${s.samples} ${s.samples === 1 ? "window" : "windows"}, rank ${s.rank}`,
      style: i,
      y: s.values.filter((v) => v > 1e-7),
    })),
  );
}

/** Ranks in a sentence. */
export function spectrumSentence(spectra: readonly Spectrum[]): string {
  const n = spectra[0].values.length;
  const parts = spectra.map((s) => `${s.tokens} tokens: rank ${s.rank}, effectively ${s.effective.toFixed(1)}`);
  return `H is (${n}, ${n}). ${parts.join("; ")}. A few loud directions hold most of the energy.`;
}

/** For a record. */
export function spectrumNumbers(spectra: readonly Spectrum[]): Record<string, RecordedNumber> {
  return Object.fromEntries(spectra.flatMap((s) => [
    [`H of ${s.samples}/tokens`, exact(s.tokens)],
    [`H of ${s.samples}/rank`, relative(s.rank, 5e-2)],
    [`H of ${s.samples}/effective rank`, relative(s.effective, 1e-2)],
  ]));
}
