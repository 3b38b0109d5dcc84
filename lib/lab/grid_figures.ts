// The pictures of notebook 01: a row of weights on its grid, and what range, zero point and bits cost.
import type { Matrix } from "../io/tensor.ts";
import type { GroupError, WidthError, WidthPerplexity } from "./grid_cost.ts";
import { bestPoint, type Grid, gridLevels, type RangePoint, staircase, surfaceMinimum } from "./grid_study.ts";
import { type Figure, heatmapFigure, histogramFigure, lineFigure } from "./figure.ts";
import { formatNumber } from "./format.ts";

const ends = (row: Matrix): [number, number] => [Math.min(...row.data), Math.max(...row.data)];

/** The function from a weight to its rounded value, one staircase a grid, beside the diagonal "not rounded". */
export function staircaseFigure(row: Matrix, grids: Readonly<Record<string, Grid>>, label: string): Figure {
  const [low, high] = ends(row);
  return unmarked(lineFigure(
    {
      title: `From a weight to its code and back: ${label}`,
      x: { name: "weight w" },
      y: { name: "rounded weight ŵ" },
      caption: "Each flat piece is one code. Where the staircase ends in a long flat piece, weights are clipped.",
    },
    [
      { name: "not rounded", x: [low, high], y: [low, high], style: 7 },
      ...Object.entries(grids).map(([name, g], i) => {
        const s = staircase(g, low, high);
        return { name, x: s.weight, y: s.rounded, style: i };
      }),
    ],
  ));
}

/** The error w − ŵ over w: teeth of half a step inside the grid, a ramp beyond its ends. */
export function errorFigure(row: Matrix, grids: Readonly<Record<string, Grid>>, label: string): Figure {
  const [low, high] = ends(row);
  return unmarked(lineFigure(
    {
      title: `The error of each weight: ${label}`,
      x: { name: "weight w" },
      y: { name: "error w − ŵ" },
      caption: "Inside the grid the error is at most half a step. Beyond its ends it grows without bound.",
    },
    Object.entries(grids).map(([name, g], i) => {
      const s = staircase(g, low, high);
      return { name, x: s.weight, y: s.error, style: i };
    }),
  ));
}

/** How the weights of a row are spread, with the levels of a grid as lines. */
export function rowFigure(row: Matrix, g: Grid, label: string): Figure {
  const levels = gridLevels(g);
  return histogramFigure(
    {
      title: `The weights of ${label} and the levels of their grid`,
      x: { name: "weight" },
      y: { name: "number of weights" },
      caption: `${row.cols} weights, ${levels.length} levels (dotted). Most weights are small; a few reach far out.`,
      guides: levels.slice(0, 16).map((at) => ({ axis: "x" as const, at })),
    },
    [{ name: "weights", y: row.data, style: 6 }],
    { bins: 60 },
  );
}

/** Error of a row against the share of its range that the grid covers, one curve a width; the best of each is in its name. */
export function rangeFigure(curves: ReadonlyMap<number, readonly RangePoint[]>, label: string): Figure {
  return lineFigure(
    {
      title: `How wide should the grid be? ${label}`,
      x: { name: "share of the range covered", unit: "%" },
      y: { name: "squared error", unit: "% of ‖w‖²", log: true },
      caption: "At the left most weights are clipped, at the right the steps are coarse. The fewer the bits, " +
        "the more is won by cutting off the ends.",
    },
    [...curves].map(([bits, points]) => ({
      name: `${bits} bits, best at ${formatNumber(100 * bestPoint(points).share)} %`,
      x: points.map((p) => 100 * p.share),
      y: points.map((p) => 100 * p.total),
    })),
  );
}

/** The two parts of the error of a row: rounding falls where clipping grows. */
export function partsFigure(points: readonly RangePoint[], label: string): Figure {
  const best = bestPoint(points), most = Math.max(3 * best.total, 1.1 * points.at(-1)!.total);
  const shown = points.filter((p) => p.total <= 1.5 * most), x = shown.map((p) => 100 * p.share);
  const curve = (name: string, part: "rounding" | "clipping" | "total", style: number) => ({
    name,
    x,
    y: shown.map((p) => 100 * p[part]),
    style,
  });
  return lineFigure(
    {
      title: `Rounding against clipping at ${best.grid.bits} bits: ${label}`,
      x: { name: "share of the range covered", unit: "%" },
      y: { name: "squared error", unit: "% of ‖w‖²", range: [0, 100 * most] },
      guides: [{ axis: "x", at: 100 * best.share, label: `best: ${formatNumber(100 * best.share)} %` }],
      caption: `At the best range ${best.clipped} of the row's weights are clipped.`,
    },
    [curve("both", "total", 4), curve("rounding", "rounding", 0), curve("clipping", "clipping", 1)],
  );
}

/** The loss over range and zero point, the landscape of the grid search. */
export function surfaceFigure(surface: Matrix, label: string): Figure {
  const best = surfaceMinimum(surface), steps = surface.rows - 1;
  return heatmapFigure(
    {
      title: `The landscape of the grid search: ${label}`,
      x: { name: "zero point (the code that means 0)" },
      y: { name: "range covered", unit: steps === 100 ? "%" : `1/${steps}` },
      caption: `Dark is good. The search tries every cell; the best is zero point ${best.zero} at ` +
        `${formatNumber(100 * best.share)} % of the range.`,
    },
    surface,
    { name: "mean |w − ŵ|^2.4", log: true },
    "mean",
  );
}

/** Error against bits for three ways to choose the grid. */
export function widthFigure(errors: readonly WidthError[], label: string): Figure {
  const x = errors.map((e) => e.bits);
  return lineFigure(
    {
      title: `What one bit costs the weights: ${label}`,
      x: { name: "bits of a code", unit: "bit" },
      y: { name: "squared error", unit: "% of ‖w‖²", log: true },
      caption: "On this axis a straight line means: each bit divides the error by the same factor.",
    },
    [
      { name: "min–max, zero in the middle", x, y: errors.map((e) => 100 * e.symmetric), style: 7 },
      { name: "min–max, zero point free", x, y: errors.map((e) => 100 * e.minmax), style: 0 },
      { name: "searched range and zero point", x, y: errors.map((e) => 100 * e.searched), style: 1 },
    ],
  );
}

/** Error against all bits stored, one curve a group size. */
export function groupFigure(errors: readonly GroupError[], label: string): Figure {
  const sizes = [...new Set(errors.map((e) => e.groupSize))];
  return lineFigure(
    {
      title: `Groups: more grids, or more bits? ${label}`,
      x: { name: "stored bits", unit: "bit per weight" },
      y: { name: "squared error", unit: "% of ‖w‖²", log: true },
      caption:
        "Scales (32 bits each) and zero points are counted. A point further left and further down is the better bargain.",
    },
    sizes.map((size) => {
      const own = errors.filter((e) => e.groupSize === size);
      return {
        name: size === 0 ? "one grid a row" : `one grid a ${size} columns`,
        x: own.map((e) => e.stored),
        y: own.map((e) => 100 * e.error),
        labels: own.map((e) => `${e.bits} bits`),
      };
    }),
  );
}

/** Perplexity of the whole model against bits, the float model as a line. */
export function perplexityByBitsFigure(points: readonly WidthPerplexity[], float: number, label: string): Figure {
  return lineFigure(
    {
      title: `What one bit costs the model: ${label}`,
      x: { name: "bits of a code", unit: "bit" },
      y: { name: "perplexity", log: true },
      guides: [{ axis: "y", at: float, label: `float ${formatNumber(float)}` }],
      caption: "Every linear layer rounded to nearest. Lower is better; the dotted line is the model before.",
    },
    [{ name: "RTN", x: points.map((p) => p.bits), y: points.map((p) => p.perplexity) }],
  );
}

/** Corners are no measurements: lines without marks. */
function unmarked(f: Figure): Figure {
  return { ...f, data: f.data.map((d) => ({ ...d, mode: "lines" })) };
}

/**
 * How the error of weights grows when a bit is taken away.
 *
 * @returns a sentence, such as "From 4 to 3 bits the error grows 4.6-fold on the min–max grid and 3.7-fold on the searched one."
 * @throws RangeError when one of the two widths was not measured.
 */
export function bitSentence(errors: readonly WidthError[], from: number, to: number): string {
  const of = (bits: number) => {
    const e = errors.find((x) => x.bits === bits);
    if (!e) throw new RangeError(`no error was measured at ${bits} bits`);
    return e;
  };
  const [a, b] = [of(from), of(to)];
  const factor = (key: "minmax" | "searched") => (b[key] / a[key]).toFixed(1);
  return `From ${from} to ${to} bits the squared error grows ${factor("minmax")}-fold on the min–max grid and ` +
    `${factor("searched")}-fold on the searched one.`;
}

/**
 * What each width does to the model, in a sentence: "Against float: 8 bits +0.01 %, …, 2 bits +16.9 %."
 *
 * @param points in any order. @param float perplexity of the model as it is.
 */
export function perplexitySentence(points: readonly WidthPerplexity[], float: number): string {
  const change = (p: WidthPerplexity) => {
    const percent = 100 * (p.perplexity / float - 1);
    return `${p.bits} bits ${percent < 0 ? "−" : "+"}${Math.abs(percent).toPrecision(Math.abs(percent) < 1 ? 1 : 3)} %`;
  };
  const sorted = [...points].sort((a, b) => b.bits - a.bits);
  return `Perplexity against float: ${sorted.map(change).join(", ")}.`;
}
