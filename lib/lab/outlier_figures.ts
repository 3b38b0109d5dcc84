// The pictures of notebook 02: where a layer's output error sits, which columns are weak and why, and which rule finds them.
import type { Matrix } from "../io/tensor.ts";
import type { SensitivityRule } from "../quant/sensitivity.ts";
import { lorenz } from "./concentration.ts";
import { barFigure, type Figure, heatmapFigure, lineFigure, scatterFigure, type Series } from "./figure.ts";
import { type ColumnProfile, factorShares, type KeptError, topColumns } from "./outlier_study.ts";

/** What the rules are called in front of readers. */
export const RULE_NAMES: Readonly<Record<SensitivityRule, string>> = {
  "hessian-error": "OWQ: input × rounding",
  hessian: "large inputs only",
  error: "large rounding errors only",
  magnitude: "large weights",
  random: "random columns",
};

const RULE_STYLES: Readonly<Record<SensitivityRule, number>> = {
  "hessian-error": 1,
  hessian: 0,
  error: 2,
  magnitude: 3,
  random: 7,
};

const percent = (v: number) => 100 * v;

/** Splits the columns of one profile into weak and other ones, for two series. */
function weakAndOther(p: ColumnProfile, count: number): { weak: number[]; other: number[] } {
  const weak = topColumns(p.score, count).sort((a, b) => a - b), chosen = new Set(weak);
  return { weak, other: [...p.score.keys()].filter((j) => !chosen.has(j)) };
}

/** Hundreds of points: without the white rims that would leave little of them. */
function dense(f: Figure): Figure {
  const rimless = (d: Record<string, unknown>) => {
    const many = Array.isArray(d.x) && d.x.length > 60;
    return many ? { ...d, marker: { ...(d.marker as object), size: 5, line: { width: 0 } } } : d;
  };
  return { ...f, data: f.data.map(rimless) };
}

/** A series of some columns: their places and one number each. */
function columnsOf(name: string, columns: readonly number[], value: (j: number) => number, style: number): Series {
  return { name, x: columns, y: columns.map(value), labels: columns.map((j) => `column ${j}`), style };
}

/** How loud each input channel is: the root mean square of what flows into each column. */
export function inputFigure(p: ColumnProfile): Figure {
  const sorted = p.inputRms.toSorted(), median = sorted[sorted.length >> 1], all = [...p.inputRms.keys()];
  return dense(scatterFigure(
    {
      title: `What flows into ${p.label}`,
      x: { name: "input column" },
      y: { name: "root mean square of the input", log: true },
      guides: [{ axis: "y", at: median, label: "median" }, { axis: "y", at: 6 * median, label: "6 × median" }],
      caption:
        "One point an input channel, measured on the calibration text. Points above the upper line are outliers.",
    },
    [columnsOf("channel", all, (j) => p.inputRms[j], 0)],
  ));
}

/** The share of the scores that each column has, in the columns' own order; the `count` weakest marked. */
export function scoreFigure(p: ColumnProfile, count: number): Figure {
  const { weak, other } = weakAndOther(p, count), total = p.score.reduce((a, b) => a + b, 0);
  const share = (j: number) => percent(p.score[j] / total);
  return dense(scatterFigure(
    {
      title: `Where the error of ${p.label} sits`,
      x: { name: "input column" },
      y: { name: "share of the layer's error score", unit: "%" },
      guides: [{ axis: "y", at: 100 / p.score.length }],
      caption: "Score of column j: Hⱼⱼ · ‖ΔWⱼ‖², the error that its rounding alone sends into the output. " +
        "Dotted: where all points would lie if all columns mattered alike.",
    },
    [columnsOf("other columns", other, share, 7), columnsOf(`the ${count} weakest columns`, weak, share, 1)],
  ));
}

/** Why a column is weak: what flows in against how badly it rounds; equal scores lie on falling diagonals. */
export function factorFigure(p: ColumnProfile, count: number): Figure {
  const { weak, other } = weakAndOther(p, count), large = topColumns(p.magnitude, count);
  const point = (name: string, columns: readonly number[], style: number): Series => ({
    name,
    x: columns.map((j) => p.inputRms[j]),
    y: columns.map((j) => Math.sqrt(p.error[j])),
    labels: columns.map((j) => `column ${j}`),
    style,
  });
  const isWeak = new Set(weak),
    isLarge = new Set(large),
    series = [
      point("other columns", other.filter((j) => !isLarge.has(j)), 7),
      point(`${count} largest by weight`, large.filter((j) => !isWeak.has(j)), 3),
      point(`${count} weakest`, weak.filter((j) => !isLarge.has(j)), 1),
      point("among both", weak.filter((j) => isLarge.has(j)), 4),
    ];
  return dense(scatterFigure(
    {
      title: `Input times rounding error: ${p.label}`,
      x: { name: "root mean square of the input", log: true },
      y: { name: "rounding error ‖ΔWⱼ‖ of the column", log: true },
      caption: "The score is the square of the product: the further to the upper right, the weaker. " +
        "How far the points spread along each axis shows which factor decides.",
    },
    series.filter((s) => s.y.length > 0),
  ));
}

/** Curves of concentration, one a layer: the share of the error that the weakest columns carry. */
export function lorenzFigure(profiles: readonly ColumnProfile[]): Figure {
  const least = 100 / Math.max(...profiles.map((p) => p.score.length));
  const equal = Array.from({ length: 80 }, (_, i) => least * (100 / least) ** (i / 79));
  const shortLabels = new Set(profiles.map((p) => p.name)).size === profiles.length;
  return lineFigure(
    {
      title: `How few columns carry the error${tagOf(profiles)}`,
      x: { name: "columns, the weakest first", unit: "%", log: true, range: [least, 100] },
      y: { name: "share of the error score they carry", unit: "%", range: [0, 102] },
      caption: "The higher a curve starts, the more of the error sits in a handful of columns.",
      guides: [{ axis: "x", at: 1, label: "1 % of the columns" }],
    },
    [
      ...profiles.slice(0, 7).map((p, i) => {
        const { columns, carried } = lorenz(p.score);
        return {
          name: shortLabels ? p.name : p.label,
          x: columns.slice(1).map(percent),
          y: carried.slice(1).map(percent),
          style: i,
        };
      }),
      { name: "all equal", x: equal, y: equal, style: 7 },
    ],
  );
}

/** The map of scores over layers of one kind: stripes are channels that are weak in every block. */
export function mapFigure(map: Matrix, label: string): Figure {
  const f = heatmapFigure(
    {
      title: `Weak columns over the blocks: ${label}`,
      x: { name: "input column" },
      y: { name: "block" },
      plotHeight: Math.max(160, Math.min(300, 30 * map.rows)),
      caption:
        "Bright: a column with many times the average score of its layer. A vertical stripe is a channel of the " +
        "residual stream that is loud in block after block.",
    },
    map,
    { name: "score / layer's mean", log: true },
  );
  const yaxis = { ...(f.layout.yaxis as object), dtick: Math.ceil(map.rows / 16) };
  return { ...f, layout: { ...f.layout, yaxis } };
}

/** Output error against the number of columns kept, one curve a rule. */
export function countFigure(points: readonly KeptError[], way: "plain" | "compensated", label: string): Figure {
  const rules = [...new Set(points.map((p) => p.rule))];
  const how = way === "plain" ? "the rest rounded to nearest" : "the rest by OPTQ";
  return lineFigure(
    {
      title: `Which columns to keep in 16 bits: ${label}, ${how}`,
      x: { name: "columns kept" },
      y: { name: "output error", unit: "% of ‖y‖²", log: true },
      caption: "All curves start at the same point. The lower a curve, the better its rule knows which columns matter.",
    },
    rules.map((rule) => {
      const own = points.filter((p) => p.rule === rule);
      return {
        name: RULE_NAMES[rule],
        x: own.map((p) => p.count),
        y: own.map((p) => percent(p[way])),
        style: RULE_STYLES[rule],
      };
    }),
  );
}

/** What decides the scores of one block's layers: shares of the variance of log s by factor. */
export function decideFigure(profiles: readonly ColumnProfile[]): Figure {
  const shares = profiles.map(factorShares);
  return barFigure(
    {
      title: `Which factor decides: block ${profiles[0].block}${tagOf(profiles)}`,
      x: { name: "linear layer of the block" },
      y: { name: "share of the spread of log score", unit: "%" },
      caption:
        "log score = log Hⱼⱼ + log ‖ΔWⱼ‖². Each bar is one factor's part of the spread over the layer's columns.",
    },
    profiles.map((p) => p.linear.name.replace(/^.*\.|_proj$/g, "")),
    [
      { name: "what flows in (H)", y: shares.map((s) => percent(s.input)), style: 0 },
      { name: "how it rounds (ΔW)", y: shares.map((s) => percent(s.rounding)), style: 1 },
    ],
  );
}

/** What was done to the model of a set of profiles, for a title; "" where they differ or nothing was. */
function tagOf(profiles: readonly ColumnProfile[]): string {
  const tags = new Set(profiles.map((p) => p.label.slice(p.name.length)));
  return tags.size === 1 ? [...tags][0] : "";
}
