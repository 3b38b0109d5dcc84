// The pictures and sentences of notebook 04.
import { shortTime } from "./bench/text.ts";
import type { DeviceLimits } from "./bench/types.ts";
import { barFigure, type Figure, lineFigure } from "./figure.ts";
import type { KernelStudy, ModelCost, RoofPoint, SizeCost, WeakCost } from "./kernel_study.ts";
import { exact, type RecordedNumber, relative, timing } from "./record.ts";
import { type Table, table } from "./table.ts";

/** The limits as a table. */
export function limitsTable(s: KernelStudy): Table {
  const { limits: l, gpu } = s;
  return table(
    ["limit", "measured", "by"],
    [
      ["multiply-adds", `${l.mulAddGflops.toFixed(1)} GFLOP/s`, `${l.by.mulAdd} a lane, out of registers`],
      [
        "copying",
        `${l.copyGBps.toFixed(1)} GB/s`,
        l.by.copy === "shader" ? "a shader, read + written" : "the driver, read + written",
      ],
      ["an empty dispatch", shortTime(l.dispatchSeconds), "one workgroup that does nothing"],
    ],
    `${gpu.description}.`,
  );
}

/**
 * The roof: what arithmetic and memory allow at a number of operations a byte.
 *
 * @param intensity operations a byte. @returns GFLOP/s.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { roofAt } from "./kernel_figures.ts";
 * const limits = { mulAddGflops: 100, copyGBps: 10 };
 * assert.deepEqual([roofAt(limits, 1), roofAt(limits, 50)], [10, 100]);
 * ```
 */
export function roofAt(limits: Pick<DeviceLimits, "mulAddGflops" | "copyGBps">, intensity: number): number {
  return Math.min(limits.mulAddGflops, limits.copyGBps * intensity);
}

/** Each kernel's speed under the roof. */
export function rooflineFigure(limits: DeviceLimits, points: readonly RoofPoint[]): Figure {
  const corner = limits.mulAddGflops / limits.copyGBps, at = points.map((p) => p.operations / p.bytes);
  const low = Math.min(...at, corner) / 2, high = Math.max(...at, corner) * 2;
  return lineFigure(
    {
      title: "Kernels under the roof",
      x: { name: "operations a byte that must move", log: true },
      y: { name: "speed", unit: "GFLOP/s", log: true },
      plotHeight: 380,
      caption: "The line is what the two measured limits allow: memory on its slope, arithmetic on its flat part. " +
        "A kernel touches it or lies below. The further right a point, the less memory can be the reason.",
    },
    [
      { name: "limit", x: [low, corner, high], y: [low, corner, high].map((v) => roofAt(limits, v)), style: 4 },
      ...points.map((p, i) => ({
        name: p.name,
        x: [at[i]],
        y: [p.operations / p.seconds / 1e9],
        style: [0, 1, 2, 3, 5, 6, 7][i % 7],
      })),
    ],
  );
}

/** The same in numbers. */
export function roofTable(limits: DeviceLimits, points: readonly RoofPoint[]): Table {
  return table(
    ["kernel", "time", "± (%)", "GFLOP/s", "GB/s", "of its limit (%)", "bound by"],
    points.map((p) => {
      const intensity = p.operations / p.bytes, speed = p.operations / p.seconds / 1e9;
      const round = (v: number) => Number(v.toPrecision(3));
      return [
        p.name,
        shortTime(p.seconds),
        round(100 * p.spread),
        round(speed),
        round(p.bytes / p.seconds / 1e9),
        round(100 * speed / roofAt(limits, intensity)),
        roofAt(limits, intensity) < limits.mulAddGflops ? "memory" : "arithmetic",
      ];
    }),
    "±: distance between the quartiles of the samples.",
  );
}

/** What weak columns cost, and the part of it that their bytes explain. */
export function overheadFigure(size: number, costs: readonly WeakCost[]): Figure {
  const x = costs.map((c) => c.count);
  return lineFigure(
    {
      title: `Weak columns in ${size} × ${size}, 3 bits`,
      x: { name: "weak columns" },
      y: { name: "extra", unit: "%" },
      caption:
        "Time of one vector times the layer over the same layer without weak columns, medians of rounds in turns; " +
        "bars: the standard error of that median. The other line is what is stored more.",
    },
    [
      { name: "time", x, y: costs.map((c) => 100 * (c.ratio - 1)), spread: costs.map((c) => 100 * c.error), style: 1 },
      { name: "bytes", x, y: costs.map((c) => 100 * (c.byteFloor - 1)), style: 4 },
    ],
  );
}

/** Time against the size of the layer. */
export function scalingFigure(costs: readonly SizeCost[]): Figure {
  const x = costs.map((c) => c.size), kinds = Object.keys(costs[0].seconds);
  return lineFigure(
    {
      title: "One vector times a square layer",
      x: { name: "rows and columns", log: true },
      y: { name: "time", unit: "ms", log: true },
      caption: "Both axes are logarithmic: time that grows with the number of weights is a line of slope two.",
    },
    kinds.map((name, i) => ({
      name,
      x,
      y: costs.map((c) => 1000 * c.seconds[name]),
      style: [0, 1, 7, 4][i % 4],
    })),
  );
}

/** How the time of each kind grows: the exponent between the two largest sizes. */
export function growthSentence(costs: readonly SizeCost[]): string {
  if (costs.length < 2) return "One size shows no growth.";
  const [a, b] = costs.slice(-2), kinds = Object.keys(a.seconds);
  const parts = kinds.map((k) =>
    `${k} ${(Math.log(b.seconds[k] / a.seconds[k]) / Math.log(b.size / a.size)).toFixed(2)}`
  );
  return `From ${a.size} to ${b.size} columns the time grows with this power of the size: ${parts.join(", ")}.`;
}

/** Megabytes on the device, by form. */
export function memoryFigure(model: string, costs: readonly ModelCost[]): Figure {
  const mb = (f: (c: ModelCost) => number) => costs.map((c) => f(c) / 1e6);
  return barFigure(
    { title: `Memory: ${model}`, x: { name: "weights" }, y: { name: "held", unit: "MB" } },
    costs.map((c) => c.label),
    [
      { name: "linears", y: mb((c) => c.linearBytes) },
      { name: "embeddings and head", y: mb((c) => c.endBytes) },
      { name: "all, with keys, values and scratch", y: mb((c) => c.totalBytes), style: 7 },
    ],
  );
}

/** Tokens a second, by form. */
export function speedFigure(model: string, costs: readonly ModelCost[]): Figure {
  return barFigure(
    { title: `Speed: ${model}`, x: { name: "weights" }, y: { name: "written", unit: "tokens/s" } },
    costs.map((c) => c.label),
    [{ name: "tokens a second", y: costs.map((c) => c.tokensPerSecond) }],
  );
}

/** Memory and speed in numbers. */
export function modelCostTable(costs: readonly ModelCost[]): Table {
  return table(
    [
      "weights",
      "weak columns",
      "bits stored",
      "bits held",
      "linears (MB)",
      "all (MB)",
      "tokens/s",
      "first token",
      "same text (%)",
    ],
    costs.map((c) => [
      c.label,
      c.weakColumns,
      c.stored,
      c.held,
      c.linearBytes / 1e6,
      c.totalBytes / 1e6,
      Number(c.tokensPerSecond.toPrecision(3)),
      shortTime(c.firstTokenSeconds),
      c.sameText === null ? null : 100 * c.sameText,
    ]),
    "Bits a weight of the linears, grids and weak columns counted; held: in the layout of the device's kernels, which leaves " +
      "much empty in a narrow model. Same text: the share of greedy tokens that the dequantized weights, dense, write too.",
  );
}

/** The numbers of notebook 04: bytes, bits and answers have to come again, times are kept for readers. */
export function kernelNumbers(x: {
  readonly limits: DeviceLimits;
  readonly points: readonly RoofPoint[];
  readonly costs: readonly WeakCost[];
  readonly sizes: readonly SizeCost[];
  readonly models: readonly ModelCost[];
}): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = {
    "limits/multiply-adds": timing(x.limits.mulAddGflops, "GFLOP/s"),
    "limits/copy": timing(x.limits.copyGBps, "GB/s"),
    "limits/dispatch": timing(x.limits.dispatchSeconds),
  };
  for (const p of x.points) {
    numbers[`${p.name}/bytes`] = exact(p.bytes, "bytes");
    numbers[`${p.name}/right`] = exact(p.agreement);
    numbers[`${p.name}/time`] = timing(p.seconds);
  }
  for (const c of x.costs) {
    numbers[`${c.count} weak columns/bytes`] = exact(c.bytes, "bytes");
    numbers[`${c.count} weak columns/right`] = exact(c.agreement);
    numbers[`${c.count} weak columns/time over none`] = timing(c.ratio, "");
  }
  for (const s of x.sizes) {
    for (const [kind, seconds] of Object.entries(s.seconds)) {
      numbers[`${s.size} columns, ${kind}/bytes`] = exact(s.bytes[kind], "bytes");
      numbers[`${s.size} columns, ${kind}/time`] = timing(seconds);
    }
  }
  for (const m of x.models) {
    numbers[`${m.label}/weak columns of the model`] = exact(m.weakColumns);
    numbers[`${m.label}/bits stored`] = relative(m.stored, 1e-9, "bit");
    numbers[`${m.label}/bits held`] = timing(m.held, "bit"); // the layout is the kernel's, and each device has its own
    numbers[`${m.label}/tokens a second`] = timing(m.tokensPerSecond, "tokens/s");
    numbers[`${m.label}/first token`] = timing(m.firstTokenSeconds);
    if (m.sameText !== null) numbers[`${m.label}/same text`] = relative(m.sameText, 0.25); // a near tie may fall otherwise
  }
  return numbers;
}
