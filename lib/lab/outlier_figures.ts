// The pictures of notebook 02: where a layer's output error sits, which columns are weak and why, and which rule finds them.
import type { Matrix } from "../io/tensor.ts";
import { type SensitivityRule } from "../quant/sensitivity.ts";
import { columnsCarrying, gini, lorenz, topShare } from "./concentration.ts";
import { barFigure, type Figure, heatmapFigure, lineFigure, scatterFigure, type Series } from "./figure.ts";
import { formatNumber } from "./format.ts";
import {
  type ColumnProfile,
  factorShares,
  inputSpread,
  type KeptError,
  type Recurrence,
  topColumns,
} from "./outlier_study.ts";
import { type Table, table } from "./table.ts";

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

/** A series of some columns: their places and one number each. */
function columnsOf(name: string, columns: readonly number[], value: (j: number) => number, style: number): Series {
  return { name, x: columns, y: columns.map(value), labels: columns.map((j) => `column ${j}`), style };
}

/** How loud each input channel is: the root mean square of what flows into each column. */
export function inputFigure(p: ColumnProfile): Figure {
  const sorted = p.inputRms.toSorted(), median = sorted[sorted.length >> 1], all = [...p.inputRms.keys()];
  return scatterFigure(
    {
      title: `What flows into ${p.label}`,
      x: { name: "input column" },
      y: { name: "root mean square of the input", log: true },
      guides: [{ axis: "y", at: median, label: "median" }, { axis: "y", at: 6 * median, label: "6 × median" }],
      caption:
        "One point an input channel, measured on the calibration text. Points above the upper line are outliers.",
    },
    [columnsOf("channel", all, (j) => p.inputRms[j], 6)],
  );
}

/** The share of the scores that each column has, in the columns' own order; the `count` weakest marked. */
export function scoreFigure(p: ColumnProfile, count: number): Figure {
  const { weak, other } = weakAndOther(p, count), total = p.score.reduce((a, b) => a + b, 0);
  const share = (j: number) => percent(p.score[j] / total);
  return scatterFigure(
    {
      title: `Where the error of ${p.label} sits`,
      x: { name: "input column" },
      y: { name: "share of the layer's error score", unit: "%" },
      guides: [{ axis: "y", at: 100 / p.score.length, label: "if all were equal" }],
      caption: "Score of column j: H_jj · ‖ΔW_j‖², the error that its rounding alone sends into the output.",
    },
    [columnsOf("other columns", other, share, 6), columnsOf(`the ${count} weakest columns`, weak, share, 1)],
  );
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
  const chosen = new Set([...weak, ...large]);
  return scatterFigure(
    {
      title: `Input times rounding error: ${p.label}`,
      x: { name: "root mean square of the input", log: true },
      y: { name: "rounding error ‖ΔW_j‖ of the column", log: true },
      caption: "The score is the square of the product: the further to the upper right, the weaker. " +
        "How far the points spread along each axis shows which factor decides.",
    },
    [
      point("other columns", other.filter((j) => !chosen.has(j)), 6),
      point(`${count} largest by weight`, large, 3),
      point(`${count} weakest`, weak, 1),
    ],
  );
}

/** Curves of concentration, one a layer: the share of the error that the weakest columns carry. */
export function lorenzFigure(profiles: readonly ColumnProfile[]): Figure {
  const least = 100 / Math.max(...profiles.map((p) => p.score.length));
  const shortLabels = new Set(profiles.map((p) => p.name)).size === profiles.length;
  return lineFigure(
    {
      title: `How few columns carry the error: ${common(profiles)}`,
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
      { name: "all equal", x: [least, 1, 10, 30, 100], y: [least, 1, 10, 30, 100], style: 7 },
    ],
  );
}

/** The map of scores over layers of one kind: stripes are channels that are weak in every block. */
export function mapFigure(map: Matrix, label: string): Figure {
  return heatmapFigure(
    {
      title: `Weak columns over the blocks: ${label}`,
      x: { name: "input column" },
      y: { name: "block" },
      caption:
        "Bright: a column with many times the average score of its layer. A vertical stripe is a channel of the " +
        "residual stream that is loud in block after block.",
    },
    map,
    { name: "score / layer's mean", log: true },
  );
}

/** Output error against the number of columns kept, one curve a rule. */
export function countFigure(points: readonly KeptError[], way: "plain" | "compensated", label: string): Figure {
  const rules = [...new Set(points.map((p) => p.rule))];
  const how = way === "plain" ? "the rest rounded to nearest" : "the rest by OPTQ";
  return lineFigure(
    {
      title: `Which columns to keep in 16 bits: ${label}, ${how}`,
      x: { name: "columns kept" },
      y: { name: "output error", unit: "% of the output's energy", log: true },
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

/** What decides a layer's scores: shares of the variance of log s by factor. */
export function decideFigure(profiles: readonly ColumnProfile[]): Figure {
  const shares = profiles.map(factorShares);
  return barFigure(
    {
      title: `Which factor decides: ${common(profiles)}`,
      x: { name: "layer" },
      y: { name: "share of the spread of log score", unit: "%" },
      caption:
        "log score = log H_jj + log ‖ΔW_j‖². Each bar is one factor's part of the spread over the layer's columns.",
    },
    profiles.map((p) => p.name),
    [
      { name: "what flows in (H)", y: shares.map((s) => percent(s.input)), style: 0 },
      { name: "how it rounds (ΔW)", y: shares.map((s) => percent(s.rounding)), style: 1 },
    ],
  );
}

/** The concentration of each layer's scores as numbers. */
export function concentrationTable(profiles: readonly ColumnProfile[]): Table {
  return table(
    [
      "layer",
      "columns",
      "top 1 % carry (%)",
      "columns that carry half",
      "Gini",
      "loudest input / median",
      "outlier inputs",
    ],
    profiles.map((p) => {
      const spread = inputSpread(p.inputRms);
      return [
        p.name,
        p.score.length,
        percent(topShare(p.score, 0.01)),
        columnsCarrying(p.score, 0.5),
        gini(p.score),
        spread.largestToMedian,
        spread.outliers,
      ];
    }),
    "Gini: 0 when all columns matter alike, near 1 when one has everything. Outlier inputs: louder than six times the median.",
  );
}

/** How much the choices of the rules have in common. */
export function overlapTable(m: Matrix, rules: readonly SensitivityRule[], count: number, columns: number): Table {
  return table(
    [`top ${count} by`, ...rules.map((r) => RULE_NAMES[r])],
    rules.map((r, i) => [RULE_NAMES[r], ...rules.map((_, j) => `${Math.round(percent(m.data[i * m.cols + j]))} %`)]),
    `Columns that two rules have in common, averaged over layers. By chance: ${
      formatNumber(percent(count / columns))
    } %.`,
  );
}

/** The columns that most layers find weak. */
export function recurrenceTable(columns: readonly Recurrence[], layers: number, count: number): Table {
  return table(
    ["column", `layers of ${layers} with it among their ${count} weakest`],
    columns.slice(0, 8).map((c) => [c.column, c.layers]),
  );
}

/**
 * Whether the model has outlier channels, in a sentence made from the numbers.
 *
 * @param profiles any layers, such as one block's or all.
 */
export function outlierSentence(profiles: readonly ColumnProfile[]): string {
  const spreads = profiles.map((p) => inputSpread(p.inputRms));
  const loud = profiles.filter((_, i) => spreads[i].outliers > 0), rule = "louder than six times the median channel";
  const most = spreads.reduce((best, s, i) => s.largestToMedian > spreads[best].largestToMedian ? i : best, 0);
  const peak =
    `The loudest channel of all, ${spreads[most].largestToMedian.toPrecision(3)} times its layer's median, ` +
    `flows into ${profiles[most].name}.`;
  if (loud.length === 0) return `None of these ${profiles.length} layers has an outlier input (${rule}). ${peak}`;
  const kinds = [...new Set(loud.map((p) => p.linear.name))].join(", ");
  return `${loud.length} of these ${profiles.length} layers have outlier inputs (${rule}): ${kinds}. ${peak}`;
}

/** Which rule leaves the least error at each count, in a sentence. */
export function winnerSentence(points: readonly KeptError[], way: "plain" | "compensated"): string {
  const counts = [...new Set(points.map((p) => p.count))].filter((c) => c > 0);
  const wins = new Map<SensitivityRule, number>();
  for (const c of counts) {
    const best = points.filter((p) => p.count === c).reduce((a, b) => b[way] < a[way] ? b : a);
    wins.set(best.rule, (wins.get(best.rule) ?? 0) + 1);
  }
  const parts = [...wins].sort((a, b) => b[1] - a[1]).map(([rule, n]) =>
    `${RULE_NAMES[rule]} (${n} of ${counts.length})`
  );
  return `Least error, counted over the numbers of columns tried: ${parts.join(", ")}.`;
}

/** What a set of profiles has in common, for a title: the tag of an injected model is kept. */
function common(profiles: readonly ColumnProfile[]): string {
  const tags = new Set(profiles.map((p) => p.label.slice(p.name.length)));
  return `${profiles.length} layers${tags.size === 1 ? [...tags][0] : ""}`;
}
