// The look of every figure. Colours: Okabe and Ito, "Color Universal Design" (2008), without the yellow that white swallows.

/** An axis: what it shows, in which unit, and whether it is logarithmic. */
export interface Axis {
  readonly name: string;
  readonly unit?: string;
  readonly log?: boolean;
  readonly range?: readonly [number, number];
}

/** A straight line across the plot, such as a threshold or a grid level. */
export interface Guide {
  readonly axis: "x" | "y";
  readonly at: number;
  readonly label?: string;
}

/** What every figure is told. */
export interface FigureOptions {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly caption?: string;
  readonly guides?: readonly Guide[];
  /** Pixels; 300 for the plot itself by default, title and legend come on top. */
  readonly plotHeight?: number;
}

/** How one series looks: each of colour, dash, marker and pattern alone is enough to tell it apart. */
export interface SeriesStyle {
  readonly colour: string;
  readonly dash: string;
  readonly marker: string;
  readonly pattern: string;
}

const STYLES: readonly SeriesStyle[] = [
  { colour: "#0072B2", dash: "solid", marker: "circle", pattern: "" },
  { colour: "#D55E00", dash: "dash", marker: "square", pattern: "/" },
  { colour: "#009E73", dash: "dot", marker: "diamond", pattern: "x" },
  { colour: "#CC79A7", dash: "dashdot", marker: "triangle-up", pattern: "." },
  { colour: "#000000", dash: "longdash", marker: "cross", pattern: "-" },
  { colour: "#E69F00", dash: "longdashdot", marker: "x", pattern: "\\" },
  { colour: "#56B4E9", dash: "10px,3px", marker: "triangle-down", pattern: "+" },
  { colour: "#7F7F7F", dash: "3px,6px", marker: "star", pattern: "|" },
];

/** A method looks the same in every figure of every notebook. */
const METHODS: readonly (readonly [start: string, style: number])[] = [
  ["float", 4],
  ["rtn", 7],
  ["optq", 0],
  ["gptq", 0],
  ["owq", 1],
];

/**
 * The looks of a figure's series: the one asked for by number, else a method's own, else the next that is free. A method that
 * comes again keeps its colour and takes the next free dash, marker and pattern.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { seriesStyles } from "./figure_style.ts";
 * const [optq, owq, again] = seriesStyles([{ name: "OPTQ 3" }, { name: "OWQ 3.01" }, { name: "OWQ 3.1" }]);
 * assert.equal(owq.colour, again.colour);
 * assert.equal(new Set([optq.dash, owq.dash, again.dash]).size, 3);
 * ```
 */
export function seriesStyles(series: readonly { readonly name: string; readonly style?: number }[]): SeriesStyle[] {
  const own = series.map((s) =>
    s.style ?? METHODS.find(([start]) => s.name.toLowerCase().startsWith(start))?.[1] ?? null
  );
  const taken = new Set<number>();
  const free = () => {
    const next = STYLES.findIndex((_, i) => !taken.has(i) && !own.includes(i));
    const style = next >= 0 ? next : taken.size % STYLES.length;
    taken.add(style);
    return STYLES[style];
  };
  return own.map((style, i) => {
    if (style === null) return free();
    const look = STYLES[style % STYLES.length];
    return own.indexOf(style) === i ? look : { ...free(), colour: look.colour };
  });
}

/**
 * An axis' title with its unit.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { axisTitle } from "./figure_style.ts";
 * assert.equal(axisTitle({ name: "time", unit: "s" }), "time (s)");
 * ```
 */
export function axisTitle(a: Axis): string {
  return a.unit ? `${a.name} (${a.unit})` : a.name;
}

const INK = "#222222", GRID = "#E3E3E3";
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";

/** One axis of plotly's layout. */
export function layoutAxis(a: Axis): Record<string, unknown> {
  return {
    title: { text: escapeMarkup(axisTitle(a)), standoff: 8 },
    type: a.log ? "log" : "-",
    ...(a.log ? { exponentformat: "power" } : {}),
    ...(a.range ? { range: a.log ? a.range.map(Math.log10) : a.range } : {}),
    automargin: true,
    gridcolor: GRID,
    zeroline: false,
    linecolor: INK,
    ticks: "outside",
    tickcolor: INK,
    ticklen: 4,
  };
}

/**
 * Ticks of a logarithmic axis with their whole numbers: plotly's own between the powers of ten are lone digits. At 1, 2, 5 and
 * their multiples by ten over up to two decades, at 1 and 3 over up to four, at 1 over up to seven; wider ranges keep plotly's
 * powers, narrower ones than two such ticks its own.
 *
 * @param values what the axis shows; what is not above 0 does not count.
 * @returns plotly's settings of the axis; {} where its own are better.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { logTicks } from "./figure_style.ts";
 * assert.deepEqual(logTicks([24, 430]), { tickvals: [20, 50, 100, 200, 500], ticktext: ["20", "50", "100", "200", "500"] });
 * assert.deepEqual(logTicks([1e-9, 1]), {});
 * assert.deepEqual(logTicks([48, 55]), {});
 * ```
 */
export function logTicks(values: readonly number[]): { tickvals?: number[]; ticktext?: string[] } {
  const shown = values.filter((v) => v > 0 && v < Infinity);
  const least = Math.min(...shown), most = Math.max(...shown), decades = Math.log10(most / least);
  if (!(decades <= 7)) return {};
  const digits = decades <= 2 ? [1, 2, 5] : decades <= 4 ? [1, 3] : [1], first = Math.floor(Math.log10(least));
  const all = Array.from({ length: 9 }, (_, k) => digits.map((d) => Number(`${d}e${first + k}`))).flat();
  // One beyond either end, for the room that plotly leaves there.
  const from = all.findLastIndex((v) => v <= least), to = all.findIndex((v) => v >= most);
  const tickvals = all.slice(Math.max(0, from), to + 1);
  if (tickvals.filter((v) => v >= least && v <= most).length < 2) return {};
  return { tickvals, ticktext: tickvals.map(tickText) };
}

/** "0.002", "500", "20k", "2M": a tick has no room for zeros. */
function tickText(v: number): string {
  if (v < 1e-4 || v >= 1e9) return v.toExponential();
  return v >= 1e6 ? `${v / 1e6}M` : v >= 1e4 ? `${v / 1e3}k` : String(v);
}

/** A title wraps by itself nowhere in plotly: 44 characters of 15 pixels fit into 400. */
const TITLE_CHARACTERS = 44;
const LINE = 20;

/**
 * The layout: a title above, the plot, the legend below it, with room for both counted for a window 400 pixels wide.
 *
 * @param names of the series, for the legend; it is left out for fewer than two.
 */
export function houseLayout(o: FigureOptions, names: readonly string[]): Record<string, unknown> {
  const title = wrap(o.title, TITLE_CHARACTERS);
  const plot = o.plotHeight ?? 300, top = 20 + title.length * LINE, axis = 62;
  const legend = names.length < 2 ? 0 : legendRows(names) * LINE;
  return {
    title: {
      text: title.map(escapeMarkup).join("<br>"),
      font: { size: 15 },
      x: 0,
      xref: "container",
      xanchor: "left",
      y: 1,
      yref: "container",
      yanchor: "top",
      pad: { l: 8, t: 8 + (title.length - 1) * LINE / 2 }, // plotly centres several lines on the first one's place
    },
    font: { family: FONT, size: 13, color: INK },
    height: top + plot + axis + legend,
    margin: { l: 60, r: 16, t: top, b: axis + legend },
    xaxis: layoutAxis(o.x),
    yaxis: layoutAxis(o.y),
    showlegend: names.length >= 2,
    legend: { orientation: "h", x: 0, xanchor: "left", y: -axis / plot, yanchor: "top", itemsizing: "constant" },
    paper_bgcolor: "white", // on a dark theme too: the ink is dark
    plot_bgcolor: "white",
    hovermode: "closest",
    ...guides(o),
  };
}

function guides(o: FigureOptions): Record<string, unknown> {
  if (!o.guides?.length) return {};
  const place = (g: { axis: "x" | "y"; at: number }) => (g.axis === "x" ? o.x : o.y).log ? Math.log10(g.at) : g.at;
  return {
    shapes: o.guides.map((g) =>
      g.axis === "x"
        ? { type: "line", xref: "x", x0: g.at, x1: g.at, yref: "paper", y0: 0, y1: 1, line: GUIDE }
        : { type: "line", yref: "y", y0: g.at, y1: g.at, xref: "paper", x0: 0, x1: 1, line: GUIDE }
    ),
    annotations: o.guides.filter((g) => g.label).map((g) => ({
      text: escapeMarkup(g.label!),
      showarrow: false,
      font: { size: 12 },
      bgcolor: "rgba(255,255,255,0.8)",
      ...(g.axis === "x"
        ? { xref: "x", x: place(g), yref: "paper", y: 1, yanchor: "top", xanchor: "left" }
        : { yref: "y", y: place(g), xref: "paper", x: 1, xanchor: "right", yanchor: "bottom" }),
    })),
  };
}

const GUIDE = { color: "#555555", width: 1.5, dash: "dot" };

function legendRows(names: readonly string[]): number {
  const widest = Math.max(...names.map((n) => n.length * 7.5 + 55)); // plotly gives every entry of a row the widest's room
  return Math.ceil(names.length / Math.max(1, Math.floor(310 / widest)));
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Plotly reads a few HTML tags in its texts; a layer's name must not become one. */
function escapeMarkup(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
