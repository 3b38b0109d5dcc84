// Pictures, tables and sentences of notebook wct.
import type { Matrix } from "../io/tensor.ts";
import { llamaBlockValues } from "../model/tune_count.ts";
import type { TunePoint } from "../model/tune.ts";
import { bundleOf, openScreen, type Screen } from "./display.ts";
import { type Figure, heatmapFigure, lineFigure } from "./figure.ts";
import { exact, type RecordedNumber, relative, timing } from "./record.ts";
import { type Table, table } from "./table.ts";
import { type SwapRow, tunedPerplexities, type TuneRow } from "./tune_study.ts";
import { halfRange, meanOf } from "./variants.ts";

/** What training changed in a layer, drawn on its matrix. */
export function changeFigure(change: Matrix, label: string, linear: string): Figure {
  const touched = new Set<number>();
  for (let i = 0; i < change.data.length; i++) if (change.data[i] > 0) touched.add(i % change.cols);
  return heatmapFigure(
    {
      title: `${linear}: what ${label} changed`,
      x: { name: "input channel" },
      y: { name: "output channel" },
      caption:
        `${touched.size} of ${change.cols} columns changed. The packed codes stand under all of them and stayed as they were.`,
    },
    change,
    { name: "|change|" },
  );
}

/** Held-out loss against steps, one curve a case: the mean over seeds, bars for half their range. */
export function tuningFigure(rows: readonly TuneRow[]): Figure {
  return lineFigure(
    {
      title: "Loss on held-out text while tuning",
      x: { name: "step" },
      y: { name: "held-out loss", unit: "nats a token" },
      caption: `Lower is better.${rows[0].reports.length > 1 ? " Bars: half the range over seeds." : " One seed."}`,
    },
    rows.map(({ label, reports }, style) => {
      const at = reports[0].curve.flatMap((p, i) => p.heldOut === null ? [] : [i]);
      const values = at.map((i) => reports.map((r) => r.curve[i].heldOut ?? NaN));
      return {
        name: label,
        style,
        x: at.map((i) => reports[0].curve[i].step),
        y: values.map(meanOf),
        spread: values.map(halfRange),
      };
    }),
  );
}

/** Perplexity against what it takes: trained values or optimizer bytes. */
export function costFigure(rows: readonly TuneRow[], way: "trained values" | "memory"): Figure {
  const x = (r: TuneRow) => way === "memory" ? r.reports[0].cost.peakBytes / 1e6 : r.reports[0].cost.values;
  return lineFigure(
    {
      title: way === "memory" ? "Quality against memory" : "Quality against trained values",
      x: { name: way === "memory" ? "counted peak" : way, log: true, ...(way === "memory" ? { unit: "MB" } : {}) },
      y: { name: "perplexity on held-out text" },
      caption: `Lower and further left is better. Nothing tuned: ${
        basesOf(rows).map((b) => `${b.on ? `${b.on} ` : ""}${b.perplexity.toPrecision(4)}`).join(", ")
      }.`,
    },
    rows.map((r, style) => {
      const p = tunedPerplexities(r);
      return { name: r.label, style, x: [x(r)], y: [meanOf(p)], spread: [halfRange(p)] };
    }),
  );
}

/** Each base of these rows, with its perplexity before any tuning. */
function basesOf(rows: readonly TuneRow[]): { readonly on: string | undefined; readonly perplexity: number }[] {
  const first = rows.filter((r, i) => rows.findIndex((other) => other.on === r.on) === i);
  return first.map((r) => ({ on: r.on, perplexity: Math.exp(r.reports[0].heldOut?.base ?? NaN) }));
}

/** Each way with what it cost and what it brought. */
export function tuningTable(rows: readonly TuneRow[]): Table {
  return table(
    [
      "way",
      "rate",
      "trained values",
      "% of all",
      "optimizer MB",
      "resident MB",
      "s a step",
      "perplexity",
      "±",
    ],
    [
      ...basesOf(rows).map((b) => [b.on ? `${b.on}, none` : "none", null, 0, 0, 0, null, null, b.perplexity, null]),
      ...rows.map((r) => {
        const [first] = r.reports, p = tunedPerplexities(r), { values, percent, optimizerBytes } = first.cost;
        const step = meanOf(r.reports.map((x) => x.seconds.step)),
          resident = Math.max(...r.reports.map((x) => x.residentBytes));
        const cost = [r.learningRate, String(values), percent, optimizerBytes / 1e6, resident / 1e6, step];
        return [r.label, ...cost, meanOf(p), p.length > 1 ? halfRange(p) : null];
      }),
    ],
    "Rate: learning rate. ±: half the range over seeds. Resident memory is the whole process's, which never gives memory back: it grows from row to row. Perplexity is of the " +
      "values as stored, in 16 bits.",
  );
}

/** How weak columns compare with the best LoRA on the same base, in a sentence. */
export function tuningSentence(rows: readonly TuneRow[]): string {
  const best = (method: string) =>
    rows.filter((r) => r.way.method === method && r.on === undefined).sort((a, b) =>
      meanOf(tunedPerplexities(a)) - meanOf(tunedPerplexities(b))
    )[0];
  const wct = best("wct"), lora = best("lora"), base = rows[0].reports[0].heldOut?.base ?? NaN;
  if (!wct || !lora) return "Without both ways there is nothing to compare.";
  const [w, l] = [wct, lora].map((r) => meanOf(tunedPerplexities(r))),
    share = (base - Math.log(w)) / (base - Math.log(l));
  const fewer = lora.reports[0].cost.values / wct.reports[0].cost.values;
  return `${wct.label}: perplexity ${w.toPrecision(4)}; the best LoRA (${lora.label.replace("LoRA, ", "")}): ${
    l.toPrecision(4)
  }. ` +
    `The columns bring ${(100 * share).toFixed(0)} % of what it brings (in nats), with ${
      fewer.toFixed(1)
    } times fewer trained values. ` +
    `At LLaMA-7B's widths, 8 columns against rank 64 would be ${
      (llamaBlockValues("lora", 4096, 11008, 64) / llamaBlockValues("wct", 4096, 11008, 8)).toFixed(1)
    } times fewer.`;
}

/** Each text under each task's columns. */
export function swapTable(rows: readonly SwapRow[], texts: readonly string[]): Table {
  const p = (x: number) => `${(100 * x).toFixed(1)} %`;
  return table(
    ["served", ...texts.map((t) => `perplexity on ${t}`), "answered exactly", "95 % interval"],
    rows.map(({ label, perplexities, exact: e }) => [label, ...perplexities, p(e.mean), `${p(e.low)} … ${p(e.high)}`]),
    `One packed base, opened once; only the columns change. ${rows[0].exact.n} instructions, greedy decoding.`,
  );
}

/** The numbers of a comparison, for the record. */
export function tuningNumbers(rows: readonly TuneRow[]): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = Object.fromEntries(
    basesOf(rows).map((b) => [`${b.on ?? "base"}/perplexity`, relative(b.perplexity, 0.01)]),
  );
  for (const r of rows) {
    const [{ cost }] = r.reports;
    numbers[`${r.label}/perplexity`] = relative(tunedPerplexities(r), 0.02); // steps multiply what devices differ by
    numbers[`${r.label}/trained values`] = exact(cost.values);
    numbers[`${r.label}/optimizer bytes`] = exact(cost.optimizerBytes, "B");
    numbers[`${r.label}/counted peak`] = exact(Math.round(cost.peakBytes), "B");
    numbers[`${r.label}/seconds a step`] = timing(meanOf(r.reports.map((x) => x.seconds.step)));
    numbers[`${r.label}/resident`] = timing(Math.max(...r.reports.map((x) => x.residentBytes)), "B");
  }
  return numbers;
}

/** A curve that grows while a cell runs. */
export interface LiveCurve {
  /** For compareTuning: draws at most once a second. */
  readonly onPoint: (label: string, curve: readonly TunePoint[]) => void;
  /** Waits for what was drawn. */
  close(): Promise<void>;
}

/**
 * Opens a picture of training losses that updates in place in a notebook; in a terminal it draws nothing.
 *
 * @param screen for tests. @param now milliseconds, for tests.
 */
export function liveCurve(screen: Screen = openScreen(), now: () => number = () => performance.now()): LiveCurve {
  const id = `tuning-${crypto.randomUUID()}`, curves = new Map<string, readonly TunePoint[]>();
  let drawn = -Infinity, first = true, pending: Promise<void> = Promise.resolve();
  const draw = () => {
    const series = [...curves].slice(-8).map(([name, points], i) => {
      const done = points.filter((p) => p.loss !== null);
      return { name, style: i % 8, x: done.map((p) => p.step), y: done.map((p) => p.loss!) };
    }).filter((s) => s.x.length > 0);
    if (series.length === 0) return;
    const o = { title: "Training loss, live", x: { name: "step" }, y: { name: "loss", unit: "nats a token" } };
    const data = bundleOf(lineFigure(o, series)), put = first;
    first = false;
    // In order, and never throwing into the training.
    pending = pending.then(() => put ? screen.put(data, id) : screen.replace(data, id)).catch(() => {});
  };
  return {
    onPoint: (label, curve) => {
      curves.set(label, curve);
      if (screen.kind !== "notebook" || now() - drawn < 1000) return;
      drawn = now();
      draw();
    },
    close: async () => {
      if (screen.kind === "notebook") draw();
      await pending;
      await screen.drain();
    },
  };
}

/** Swapped tasks, for the record; shares of few questions jump, so they are kept for readers. */
export function swapNumbers(rows: readonly SwapRow[]): Record<string, RecordedNumber> {
  return Object.fromEntries(rows.flatMap(({ label, perplexities, exact: e }) => [
    [`${label}/perplexity of each task`, relative(perplexities, 0.03)],
    [`${label}/exact match`, {
      value: [e.mean, e.low, e.high],
      tolerance: "timing" as const,
      unit: "share, 95 % interval",
    }],
    [`${label}/instructions`, exact(e.n)],
  ]));
}
