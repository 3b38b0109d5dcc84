// Notebook 09: bits beside the codes, spent on groups (a grid for every few columns) or on weak columns. OWQ, arXiv 2306.02272,
// table 6.
import type { Case } from "./compare.ts";
import { floatPerplexityOf } from "./compare_figures.ts";
import { barFigure, type Figure, lineFigure } from "./figure.ts";
import { type RecordedNumber, relative } from "./record.ts";
import { type Table, table } from "./table.ts";
import { halfRange, meanOf, perplexitiesOf, seedNote, type Variant, withSpread } from "./variants.ts";

/** OPTQ with the smallest groups that store no more than each target: their scales take 16 bits, their zero points b. */
export function groupCases(targets: readonly number[]): Case[] {
  return targets.map((bits) => ({ label: `groups, ${bits} bits`, method: "optq", bits, budget: "stored" }));
}

/** OWQ with as many weak columns as store no more than each target. */
export function weakCases(targets: readonly number[]): Case[] {
  return targets.map((bits) => ({ label: `weak columns, ${bits} bits`, method: "owq", bits, budget: "stored" }));
}

/**
 * Both at once: groups of a given size, and weak columns for what is left of the target.
 *
 * @param target stored bits a weight. @param groupSize columns that share a grid.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { groupedWeakCase } from "./overhead.ts";
 * assert.equal(groupedWeakCase(2.6, 64).label, "groups of 64 and weak columns, 2.6 bits");
 * ```
 */
export function groupedWeakCase(target: number, groupSize: number): Case {
  return {
    label: `groups of ${groupSize} and weak columns, ${target} bits`,
    method: "owq",
    bits: target,
    budget: "stored",
    options: { groupSize },
  };
}

/**
 * Both with one kind of linear quantized and all others in float.
 *
 * @param kind such as "down_proj". @param target stored bits a weight of those linears.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { aloneCases } from "./overhead.ts";
 * const [groups, weak] = aloneCases("down_proj", 2.6);
 * assert.deepEqual([groups.label, weak.method, weak.layers], ["down only, groups", "owq", "\\.down_proj$"]);
 * ```
 */
export function aloneCases(kind: string, target: number): Case[] {
  return [...groupCases([target]), ...weakCases([target])].map((c) => ({
    ...c,
    label: `${kind.replace(/_proj$/, "")} only, ${c.label.split(",")[0]}`,
    layers: `\\.${kind}$`,
  }));
}

/** Who has less layer error and who has less perplexity, in a sentence. @param alone what came of {@link aloneCases}. */
export function aloneSentence([groups, weak]: readonly Variant[]): string {
  const p = [groups, weak].map((v) => meanOf(perplexitiesOf(v))), error = meanOf(errorsAgainst(weak, groups));
  const verdict = (p[1] < p[0]) === (error < 1)
    ? "the two measures agree"
    : error < 1
    ? "less error, and the worse model"
    : "more error, and the better model";
  return `With ${groups.label.split(" only,")[0]} alone quantized weak columns leave ${
    error.toFixed(2)
  } times the error of ` +
    `groups, and perplexity is ${p[1].toPrecision(4)} with columns, ${p[0].toPrecision(4)} with groups: ${verdict}.`;
}

/**
 * tr(DHDᵀ) over all layers as a share of what another variant leaves, one a seed. (Round-to-nearest's share, as elsewhere, would
 * not do: its own error shrinks with the groups.)
 *
 * @param v, reference variants of the same seeds.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { errorsAgainst } from "./overhead.ts";
 * const v = (objective: number) => ({ label: "", rows: [{ report: { layers: [{ objective }, { objective }] } }] }) as never;
 * assert.deepEqual(errorsAgainst(v(3), v(4)), [0.75]);
 * ```
 */
export function errorsAgainst(v: Variant, reference: Variant): number[] {
  const sum = (x: Variant, i: number) => x.rows[i].report.layers.reduce((a, l) => a + (l.objective ?? NaN), 0);
  return v.rows.map((_, i) => sum(v, i) / sum(reference, i));
}

const storedOf = (v: Variant) => v.rows[0].report.bits.stored;

/** Perplexity or layer error against stored bits, one curve a way of spending them; the first point of all is the reference. */
export function storedFigure(
  curves: Readonly<Record<string, readonly Variant[]>>,
  way: "perplexity" | "layer error",
): Figure {
  const first = Object.values(curves)[0], float = floatPerplexityOf(first.flatMap((v) => v.rows));
  const values = way === "perplexity" ? perplexitiesOf : (v: Variant) => errorsAgainst(v, first[0]);
  return lineFigure(
    {
      title: way === "perplexity" ? "What the same bits buy: perplexity" : "What the same bits buy: layer error",
      x: { name: "stored bits", unit: "bit per weight" },
      y: { name: way === "perplexity" ? "perplexity" : `error tr(DHDᵀ) / ${first[0].label}'s` },
      ...(way === "perplexity"
        ? { guides: [{ axis: "y" as const, at: float, label: `float ${float.toPrecision(4)}` }] }
        : {}),
      caption: `Everything counted: codes, scales, zero points, weak columns, their indices. Lower is better.${
        seedNote(first)
      }`,
    },
    Object.entries(curves).map(([name, variants], i) => ({
      name,
      style: i,
      x: variants.map(storedOf),
      y: variants.map((v) => meanOf(values(v))),
      spread: variants.map((v) => halfRange(values(v))),
      labels: variants.map((v) => v.label),
    })),
  );
}

/** The same as a table, the float model first. @param codeBits b, what overhead is counted from. */
export function storedTable(variants: readonly Variant[], codeBits: number): Table {
  const rows = variants.flatMap((v) => v.rows), [{ report }] = rows;
  const text = report.provenance.evaluation as { label: string; windows: number; seqLen: number };
  const said = (values: readonly number[]) => values.length > 1 ? withSpread(values) : values[0];
  const weak = (v: Variant) => meanOf(v.rows[0].report.layers.map((l) => l.weak.length));
  return table(
    [
      "spent on",
      "stored bits",
      "of it overhead",
      "weak columns a layer",
      `layer error / ${variants[0].label}'s`,
      "perplexity",
    ],
    [
      ["float", null, null, null, null, floatPerplexityOf(rows)],
      ...variants.map((v) => [
        v.label,
        storedOf(v),
        storedOf(v) - codeBits,
        weak(v),
        said(errorsAgainst(v, variants[0])),
        said(perplexitiesOf(v)),
      ]),
    ],
    `Token perplexity on ${text.label}, ${text.windows} windows of ${text.seqLen} tokens. Layer error: tr(DHDᵀ) over all ` +
      `layers.${report.note ? ` Note: ${report.note}.` : ""}`,
  );
}

/** Layers of one kind, in two variants side by side. */
export interface KindRatio {
  /** Such as "o_proj". */
  readonly kind: string;
  /** Error of the second variant over the first's: the geometric mean over the blocks. */
  readonly ratio: number;
  /** The kind's share of the first variant's error, summed over all layers. */
  readonly share: number;
}

/**
 * Which kinds of linear gain: a sum over all layers hears only the loudest of them.
 *
 * @param first, second variants of the same model; their first seeds are compared, means over blocks.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { kindRatios } from "./overhead.ts";
 * const v = (a: number, b: number) => ({ label: "", rows: [{ report: { layers: [
 *   { name: "0.self_attn.q_proj", objective: a }, { name: "0.mlp.down_proj", objective: b }] } }] }) as never;
 * assert.deepEqual(kindRatios(v(2, 8), v(4, 2)).map((k) => [k.kind, k.ratio, k.share]), [["q_proj", 2, 0.2], ["down_proj", 0.25, 0.8]]);
 * ```
 */
export function kindRatios(first: Variant, second: Variant): KindRatio[] {
  const a = first.rows[0].report.layers, b = second.rows[0].report.layers;
  const kindOf = (name: string) => name.slice(name.lastIndexOf(".") + 1);
  const total = a.reduce((t, l) => t + (l.objective ?? NaN), 0);
  return [...new Set(a.map((l) => kindOf(l.name)))].map((kind) => {
    const at = [...a.keys()].filter((i) => kindOf(a[i].name) === kind), of = (i: number) => a[i].objective ?? NaN;
    return {
      kind,
      ratio: Math.exp(meanOf(at.map((i) => Math.log((b[i].objective ?? NaN) / of(i))))),
      share: at.reduce((t, i) => t + of(i), 0) / total,
    };
  });
}

/** Error with weak columns over the error with groups, by kind of linear, one bar a budget. */
export function kindRatioFigure(groups: readonly Variant[], weak: readonly Variant[]): Figure {
  const ratios = groups.map((g, i) => kindRatios(g, weak[i]));
  return barFigure(
    {
      title: "Who wins in which kind of linear",
      x: { name: "kind of linear" },
      y: { name: "error with columns / with groups" },
      guides: [{ axis: "y", at: 1, label: "equal" }],
      caption:
        "Below the line the weak columns leave less error, above it the groups do. Geometric means over the blocks.",
    },
    ratios[0].map((k) => k.kind.replace(/_proj$/, "")),
    groups.map((g, i) => ({
      name: `${storedOf(g).toFixed(2)} bits`,
      style: i,
      y: ratios[i].map((k) => k.ratio),
    })),
  );
}

/** The same in a sentence, with the kind that the sum over all layers listens to. */
export function kindRatioSentence(groups: Variant, weak: Variant): string {
  const kinds = kindRatios(groups, weak), loud = kinds.reduce((a, b) => b.share > a.share ? b : a);
  const say = (list: readonly KindRatio[]) =>
    list.map((k) => `${k.kind.replace(/_proj$/, "")} (${k.ratio.toFixed(2)})`).join(", ") || "none";
  const quiet = kinds.filter((k) => k.ratio > 1);
  return `At ${storedOf(groups).toFixed(2)} bits weak columns leave less error in ${
    say(kinds.filter((k) => k.ratio <= 1))
  }, ` +
    `groups in ${say(quiet)}. ${loud.kind} alone makes up ${
      (100 * loud.share).toFixed(0)
    } % of the sum over all layers` +
    (quiet.length > 0
      ? `, the kinds in which groups win ${(100 * quiet.reduce((a, k) => a + k.share, 0)).toFixed(1)} %.`
      : ".");
}

/** For a record, beside variantNumbers. */
export function storedNumbers(variants: readonly Variant[]): Record<string, RecordedNumber> {
  const name = `layer error of ${variants[0].label}'s`;
  return Object.fromEntries(variants.map((v) => [`${v.label}/${name}`, relative(errorsAgainst(v, variants[0]), 3e-2)]));
}

/**
 * The bits at which a curve comes down to a level, on straight lines between its points.
 *
 * @param bits ascending. @param values one a number of bits. @param level to be reached.
 * @returns null where no point is at or below it.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { bitsToReach } from "./overhead.ts";
 * assert.equal(bitsToReach([2, 3], [40, 30], 35), 2.5);
 * assert.equal(bitsToReach([2, 3], [40, 36], 35), null);
 * ```
 */
export function bitsToReach(bits: readonly number[], values: readonly number[], level: number): number | null {
  const at = values.findIndex((v) => v <= level);
  if (at <= 0) return at === 0 ? bits[0] : null;
  const share = (values[at - 1] - level) / (values[at - 1] - values[at]);
  return bits[at - 1] + share * (bits[at] - bits[at - 1]);
}

/**
 * Who gets more for the same bits, and what one pays for the other's quality, in two sentences.
 *
 * @param groups, weak curves of equal length, their first points without overhead. @param codeBits b.
 */
export function overheadSentence(groups: readonly Variant[], weak: readonly Variant[], codeBits: number): string {
  const p = (v: Variant) => meanOf(perplexitiesOf(v)), over = (v: Variant) => storedOf(v) - codeBits;
  const pairs = groups.slice(1).map((g, i) => {
    const w = weak[i + 1], d = 100 * (p(w) / p(g) - 1), who = d < 0 ? "weak columns are" : "groups are";
    return `at ${storedOf(g).toFixed(2)} and ${storedOf(w).toFixed(2)} bits ${who} ahead by ${
      Math.abs(d).toPrecision(2)
    } % (${p(g).toPrecision(4)} with groups, ${p(w).toPrecision(4)} with columns)`;
  });
  const [better, worse, names] = p(weak.at(-1)!) < p(groups.at(-1)!)
    ? [weak, groups, ["weak columns", "groups"]]
    : [groups, weak, ["groups", "weak columns"]];
  const last = worse.at(-1)!, reach = bitsToReach(better.map(over), better.map(p), p(last));
  const price = reach === null
    ? ""
    : ` What ${names[1]} reach with ${over(last).toPrecision(2)} bits of overhead, ${names[0]} reach with about ${
      reach.toPrecision(2)
    }.`;
  return `Perplexity: ${pairs.join("; ")}.${price}`;
}
