// Notebook 07: the grid search on and off, and what it cuts off. OWQ, arXiv 2306.02272, section 3.4.
import type { Matrix } from "../io/tensor.ts";
import { minmaxGrid } from "../kernels/minmax.ts";
import type { QuantContext } from "../quant/context.ts";
import { diagonal } from "../quant/hessian.ts";
import { permuteColumns } from "../quant/optq.ts";
import { byScore } from "../quant/sensitivity.ts";
import { type OwqOptions, scoreColumns } from "../quant/owq.ts";
import type { Case } from "./compare.ts";
import { barFigure, type Figure, scatterFigure } from "./figure.ts";
import type { StudyLayer } from "./layer_study.ts";
import { exact, type RecordedNumber, relative } from "./record.ts";
import { meanOf, perplexitiesOf, type Variant } from "./variants.ts";

/** The six cases: three methods, each on the whole range and on a searched one. */
export function truncationCases(bits: number, target: number): Case[] {
  return [["rtn", bits], ["optq", bits], ["owq", target]].flatMap(([method, b]) =>
    (["minmax", "mse"] as const).map((tuning) => ({
      label: `${String(method).toUpperCase()}, ${tuning === "mse" ? "searched" : "min–max"}`,
      method: String(method),
      bits: Number(b),
      options: { tuning },
    }))
  );
}

/** What a searched grid leaves of a layer's ranges, and whom the cut hurts. */
export interface Cut {
  readonly name: string;
  /** Mean over rows of searched range / full range, over all columns. */
  readonly share: number;
  /** The same with the weak columns taken out first: they no longer ask for range. */
  readonly shareWithout: number;
  /** Weights of the searched grid that are beyond its ends, as a share of all. */
  readonly clipped: number;
  /** Σ_j H_jj ‖clipping error of column j‖²: the share of it that the weak columns carry. */
  readonly harmInWeak: number;
  /** What that would be if columns were alike: weak columns / all columns. */
  readonly chance: number;
}

/**
 * Measures what the grid search cuts off a layer.
 *
 * @param layer W (out, in), H (in, in). @param o OWQ's options. @param count weak columns.
 * @throws LabError as columnScores.
 */
export async function cutOf(layer: StudyLayer, o: OwqOptions, count: number, context: QuantContext): Promise<Cut> {
  const { weight: w, hessian } = layer, { bits, symmetric, steps } = o;
  const order = byScore(await scoreColumns(layer, o, context)), weak = new Set(order.subarray(0, count));
  const rest = permuteColumns(w, Int32Array.from(order.subarray(count)).sort());
  const shareOf = async (m: Matrix) => {
    const grid = await context.kernels.searchGrid(m, { bits, symmetric, steps, exponent: 2.4 });
    const whole = minmaxGrid(m, { bits, symmetric });
    return { grid, share: meanOf([...grid.scale].map((s, r) => whole.scale[r] > 0 ? s / whole.scale[r] : 1)) };
  };
  const all = await shareOf(w), without = await shareOf(rest);
  const h = diagonal(hessian), top = 2 ** bits - 1, harm = new Float64Array(w.cols);
  let clipped = 0;
  for (let r = 0, i = 0; r < w.rows; r++) {
    const s = all.grid.scale[r], low = s * (0 - all.grid.zero[r]) - s / 2, high = s * (top - all.grid.zero[r]) + s / 2;
    for (let j = 0; j < w.cols; j++, i++) {
      const v = w.data[i], beyond = v < low ? low - v : v > high ? v - high : 0;
      if (beyond > 0) clipped++;
      harm[j] += h[j] * beyond * beyond;
    }
  }
  const total = harm.reduce((a, b) => a + b, 0), inWeak = [...weak].reduce((a, j) => a + harm[j], 0);
  return {
    name: layer.name,
    share: all.share,
    shareWithout: without.share,
    clipped: clipped / w.data.length,
    harmInWeak: total > 0 ? inWeak / total : 0,
    chance: count / w.cols,
  };
}

/** {@link cutOf} of a stream of layers. */
export async function cutsOf(
  layers: AsyncIterable<StudyLayer>,
  o: OwqOptions,
  count: number,
  context: QuantContext,
): Promise<Cut[]> {
  const cuts: Cut[] = [];
  for await (const layer of layers) cuts.push(await cutOf(layer, o, count, context));
  return cuts;
}

/** How much of each layer's range the search keeps. */
export function shareFigure(cuts: readonly Cut[]): Figure {
  const x = cuts.map((_, i) => i), labels = cuts.map((c) => c.name);
  return scatterFigure(
    {
      title: "How far a searched grid reaches",
      x: { name: "layer, in the order of the model" },
      y: { name: "range of the grid", unit: "% of min–max" },
      guides: [{ axis: "y", at: 100, label: "the whole range" }],
      caption:
        "Mean over the rows of each layer; the second point stands a little to the right. What lies beyond the grid's ends is clipped to its last level.",
    },
    [
      { name: "all columns", x, y: cuts.map((c) => 100 * c.share), labels, style: 0 },
      {
        name: "weak columns out",
        x: x.map((i) => i + 0.35),
        y: cuts.map((c) => 100 * c.shareWithout),
        labels,
        style: 1,
      },
    ],
  );
}

/** Whom the cut hurts: the share of the harm that weak columns carry, by kind of linear. */
export function harmFigure(cuts: readonly Cut[]): Figure {
  const kind = (c: Cut) => c.name.replace(/^\d+\./, "").replace(/^.*\./, ""), kinds = [...new Set(cuts.map(kind))];
  const mean = (k: string, f: (c: Cut) => number) => meanOf(cuts.filter((c) => kind(c) === k).map(f));
  return barFigure(
    {
      title: "Whom clipping hurts",
      x: { name: "kind of linear" },
      y: { name: "in the weak columns", unit: "%" },
      caption: "Harm: squared error of clipping times Hⱼⱼ, how loud the input is. Means over blocks.",
    },
    kinds.map((k) => k.replace(/_proj$/, "")),
    [
      { name: "their share of the harm", y: kinds.map((k) => 100 * mean(k, (c) => c.harmInWeak)), style: 1 },
      { name: "their share of the columns", y: kinds.map((k) => 100 * mean(k, (c) => c.chance)), style: 0 },
    ],
  );
}

/** Shares and harm in a sentence. */
export function cutSentence(cuts: readonly Cut[]): string {
  const mean = (f: (c: Cut) => number) => 100 * meanOf(cuts.map(f)), p = (v: number) => `${v.toPrecision(3)} %`;
  return `Over ${cuts.length} layers the searched grid covers ${p(mean((c) => c.share))} of min–max on average, ` +
    `${p(mean((c) => c.shareWithout))} with the weak columns out, and clips ${
      p(mean((c) => c.clipped))
    } of the weights. The weak ` +
    `columns are ${p(mean((c) => c.chance))} of the columns and would carry ${
      p(mean((c) => c.harmInWeak))
    } of the harm of clipping.`;
}

/** What the search changes for each method, in a sentence. */
export function searchSentence(variants: readonly Variant[]): string {
  const parts = [];
  for (let i = 0; i + 1 < variants.length; i += 2) {
    const [off, on] = [variants[i], variants[i + 1]].map((v) => meanOf(perplexitiesOf(v))), d = 100 * (on / off - 1);
    parts.push(
      `${variants[i].label.split(",")[0]} ${off.toPrecision(4)} → ${on.toPrecision(4)} (${d < 0 ? "−" : "+"}${
        Math.abs(d).toPrecision(2)
      } %)`,
    );
  }
  return `Perplexity, min–max → searched: ${parts.join("; ")}.`;
}

/** For a record. */
export function cutNumbers(cuts: readonly Cut[]): Record<string, RecordedNumber> {
  const mean = (f: (c: Cut) => number) => relative(meanOf(cuts.map(f)), 1e-2);
  return {
    "all layers/count": exact(cuts.length),
    "all layers/share of the range": mean((c) => c.share),
    "all layers/share of the range, weak columns out": mean((c) => c.shareWithout),
    "all layers/weights clipped": mean((c) => c.clipped),
    "all layers/harm of clipping in weak columns": relative(meanOf(cuts.map((c) => c.harmInWeak)), 5e-2),
  };
}
