// The same function with and without outlier channels (lib/model/outliers.ts): what rounding does to each.
import { LabError } from "../io/errors.ts";
import { perplexity } from "../model/perplexity.ts";
import type { QuantContext } from "../quant/context.ts";
import type { OwqOptions } from "../quant/owq.ts";
import { topShare } from "./concentration.ts";
import type { LayerStudy } from "./layer_study.ts";
import { type ColumnProfile, errorAgainstCount, inputSpread, profileColumns } from "./outlier_study.ts";
import { type RecordedNumber, relative } from "./record.ts";
import { type Table, table } from "./table.ts";

/** One of the two models. */
export interface InjectedSide {
  readonly label: string;
  readonly profile: ColumnProfile;
  /** Of the float model, on a few windows: equal for both sides. */
  readonly perplexity: number;
  /** tr(D H Dᵀ) / tr(W H Wᵀ), rounded to nearest on searched grids. */
  readonly rounded: number;
  /** The same with the weakest columns put back. */
  readonly kept: number;
}

/** Two models that compute the same. */
export interface InjectedPair {
  readonly count: number;
  readonly sides: readonly [InjectedSide, InjectedSide];
  readonly profiles: readonly ColumnProfile[];
}

/**
 * Measures one layer in a model and in the same model with outliers injected.
 *
 * @param natural @param loud two studies of one model. @param name the layer, "1.self_attn.q_proj". @param count columns kept.
 * @throws LabError "input" where the layer does not exist.
 */
export async function compareInjected(
  natural: LayerStudy,
  loud: LayerStudy,
  name: string,
  count: number,
  o: OwqOptions,
  context: QuantContext,
): Promise<InjectedPair> {
  const side = async (study: LayerStudy): Promise<InjectedSide> => {
    const [layer] = await study.collect(`^${name.replaceAll(".", "\\.")}$`);
    const [all, some] = await errorAgainstCount(layer, ["hessian-error"], [0, count], o, context);
    const windows = await study.evaluation({ text: "sotu", samples: 4, seqLen: layer.windowLength });
    return {
      label: layer.label,
      profile: await profileColumns(layer, o, context),
      perplexity: (await perplexity(study.model, windows)).perplexity,
      rounded: all.plain,
      kept: some.plain,
    };
  };
  const sides = [await side(natural), await side(loud)] as const;
  return { count, sides, profiles: sides.map((s) => s.profile) };
}

/** The pair as a table, one column a model. */
export function injectedTable(pair: InjectedPair): Table {
  const [a, b] = pair.sides, row = (what: string, f: (s: InjectedSide) => string) => [what, f(a), f(b)];
  const percent = (v: number) => `${(100 * v).toPrecision(3)} %`;
  return table(["", a.label, b.label], [
    row("perplexity of the float model", (s) => s.perplexity.toFixed(3)),
    row("loudest input / median", (s) => inputSpread(s.profile.inputRms).largestToMedian.toPrecision(3)),
    row("top 1 % of the columns carry", (s) => percent(topShare(s.profile.score, 0.01))),
    row("output error, all columns rounded", (s) => percent(s.rounded)),
    row(`output error, the ${pair.count} weakest columns kept`, (s) => percent(s.kept)),
  ], "Rounding to nearest on searched grids, no compensation.");
}

/** What the outliers cost and what the kept columns win back, in a sentence. */
export function injectedSentence(pair: InjectedPair): string {
  const [a, b] = pair.sides, change = (from: number, to: number) => Math.round(100 * (to / from - 1));
  const signed = (v: number) => `${v < 0 ? "−" : "+"}${Math.abs(v)} %`;
  return `With the outliers the error of rounding changes by ${
    signed(change(a.rounded, b.rounded))
  }. Keeping ${pair.count} ` +
    `columns changes it by ${signed(change(a.rounded, a.kept))} in the first model and by ` +
    `${signed(change(b.rounded, b.kept))} in the second.`;
}

/** The pair's numbers for a record. */
export function injectedNumbers(pair: InjectedPair): Record<string, RecordedNumber> {
  return Object.fromEntries(pair.sides.flatMap((s) => [
    [`${s.label}/perplexity`, relative(s.perplexity, 1e-3)],
    [`${s.label}/error, rounded`, relative(s.rounded, 5e-3)],
    [`${s.label}/error, ${pair.count} kept`, relative(s.kept, 5e-3)],
  ]));
}

/**
 * The profile of one layer.
 *
 * @throws LabError "input" with the names there are.
 */
export function findProfile(profiles: readonly ColumnProfile[], name: string): ColumnProfile {
  const found = profiles.find((p) => p.name === name);
  if (found) return found;
  const names = profiles.slice(0, 14).map((p) => p.name).join(", ");
  throw new LabError(
    "input",
    "layer",
    `"${name}" was not profiled`,
    `There are ${names}${profiles.length > 14 ? ", …" : ""}.`,
  );
}

/**
 * The layer whose error is spread most evenly, among those that read a norm's output: there, injected outliers show best.
 *
 * @throws LabError "input" where no profile is of such a layer.
 */
export function calmestProfile(profiles: readonly ColumnProfile[]): ColumnProfile {
  const after = profiles.filter((p) => p.linear.input === "attention" || p.linear.input === "mlp");
  if (after.length === 0) throw new LabError("input", "layer", "none of those profiled reads a norm's output");
  return after.reduce((a, b) => topShare(b.score, 0.01) < topShare(a.score, 0.01) ? b : a);
}

/** The profiles of one block. */
export function profilesOfBlock(profiles: readonly ColumnProfile[], block: number): ColumnProfile[] {
  return profiles.filter((p) => p.block === block);
}

/** The profiles of all linears whose name contains `kind`, such as "q_proj"; those that read attention's input where none does. */
export function profilesOfKind(profiles: readonly ColumnProfile[], kind: string): ColumnProfile[] {
  const named = profiles.filter((p) => p.linear.name.includes(kind));
  if (named.length > 0) return named;
  const first = profiles.find((p) => p.linear.input === "attention")?.linear.name;
  return profiles.filter((p) => p.linear.name === first);
}
