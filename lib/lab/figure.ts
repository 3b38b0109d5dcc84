// Figures as plain plotly JSON in the house's style: colours that colour-blind readers tell apart, dashes, markers and patterns
// that survive a grey printer, axes with names and units, margins that hold at 400 and at 1280 pixels. No plotting library here.
import type { Matrix } from "../io/tensor.ts";
import {
  type Axis,
  axisTitle,
  type FigureOptions,
  houseLayout,
  layoutAxis,
  logTicks,
  seriesStyles,
} from "./figure_style.ts";
import { formatNumber } from "./format.ts";

/** A figure ready to be shown; `data` and `layout` are plotly's. */
export interface Figure {
  readonly kind: "figure";
  readonly title: string;
  readonly data: readonly Record<string, unknown>[];
  readonly layout: Record<string, unknown>;
  /** What to see in it, for readers; plain text. */
  readonly caption: string;
  /** The numbers in one line, for terminals, screen readers and searches. */
  readonly summary: string;
}

/** One curve or one set of points; `x` may be left out: 0, 1, 2, … */
export interface Series {
  readonly name: string;
  readonly x?: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  /** Half the height of the error bars, as long as `y`. */
  readonly spread?: ArrayLike<number>;
  /** What the pointer shows at each point. */
  readonly labels?: readonly string[];
  /** 0 to 7: fixes the look; by default known methods have their own and others take what is free. */
  readonly style?: number;
}

/**
 * Curves over a numeric axis; up to 60 points a curve are marked as well.
 *
 * @throws RangeError when x, y or spread differ in length.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lineFigure } from "./figure.ts";
 * const f = lineFigure({ title: "Perplexity", x: { name: "width", unit: "bit" }, y: { name: "perplexity" } }, [
 *   { name: "OWQ", x: [3, 4], y: [60.6, 37.6] },
 * ]);
 * assert.equal(f.summary, "Perplexity. OWQ: 60.6, 37.6 at width 3, 4 (bit)");
 * ```
 */
export function lineFigure(o: FigureOptions, series: readonly Series[]): Figure {
  return xyFigure(o, series, (s) => s.y.length <= 60 ? "lines+markers" : "lines");
}

/**
 * Points without lines.
 *
 * @throws RangeError when x, y or spread differ in length.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { scatterFigure } from "./figure.ts";
 * const f = scatterFigure({ title: "Columns", x: { name: "rank" }, y: { name: "error", log: true } }, [
 *   { name: "weak", x: [1, 2], y: [1e-3, 0] },
 * ]);
 * assert.match(f.caption, /1 value cannot be drawn/); // zero has no logarithm
 * ```
 */
export function scatterFigure(o: FigureOptions, series: readonly Series[]): Figure {
  return xyFigure(o, series, () => "markers");
}

function xyFigure(o: FigureOptions, series: readonly Series[], mode: (s: Series) => string): Figure {
  const lost = { count: 0 };
  const looks = seriesStyles(series);
  const data = series.map((s, i) => {
    const x = s.x ?? Array.from(s.y, (_, k) => k);
    sameLength(o.title, s.name, x, s.y);
    if (s.spread) sameLength(o.title, `${s.name} (spread)`, s.spread, s.y);
    const look = looks[i], m = mode(s);
    return {
      type: "scatter",
      mode: m,
      name: s.name,
      x: drawable(x, o.x, lost),
      y: drawable(s.y, o.y, lost),
      line: { color: look.colour, dash: look.dash, width: 2 },
      marker: {
        color: look.colour,
        symbol: look.marker,
        size: m === "markers" && s.y.length > 200 ? 4 : 8,
        line: { color: "white", width: 1 },
      },
      ...errorBars(s.spread, look.colour),
      ...(s.labels ? { text: s.labels, hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>" } : {}),
    };
  });
  const parts = series.map((s) => `${s.name}: ${describe(s.y)}${s.x ? ` at ${o.x.name} ${describe(s.x)}` : ""}`);
  const unit = o.x.unit && series.some((s) => s.x) ? ` (${o.x.unit})` : "";
  return finish(o, data, series.map((s) => s.name), lost.count, parts.join("; ") + unit);
}

const BLACK = "#000000", GREY = "#9A9A9A";

/** Lines of this length to either side of each value; none where no value has a spread, as with one seed. */
function errorBars(spread: ArrayLike<number> | undefined, color: string): Record<string, unknown> {
  const array = Array.from(spread ?? [], compact);
  return array.some((v) => v !== 0) ? { error_y: { type: "data", array, color, thickness: 1.5, width: 4 } } : {};
}

/**
 * Grouped bars: one group a category, one bar a series; patterns tell the series apart without colour.
 *
 * @param categories the labels on the x axis.
 * @throws RangeError when a series is not as long as the categories.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { barFigure } from "./figure.ts";
 * const o = { title: "Error", x: { name: "layer" }, y: { name: "error", unit: "%" } };
 * const f = barFigure(o, ["q", "k"], [{ name: "RTN", y: [3, 4] }, { name: "OPTQ", y: [1, 2] }]);
 * assert.equal(f.summary, "Error. RTN: q 3, k 4; OPTQ: q 1, k 2 (%)");
 * ```
 */
export function barFigure(
  o: FigureOptions,
  categories: readonly string[],
  series: readonly Omit<Series, "x">[],
): Figure {
  const lost = { count: 0 };
  const looks = seriesStyles(series);
  const data = series.map((s, i) => {
    sameLength(o.title, s.name, categories, s.y);
    const look = looks[i];
    return {
      type: "bar",
      name: s.name,
      x: categories,
      y: drawable(s.y, o.y, lost),
      marker: {
        color: look.colour,
        line: { color: look.colour, width: 1 },
        pattern: { shape: look.pattern, fgcolor: "white", fillmode: "overlay", size: 6, solidity: 0.35 },
      },
      ...errorBars(s.spread, look.colour === BLACK ? GREY : BLACK), // in its own colour the lower half would vanish
    };
  });
  const parts = series.map((s) => {
    const pairs = categories.map((c, i) => `${c} ${formatNumber(s.y[i])}`);
    return `${s.name}: ${pairs.length <= 12 ? pairs.join(", ") : describe(s.y)}`;
  });
  const f = finish(
    o,
    data,
    series.map((s) => s.name),
    lost.count,
    parts.join("; ") + (o.y.unit ? ` (${o.y.unit})` : ""),
  );
  return { ...f, layout: { ...f.layout, barmode: "group", xaxis: { ...layoutAxis(o.x), type: "category" } } };
}

/**
 * How often values fall into equal bins; the counting happens here, so that large arrays stay out of the notebook.
 *
 * @param series raw values in `y`; each series is counted over the same bins.
 * @param bins how many (default 40), over `range` (default: least to largest finite value).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { histogramFigure } from "./figure.ts";
 * const o = { title: "Row 0", x: { name: "weight" }, y: { name: "count" } };
 * const f = histogramFigure(o, [{ name: "before", y: [0, 0.1, 1] }], { bins: 2 });
 * assert.deepEqual(f.data[0].y, [2, 1]);
 * ```
 */
export function histogramFigure(
  o: FigureOptions,
  series: readonly Pick<Series, "name" | "y" | "style">[],
  h: { bins?: number; range?: readonly [number, number] } = {},
): Figure {
  const bins = h.bins ?? 40;
  let [low, high] = h.range ?? [Infinity, -Infinity];
  if (!h.range) {
    for (const s of series) {
      for (let i = 0; i < s.y.length; i++) {
        if (!Number.isFinite(s.y[i])) continue;
        low = Math.min(low, s.y[i]);
        high = Math.max(high, s.y[i]);
      }
    }
  }
  if (!(high > low)) [low, high] = Number.isFinite(low) ? [low - 0.5, low + 0.5] : [0, 1];
  const width = (high - low) / bins, lost = { count: 0 };
  const looks = seriesStyles(series);
  const data = series.map((s, i) => {
    const counts = new Array<number>(bins).fill(0);
    for (let k = 0; k < s.y.length; k++) {
      const v = s.y[k];
      if (v >= low && v <= high) counts[Math.min(bins - 1, Math.floor((v - low) / width))]++;
      else lost.count++;
    }
    const look = looks[i];
    return {
      type: "bar",
      name: s.name,
      x: counts.map((_, b) => compact(low + (b + 0.5) * width)),
      y: counts,
      width: compact(width),
      opacity: series.length > 1 ? 0.65 : 1,
      marker: {
        color: look.colour,
        line: { color: look.colour, width: 1 },
        pattern: { shape: look.pattern, fgcolor: "white", fillmode: "overlay", size: 6, solidity: 0.35 },
      },
    };
  });
  const parts = series.map((s) => `${s.name}: ${s.y.length} values`);
  const range = `; from ${formatNumber(low)} to ${formatNumber(high)}${o.x.unit ? ` ${o.x.unit}` : ""}`;
  const f = finish(o, data, series.map((s) => s.name), lost.count, parts.join("; ") + range);
  return { ...f, layout: { ...f.layout, barmode: "overlay", bargap: 0 } };
}

/**
 * A matrix as colours that also read in grey; large ones are pooled to at most 160 × 160 cells, and the caption says so.
 *
 * @param m (rows, cols); row 0 is drawn on top.
 * @param z names the values; `log` colours by their base-10 logarithm.
 * @param pool what a pooled cell shows: the largest or the mean.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { heatmapFigure } from "./figure.ts";
 * const o = { title: "|W|", x: { name: "input" }, y: { name: "output" } };
 * const f = heatmapFigure(o, { data: new Float32Array([1, 2, 3, 4]), rows: 2, cols: 2 }, { name: "magnitude" });
 * assert.deepEqual(f.data[0].z, [[1, 2], [3, 4]]);
 * ```
 */
export function heatmapFigure(o: FigureOptions, m: Matrix, z: Axis, pool: "max" | "mean" = "max"): Figure {
  const lost = { count: 0 };
  const stepY = Math.ceil(m.rows / 160), stepX = Math.ceil(m.cols / 160);
  const rows = Math.ceil(m.rows / stepY), cols = Math.ceil(m.cols / stepX);
  const values: (number | null)[][] = [];
  for (let r = 0; r < rows; r++) {
    const line: (number | null)[] = [];
    for (let c = 0; c < cols; c++) line.push(pooled(m, r * stepY, c * stepX, stepY, stepX, pool, z, lost));
    values.push(line);
  }
  const note = stepX * stepY > 1
    ? ` Each cell shows the ${pool === "max" ? "largest" : "mean"} of ${stepY} × ${stepX} values.`
    : "";
  const data = [{
    type: "heatmap",
    z: values,
    x: Array.from({ length: cols }, (_, c) => c * stepX),
    y: Array.from({ length: rows }, (_, r) => r * stepY),
    colorscale: "Cividis",
    colorbar: {
      title: { text: axisTitle({ ...z, name: z.log ? `log₁₀ ${z.name}` : z.name }), side: "right" },
      thickness: 14,
      outlinewidth: 0,
    },
  }];
  const summary = `${m.rows} × ${m.cols}, ${z.name} ${describe(m.data)}`;
  const f = finish({ ...o, caption: `${o.caption ?? ""}${note}`.trim() }, data, [], lost.count, summary);
  return { ...f, layout: { ...f.layout, yaxis: { ...layoutAxis(o.y), autorange: "reversed" } } };
}

function pooled(
  m: Matrix,
  row: number,
  col: number,
  height: number,
  width: number,
  pool: "max" | "mean",
  z: Axis,
  lost: { count: number },
): number | null {
  let best = -Infinity, sum = 0, n = 0;
  for (let r = row; r < Math.min(m.rows, row + height); r++) {
    for (let c = col; c < Math.min(m.cols, col + width); c++) {
      const v = m.data[r * m.cols + c];
      if (!Number.isFinite(v)) {
        lost.count++;
        continue;
      }
      best = Math.max(best, v);
      sum += v;
      n++;
    }
  }
  if (n === 0) return null;
  const value = pool === "max" ? best : sum / n;
  if (!z.log) return compact(value);
  if (value > 0) return compact(Math.log10(value));
  lost.count++;
  return null;
}

function finish(
  o: FigureOptions,
  data: Record<string, unknown>[],
  names: readonly string[],
  lost: number,
  numbers: string,
): Figure {
  const note = lost > 0 ? ` (${lost} ${lost === 1 ? "value" : "values"} cannot be drawn.)` : "";
  return {
    kind: "figure",
    title: o.title,
    data,
    layout: withLogTicks(houseLayout(o, names), o, data),
    caption: `${o.caption ?? ""}${note}`.trim(),
    summary: `${o.title}. ${numbers}`,
  };
}

/** The layout with `logTicks` where an axis is logarithmic, by what the traces and the guides show. */
function withLogTicks(layout: Record<string, unknown>, o: FigureOptions, data: readonly Record<string, unknown>[]) {
  const axes = (["x", "y"] as const).filter((a) => o[a].log).map((a) => {
    const shown = data.flatMap((trace) => (trace[a] ?? []) as (number | null)[]);
    const guides = (o.guides ?? []).filter((g) => g.axis === a).map((g) => g.at);
    const values = [...shown, ...guides].filter((v) => typeof v === "number");
    return [`${a}axis`, { ...layout[`${a}axis`] as object, ...logTicks(values) }];
  });
  return { ...layout, ...Object.fromEntries(axes) };
}

/** Six digits are more than a screen shows, and a third of the bytes of a float32 written in full. */
function compact(v: number): number {
  return Number(v.toPrecision(6));
}

function drawable(values: ArrayLike<number>, axis: Axis, lost: { count: number }): (number | null)[] {
  return Array.from(values, (v) => {
    if (Number.isFinite(v) && (!axis.log || v > 0)) return compact(v);
    lost.count++;
    return null;
  });
}

function describe(values: ArrayLike<number>): string {
  if (values.length <= 8) return Array.from(values, formatNumber).join(", ");
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return `${values.length} values from ${formatNumber(low)} to ${formatNumber(high)}`;
}

function sameLength(title: string, name: string, a: ArrayLike<unknown>, b: ArrayLike<unknown>): void {
  if (a.length === b.length) return;
  throw new RangeError(`figure "${title}", series "${name}": ${a.length} positions but ${b.length} values`);
}
