// Pictures, tables and sentences of notebook PruneCD.
import type { PredictionProfile, PredictionProfiles } from "../../model/exit_profile.ts";
import { meanWithError } from "../../model/scorer.ts";
import { barFigure, type Figure, lineFigure } from "../figure.ts";
import { exact, type RecordedNumber, relative } from "../record.ts";
import { type Table, table } from "../table.ts";
import { between, type PairedDifference, pairedDifference, points } from "../tasks/paired.ts";
import type { Ablation } from "./choose_blocks.ts";
import type { DecodingRow, TokenView } from "./decoding_study.ts";

const percent = (x: number) => 100 * x;
const right = (r: DecodingRow) => r.answers.map((a) => a.acc);

/** Bars of right answers, in percent, with half of Wilson's interval to either side. */
function shareBars(rows: readonly DecodingRow[]): { y: number[]; spread: number[] } {
  const shares = rows.map((r) => meanWithError(right(r)));
  return { y: shares.map((s) => percent(s.mean)), spread: shares.map((s) => 50 * (s.high - s.low)) };
}

/** Perplexity without each block, with the filter's line. */
export function blockFigure(singles: readonly Ablation[], whole: Ablation, tau: number): Figure {
  return barFigure(
    {
      title: "Perplexity without one block",
      x: { name: "block left out" },
      y: { name: "perplexity / the model's", log: true },
      guides: [{ axis: "y", at: tau, label: `τ = ${tau}` }],
      caption: "Blocks above the line are not candidates: without them the model no longer speaks.",
    },
    singles.map((a) => String(a.skip[0])),
    [{ name: "without it", y: singles.map((a) => a.perplexity / whole.perplexity) }],
  );
}

/** Every set that was measured: its perplexity, right answers and margin on the development questions. */
export function ablationTable(rows: readonly Ablation[], questions: number): Table {
  return table(
    ["left out", "perplexity", "right (%)", "margin (nats)"],
    rows.map((a) => [a.skip.length === 0 ? "nothing" : a.skip.join(" "), a.perplexity, percent(a.acc), a.margin]),
    `${questions} development questions. Margin: the mean of ln(share of the right choice among all), which changes where no ` +
      "answer does.",
  );
}

/** A profile against depth, the model's own and the pruned selves' as lines across. */
export function profileFigure(
  profiles: PredictionProfiles,
  exits: readonly number[],
  names: readonly string[],
  what: keyof PredictionProfile,
): Figure {
  const titles: Record<keyof PredictionProfile, [string, string, string | undefined]> = {
    entropy: ["How sure: entropy", "entropy", "nats"],
    peak: ["How pronounced: the largest logit", "largest logit above the mean", undefined],
    overlap: ["How right: overlap with the model's ten likeliest", "overlap", "%"],
    divergence: ["How far from the model", "Jensen–Shannon divergence", "nats"],
  };
  const [title, name, unit] = titles[what],
    value = (p: PredictionProfile) => what === "overlap" ? percent(p[what]) : p[what];
  const across = (p: PredictionProfile) => exits.map(() => value(p));
  return lineFigure(
    { title, x: { name: "exit behind block" }, y: { name, ...(unit ? { unit } : {}) } },
    [
      { name: "early exit", x: exits, y: profiles.exits.map(value) },
      { name: "the model", x: exits, y: across(profiles.expert), style: 4 },
      ...profiles.pruned.map((p, i) => ({ name: names[i], x: exits, y: across(p) })),
    ],
  );
}

/** Right answers of every way, with 95 % intervals. */
export function decodingFigure(rows: readonly DecodingRow[], chance: number): Figure {
  return barFigure(
    {
      title: "Right answers",
      x: { name: "scored by" },
      y: { name: "acc", unit: "%", range: [0, 100] },
      guides: [{ axis: "y", at: percent(chance), label: "chance" }],
      caption: `${
        rows[0].answers.length
      } questions. The line at each bar: 95 % confidence, as if the questions were drawn anew.`,
    },
    rows.map((r) => r.label),
    [{ name: "acc", ...shareBars(rows) }],
  );
}

/** Right answers by contrast at several thresholds, beside the model's own. */
export function plausibilityFigure(
  tried: readonly { readonly alpha: number; readonly row: DecodingRow }[],
  model: DecodingRow,
): Figure {
  return barFigure(
    {
      title: "How many tokens may speak",
      x: { name: "α" },
      y: { name: "acc", unit: "%", range: [0, 100] },
      guides: [{ axis: "y", at: percent(meanWithError(right(model)).mean), label: "the model" }],
      caption: "α = 0: every token counts by its contrast. Otherwise a token below α times the likeliest scores −1000.",
    },
    tried.map((p) => String(p.alpha)),
    [{ name: "PruneCD", ...shareBars(tried.map((p) => p.row)) }],
  );
}

/** A way against the model's own answers, question by question. */
export function againstModel(rows: readonly DecodingRow[], label: string, seed: number): PairedDifference {
  return pairedDifference(right(rows[0]), right(rows.find((r) => r.label === label)!), seed);
}

/** Every way beside the model, with paired differences. */
export function decodingTable(rows: readonly DecodingRow[], seed: number): Table {
  return table(
    ["scored by", "blocks left out", "right (%)", "less the model's", "95 %", "gained, lost", "p"],
    rows.map((r, i) => {
      const share = percent(meanWithError(right(r)).mean), skip = r.skip ? r.skip.join(" ") : null;
      if (i === 0) return [r.label, skip, share, null, null, null, null];
      const d = againstModel(rows, r.label, seed);
      return [
        r.label,
        skip,
        share,
        points(d.difference),
        between(d.low, d.high),
        `${d.gained}, ${d.lost}`,
        d.p.toPrecision(2),
      ];
    }),
    "Gained, lost: questions that only this way, and only the model alone, has right. p: exact McNemar.",
  );
}

/** What one way changes, in a sentence that says so where nothing was seen. */
export function decodingSentence(rows: readonly DecodingRow[], label: string, seed: number): string {
  const d = againstModel(rows, label, seed);
  const seen = d.low > 0 ? "it is better" : d.high < 0 ? "it is worse" : "no difference was seen";
  return `${label} against the model alone: ${points(d.difference)} points (${between(d.low, d.high)}), ${seen}.`;
}

/** A text by contrast, token by token. */
export function watchTable(views: readonly TokenView[]): Table {
  const shown = ([text, p]: readonly [string, number]) => `${JSON.stringify(text)} ${percent(p).toFixed(0)} %`;
  return table(
    ["written", "the model's first", "the amateur's first", "plausible tokens"],
    views.map((v) => [
      `${JSON.stringify(v.written)}${v.written === v.expert[0] ? "" : " ←"}`,
      shown(v.expert),
      shown(v.amateur),
      v.plausible,
    ]),
    "The arrow marks tokens that the model alone would not have written.",
  );
}

/** What contrast costs: seconds a token over greedy decoding's, round by round. */
export function timeSentence(times: Readonly<Record<string, readonly number[]>>): string {
  const own = times["the model"],
    median = (v: readonly number[]) => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)];
  const parts = Object.keys(times).filter((n) => n !== "the model").map((n) => {
    const ratios = times[n].map((t, i) => t / own[i]);
    return `${n} ${median(ratios).toFixed(2)} times (${Math.min(...ratios).toFixed(2)} to ${
      Math.max(...ratios).toFixed(2)
    })`;
  });
  return `Seconds a token over greedy decoding's, ${own.length} rounds in turns: ${parts.join(", ")}.`;
}

/** A share of right answers; it jumps by whole questions, so it has room for three of them. */
function shareNumber(r: DecodingRow): RecordedNumber {
  const n = r.answers.length, { mean } = meanWithError(right(r));
  return relative(mean, 3 / (n * Math.max(mean, 1 / n)));
}

/** For the record. */
export function decodingNumbers(
  rows: readonly DecodingRow[],
  singles: readonly Ablation[],
  profiles: PredictionProfiles,
  exits: readonly number[],
  names: readonly string[],
): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = { "questions": exact(rows[0].answers.length) };
  const seed = 0;
  for (const r of rows) {
    numbers[`${r.label}/acc`] = shareNumber(r);
    if (r !== rows[0]) {
      const d = againstModel(rows, r.label, seed);
      numbers[`${r.label}/less the model's`] = {
        value: [d.difference, d.low, d.high],
        tolerance: "timing",
        unit: "share, 95 %",
      };
    }
  }
  for (const a of singles) numbers[`without block ${a.skip[0]}/perplexity`] = relative(a.perplexity, 0.01);
  const put = (name: string, p: PredictionProfile) => {
    for (const [key, v] of Object.entries(p)) numbers[`${name}/${key}`] = relative(v, 0.02);
  };
  put("the model", { ...profiles.expert, divergence: 0 });
  profiles.exits.forEach((p, i) => put(`exit ${exits[i]}`, p));
  profiles.pruned.forEach((p, i) => put(names[i], p));
  return numbers;
}

/** Times, for readers only. */
export function timeNumbers(times: Readonly<Record<string, readonly number[]>>): Record<string, RecordedNumber> {
  return Object.fromEntries(
    Object.entries(times).map((
      [name, t],
    ) => [`${name}/seconds a token`, { value: [...t], tolerance: "timing" as const, unit: "s" }]),
  );
}

/** Right answers of the model and of a contrast, for the float model and quantized ones. */
export function quantizedFigure(
  models: readonly { readonly label: string; readonly rows: readonly DecodingRow[] }[],
): Figure {
  const labels = models[0].rows.filter((r) => !r.label.endsWith(" alone")).map((r) => r.label);
  return barFigure(
    {
      title: "Contrast on quantized models",
      x: { name: "model" },
      y: { name: "acc", unit: "%", range: [0, 100] },
      caption: "The line at each bar: 95 % confidence. The same blocks are left out of every model.",
    },
    models.map((m) => m.label),
    labels.map((label, i) => ({
      name: label,
      style: [4, 2][i] ?? i,
      ...shareBars(models.map((m) => m.rows.find((r) => r.label === label)!)),
    })),
  );
}

/** For the record: right answers at each threshold. */
export function plausibilityNumbers(
  tried: readonly { readonly alpha: number; readonly row: DecodingRow }[],
): Record<string, RecordedNumber> {
  return Object.fromEntries(tried.map((p) => [`PruneCD, α ${p.alpha}/acc`, shareNumber(p.row)]));
}

/** For the record: right answers of every model. */
export function quantizedNumbers(
  models: readonly { readonly label: string; readonly rows: readonly DecodingRow[] }[],
): Record<string, RecordedNumber> {
  return Object.fromEntries(models.flatMap((m) => m.rows.map((r) => [`${m.label}, ${r.label}/acc`, shareNumber(r)])));
}
