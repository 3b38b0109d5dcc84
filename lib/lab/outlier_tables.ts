// The tables and computed sentences of notebook 02.
import type { Matrix } from "../io/tensor.ts";
import type { QuantContext } from "../quant/context.ts";
import { type OwqOptions, roundedForScore } from "../quant/owq.ts";
import type { SensitivityRule } from "../quant/sensitivity.ts";
import { columnsCarrying, gini, topShare } from "./concentration.ts";
import type { StudyLayer } from "./layer_study.ts";
import { RULE_NAMES } from "./outlier_figures.ts";
import {
  type ColumnProfile,
  errorShares,
  inputSpread,
  type KeptError,
  type Recurrence,
  topColumns,
} from "./outlier_study.ts";
import { type Table, table } from "./table.ts";

const percent = (v: number) => 100 * v;

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
export function overlapTable(
  m: Matrix,
  rules: readonly SensitivityRule[],
  count: number,
  profiles: readonly ColumnProfile[],
): Table {
  const chance = profiles.reduce((sum, p) => sum + count / p.score.length, 0) / profiles.length;
  return table(
    [`top ${count} by`, ...rules.map((r) => RULE_NAMES[r])],
    rules.map((r, i) => [RULE_NAMES[r], ...rules.map((_, j) => `${Math.round(percent(m.data[i * m.cols + j]))} %`)]),
    `Columns that two rules have in common, averaged over layers. By chance: ${percent(chance).toFixed(1)} %.`,
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

/**
 * What the score leaves out, in a sentence: the share of the weak columns by the score, and with all of H.
 *
 * @param layer W (out, in), H (in, in). @param p its profile. @param count weak columns.
 */
export async function exactShareSentence(
  layer: StudyLayer,
  p: ColumnProfile,
  count: number,
  o: OwqOptions,
  context: QuantContext,
): Promise<string> {
  const rounded = await roundedForScore(layer.weight, o, o.sensitivitySteps, context);
  const d = { ...layer.weight, data: rounded.data.map((v, i) => v - layer.weight.data[i]) };
  const exact = errorShares(d, layer.hessian), weak = topColumns(p.score, count);
  const total = p.score.reduce((a, b) => a + b, 0);
  const by = (shares: Float64Array, of: number) => percent(weak.reduce((sum, j) => sum + shares[j], 0) / of).toFixed(0);
  return `By the score, the ${count} weakest of ${p.score.length} columns carry ${
    by(p.score, total)
  } % of the error. ` +
    `With everything that lies beside the diagonal of H it is ${by(exact, 1)} %.`;
}

/**
 * Which rules leave the least error, in a sentence: for each, at how many of the counts it is within 1 % of the best.
 *
 * @param points of {@link errorAgainstCount}; those that keep nothing are left out, no rule has a say in them.
 */
export function winnerSentence(points: readonly KeptError[], way: "plain" | "compensated"): string {
  const counts = [...new Set(points.map((p) => p.count))].filter((c) => c > 0),
    wins = new Map<SensitivityRule, number>();
  for (const c of counts) {
    const own = points.filter((p) => p.count === c), least = Math.min(...own.map((p) => p[way]));
    for (const p of own) if (p[way] <= 1.01 * least) wins.set(p.rule, (wins.get(p.rule) ?? 0) + 1);
  }
  const parts = [...wins].sort((a, b) => b[1] - a[1]).map(([rule, n]) => `${RULE_NAMES[rule]} (${n})`);
  return `Best, or within 1 % of the best, at how many of the ${counts.length} numbers of columns: ${
    parts.join(", ")
  }.`;
}
