// What notebook 11 shows: time against size, predicted against measured, whole models on paper, bytes by part.
import type { ModelConfig } from "../model/config.ts";
import { estimateMemory } from "../model/memory.ts";
import {
  LAYER_STAGES,
  type LayerCost,
  type ModelTimes,
  operationsOf,
  type StoredRow,
  totalSeconds,
} from "./cost_study.ts";
import { barFigure, type Figure, lineFigure, scatterFigure } from "./figure.ts";
import { formatSeconds } from "./format.ts";
import {
  COST_SETTINGS,
  COST_STAGES,
  type CostFit,
  type CostSettings,
  fitCost,
  modelOperations,
  modelStorage,
  powerOf,
} from "./quantization_cost.ts";
import { exact, type RecordedNumber, relative, timing } from "./record.ts";
import { type Table, table } from "./table.ts";

/** The exponent of the size that each stage's count of operations has for a square layer. */
const POWERS: Readonly<Record<(typeof LAYER_STAGES)[number], number>> = {
  sensitivity: 2,
  search: 2,
  factor: 3,
  sweep: 3,
  objective: 3,
};

/** Fits of all stages of a layer, by stage. */
export type LayerFits = Readonly<Record<(typeof LAYER_STAGES)[number], CostFit>>;

/** Seconds against operations, fitted stage by stage. */
export function fitLayers(costs: readonly LayerCost[], bits: number): LayerFits {
  return Object.fromEntries(
    LAYER_STAGES.map((
      s,
    ) => [s, fitCost(costs.map((c) => ({ operations: operationsOf(c, bits)[s], seconds: c.seconds[s] })))]),
  ) as LayerFits;
}

/** Time of each stage against the layer's size. */
export function stageFigure(costs: readonly LayerCost[]): Figure {
  return lineFigure(
    {
      title: "One square layer, stage by stage",
      x: { name: "rows and columns", log: true },
      y: { name: "time", unit: "s", log: true },
      caption: "Both axes are logarithmic: a straight line is a power law, its slope the power.",
    },
    LAYER_STAGES.map((s, i) => ({
      name: s,
      style: i,
      x: costs.map((c) => c.in),
      y: costs.map((c) => c.seconds[s]),
    })),
  );
}

/** Which stage takes most of the smallest and of the largest layer, in a sentence. */
export function stageSentence(costs: readonly LayerCost[]): string {
  const most = (c: LayerCost) => {
    const stage = LAYER_STAGES.reduce((a, s) => c.seconds[s] > c.seconds[a] ? s : a);
    return `${stage} (${(100 * c.seconds[stage] / totalSeconds(c)).toFixed(0)} %)`;
  };
  const [first, last] = [costs[0], costs.at(-1)!];
  return `Most of the time of ${first.in} columns goes to ${most(first)}, of ${last.in} columns to ${
    most(last)
  }. The two ` +
    `searches together take ${share(first)} and ${share(last)}.`;
}

const share = (c: LayerCost) => `${(100 * (c.seconds.sensitivity + c.seconds.search) / totalSeconds(c)).toFixed(0)} %`;

/** Powers and rates as a table: between the two largest layers, beside what the count of operations says. */
export function stageTable(costs: readonly LayerCost[], bits: number): Table {
  const fits = fitLayers(costs, bits), [a, b] = costs.slice(-2);
  return table(
    ["stage", "operations of a layer (out, in)", "power, counted", "power, measured", "fixed (ms)", "operations (G/s)"],
    LAYER_STAGES.map((s) => [
      s,
      FORMULAS[s],
      POWERS[s],
      powerOf([a.in, b.in], [a.seconds[s], b.seconds[s]]),
      1e3 * fits[s].fixed,
      1e-9 / fits[s].perOperation,
    ]),
    `Measured power: between ${a.in} and ${b.in} columns. Fixed: what a layer takes whatever its size, and the rate above it, by ` +
      "least squares of relative errors. An operation is a multiply-add; of the two searches, one weight tried on one grid.",
  );
}

const FORMULAS: Readonly<Record<(typeof LAYER_STAGES)[number], string>> = {
  sensitivity: "out · in · 40 · 2ᵇ",
  search: "out · in · 100 · 2ᵇ",
  factor: "in³ / 6",
  sweep: "out · in² / 2",
  objective: "2 · out · in²",
};

/** Seconds that the fits give a layer. */
export function predictedSeconds(fits: LayerFits, c: Pick<LayerCost, "out" | "in">, bits: number): number {
  const counts = operationsOf(c as LayerCost, bits);
  return LAYER_STAGES.reduce((a, s) => a + fits[s].fixed + fits[s].perOperation * counts[s], 0);
}

/** A model's own layers: measured, and what the fit of made-up layers says. */
export function layerTimeFigure(times: ModelTimes, fits: LayerFits, bits: number): Figure {
  const x = times.layers.map((_, i) => i), labels = times.layers.map((l) => l.name);
  return scatterFigure(
    {
      title: "The model's own layers",
      x: { name: "layer, in the order of the model" },
      y: { name: "time", unit: "ms" },
      caption:
        "Predicted: by the formulas, with the rates of the made-up layers above. Nothing was fitted to these points.",
    },
    [
      { name: "measured", x, y: times.layers.map((l) => 1e3 * totalSeconds(l)), labels, style: 0 },
      { name: "predicted", x, y: times.layers.map((l) => 1e3 * predictedSeconds(fits, l, bits)), labels, style: 1 },
    ],
  );
}

/** How good the prediction was, in a sentence. */
export function predictionSentence(times: ModelTimes, fits: LayerFits, bits: number): string {
  const measured = times.layers.reduce((a, l) => a + totalSeconds(l), 0);
  const predicted = times.layers.reduce((a, l) => a + predictedSeconds(fits, l, bits), 0);
  return `${times.layers.length} layers took ${formatSeconds(measured)}; the formulas say ${
    formatSeconds(predicted)
  }, ${(predicted / measured).toFixed(2)} times that.`;
}

/** Seconds by stage of a whole model on this device, as the formulas have it. */
export function modelSeconds(
  c: ModelConfig,
  tokens: number,
  length: number,
  fits: LayerFits,
  per: ModelTimes["perOperation"],
  s: CostSettings = COST_SETTINGS,
): Record<(typeof COST_STAGES)[number], number> {
  const counts = modelOperations(c, tokens, length, s), layers = c.blocks * c.linears.length;
  return Object.fromEntries(COST_STAGES.map((stage) => {
    if (stage === "forward" || stage === "gram") return [stage, counts[stage] * per[stage]];
    return [stage, layers * fits[stage].fixed + counts[stage] * fits[stage].perOperation];
  })) as Record<(typeof COST_STAGES)[number], number>;
}

/** A model by name with its seconds by stage. */
export type NamedSeconds =
  readonly (readonly [name: string, seconds: Readonly<Record<(typeof COST_STAGES)[number], number>>])[];

const totalOf = (s: Readonly<Record<string, number>>) => Object.values(s).reduce((a, b) => a + b, 0);

/** Where the time of each model goes, in shares. */
export function shareOfTimeFigure(models: NamedSeconds): Figure {
  return barFigure(
    {
      title: "Where the time would go",
      x: { name: "stage" },
      y: { name: "share of the time", unit: "%" },
      caption:
        "Extrapolated from this device by counts of operations; no model of this size was run. Read: the forward passes; H: " +
        "second moments; score: sensitivity; error: the objective.",
    },
    ["read", "H", "score", "search", "factor", "sweep", "error"],
    models.map(([name, s], i) => ({ name, style: i, y: COST_STAGES.map((stage) => 100 * s[stage] / totalOf(s)) })),
  );
}

/** Whole models on paper: operations, time on this device, and the rate that the paper's time asks for. */
export function paperTable(
  models: ReadonlyMap<string, ModelConfig>,
  times: NamedSeconds,
  tokens: number,
  length: number,
): Table {
  return table(
    [
      "model (extrapolated)",
      "weights (G)",
      "reading text (T)",
      "searches (T tries)",
      "factor, sweep, error (T)",
      "time here",
    ],
    [...models].map(([name, c]) => {
      const o = modelOperations(c, tokens, length),
        weights = c.blocks * c.linears.reduce((a, l) => a + l.out * l.in, 0);
      const seconds = times.find(([n]) => n === name)![1];
      return [
        name,
        weights / 1e9,
        (o.forward + o.gram) / 1e12,
        (o.sensitivity + o.search) / 1e12,
        (o.factor + o.sweep + o.objective) / 1e12,
        daysOf(totalOf(seconds)),
      ];
    }),
    `Extrapolated, not measured: OWQ at 3 bits, ${tokens} tokens of calibration text in windows of ${length}. T: 10¹² ` +
      "multiply-adds, or levels tried.",
  );
}

const daysOf = (seconds: number) =>
  seconds > 2 * 86400 ? `${(seconds / 86400).toFixed(0)} days` : formatSeconds(seconds);

/** What the paper's three hours for 66 billion weights ask of a device, in a sentence. */
export function rateSentence(models: ReadonlyMap<string, ModelConfig>, tokens: number, length: number): string {
  const o = modelOperations(models.get("OPT-66B")!, tokens, length), hours = 3 * 3600;
  const adds = o.forward + o.gram + o.factor + o.sweep + o.objective, tries = o.sensitivity + o.search;
  return `OPT-66B in the paper's three hours, if all of the stages share them, takes ${
    (adds / hours / 1e12).toPrecision(2)
  } T multiply-adds and ${(tries / hours / 1e12).toPrecision(2)} T tried levels a second.`;
}

/** Bits a weight by part, from the plans of some recipes. */
export function bitPartsFigure(plans: readonly StoredRow[]): Figure {
  const parts = ["scales", "zeros", "weak", "indices"] as const;
  return barFigure(
    {
      title: "What is stored beside the codes",
      x: { name: "part" },
      y: { name: "bits a weight" },
      caption: "Averages over all quantized linears. The codes themselves take what the method's name says.",
    },
    ["scales", "zero points", "weak columns", "their indices"],
    plans.map(({ label, plan: { stored } }) => ({ name: label, y: parts.map((p) => stored[p] / stored.weights) })),
  );
}

/** What was counted and what the files take. */
export function fileTable(
  rows: readonly StoredRow[],
): Table {
  return table(
    [
      "model",
      "bits a weight, counted",
      "bits a weight, on disk",
      "linears (kB)",
      "the same in 16 bits (kB)",
      "all else, as it came (kB)",
    ],
    rows.map(({ label, plan: { stored }, bytes }) => [
      label,
      stored.perWeight,
      8 * bytes.blocks / stored.weights,
      bytes.blocks / 1e3,
      2 * stored.weights / 1e3,
      bytes.rest / 1e3,
    ]),
    "On disk: the packed blocks, with the headers that name their arrays. All else: embeddings, norms and head.",
  );
}

/** Peak memory by part for whole models, block after block. */
export function memoryTable(models: ReadonlyMap<string, ModelConfig>, windows: number, length: number): Table {
  const gb = (bytes: number) => bytes / 1e9;
  return table(
    [
      "model (estimated)",
      "embeddings, head (GB)",
      "two blocks (GB)",
      "hidden states (GB)",
      "inside a block (GB)",
      "Hessians (GB)",
      "peak (GB)",
      "all weights in float32 (GB)",
    ],
    [...models].map(([name, c]) => {
      const e = estimateMemory(c, { windows, length, quantize: true });
      const weights = c.blocks * c.linears.reduce((a, l) => a + l.out * l.in, 0);
      return [name, ...[e.ends, e.blocks, e.hidden, e.activations, e.hessians, e.total].map(gb), gb(4 * weights)];
    }),
    `Estimated by counting arrays in float32, ${windows} windows of ${length} tokens, one block at a time.`,
  );
}

/** The estimate for a run on this model beside what this process holds, in a sentence. */
export function memorySentence(c: ModelConfig, windows: number, length: number): string {
  const { sentence } = estimateMemory(c, { windows, length, quantize: true });
  return `Quantizing this model on ${windows} windows of ${length} tokens: ${sentence}. This process, with all that the notebook ` +
    `has done so far and the runtime itself, holds ${(Deno.memoryUsage().rss / 1e9).toFixed(2)} GB now.`;
}

/** Storage of whole models at some targets, beside 16 bits. */
export function storageTable(models: ReadonlyMap<string, ModelConfig>, targets: readonly number[]): Table {
  return table(
    [
      "model",
      "target",
      "weak columns a block",
      "stored bits",
      "linears (GB)",
      "share of 16 bits",
      "weak columns over codes",
    ],
    [...models].flatMap(([name, c]) =>
      targets.map((t) => {
        const s = modelStorage(c, t), total = s.stored.perWeight * s.stored.weights;
        return [
          name,
          t.toString(),
          s.weakColumns / c.blocks,
          s.stored.perWeight,
          total / 8e9,
          total / s.half,
          `${(100 * weakShare(c, t)).toFixed(2)} %`,
        ];
      })
    ),
    "Counted, not measured: it follows from shapes. Scales of 16 bits. Weak columns over codes: values and indices.",
  );
}

/** Bits of weak columns, indices included, over the bits of the codes. */
export function weakShare(c: ModelConfig, target: number): number {
  const { stored } = modelStorage(c, target);
  return (stored.weak + stored.indices) / stored.codes;
}

/** For a record: counts come again exactly, times are written down. */
export function costNumbers(x: {
  readonly sizes: readonly LayerCost[];
  readonly fits: LayerFits;
  readonly times: ModelTimes;
  readonly bits: number;
  readonly models: ReadonlyMap<string, ModelConfig>;
  readonly seconds: NamedSeconds;
  readonly files: readonly StoredRow[];
  readonly targets: readonly number[];
  readonly own: ModelConfig;
}): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = {};
  for (const c of x.sizes) {
    for (const s of LAYER_STAGES) numbers[`(${c.in}, ${c.in})/${s}`] = timing(c.seconds[s]);
  }
  for (const s of LAYER_STAGES) {
    numbers[`${s}/operations a second`] = timing(1 / x.fits[s].perOperation, "1/s");
    numbers[`${s}/fixed`] = timing(x.fits[s].fixed);
  }
  numbers["own layers/count"] = exact(x.times.layers.length);
  numbers["own layers/measured"] = timing(x.times.layers.reduce((a, l) => a + totalSeconds(l), 0));
  numbers["own layers/predicted"] = timing(x.times.layers.reduce((a, l) => a + predictedSeconds(x.fits, l, x.bits), 0));
  for (const [name, seconds] of x.seconds) numbers[`${name}/time here, extrapolated`] = timing(totalOf(seconds));
  for (const f of x.files) {
    numbers[`${f.label}/stored bits`] = relative(f.plan.stored.perWeight, 1e-9, "bit");
    numbers[`${f.label}/bits on disk`] = relative(8 * f.bytes.blocks / f.plan.stored.weights, 2e-3, "bit");
  }
  for (const [name, c] of [...x.models, ["this model", x.own] as const]) {
    for (const t of x.targets) {
      const s = modelStorage(c, t);
      numbers[`${name} at ${t}/weak columns`] = exact(s.weakColumns);
      numbers[`${name} at ${t}/stored bits`] = relative(s.stored.perWeight, 1e-9, "bit");
      numbers[`${name} at ${t}/weak columns over codes`] = relative(weakShare(c, t), 1e-9);
    }
  }
  return numbers;
}
