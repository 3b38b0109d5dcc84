// Showing things: by MIME bundle in a Jupyter kernel, as text in a terminal. Always await `show`: the kernel says "idle" before
// its outputs have left it, so what is not drained is lost or lands under the next cell.
import type { Figure } from "./figure.ts";
import { escapeHtml } from "./format.ts";
import type { MimeBundle } from "./notebook_format.ts";
import { type Table, tableHtml, tableText } from "./table.ts";

/** The MIME type under which JupyterLab, VS Code and our pages find a plotly figure. */
export const PLOTLY_MIME = "application/vnd.plotly.v1+json";

/** Markdown prose made by a cell. */
export interface Markdown {
  readonly kind: "markdown";
  readonly text: string;
}

/** Whatever `show` takes. */
export type Showable = Figure | Table | Markdown;

/** Where outputs go. */
export interface Screen {
  readonly kind: "notebook" | "terminal";
  /** Shows a bundle; with an id it can be replaced later by another of the same id. */
  put(data: MimeBundle, id?: string): Promise<void>;
  replace(data: MimeBundle, id: string): Promise<void>;
  /** Waits until what was put has left the kernel. */
  drain(): Promise<void>;
}

/** 50 ms let every display of a cell arrive (40 of 40 in measurements, against 19 of 40 without). */
const DRAIN_MS = 50;

/**
 * The screen of this process: the notebook in a Jupyter kernel, else standard output.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openScreen } from "./display.ts";
 * assert.equal(openScreen().kind, "terminal");
 * ```
 */
export function openScreen(): Screen {
  return inKernel() ? kernelScreen() : {
    kind: "terminal",
    put: (data) => {
      console.log(plainText(data));
      return Promise.resolve();
    },
    replace: () => Promise.resolve(), // a terminal's lines cannot be taken back; progress has its own way
    drain: () => Promise.resolve(),
  };
}

/** True inside `deno jupyter`. */
function inKernel(): boolean {
  try {
    return Deno.jupyter !== undefined;
  } catch { // reading it throws elsewhere
    return false;
  }
}

function kernelScreen(): Screen {
  const send = (type: string, data: MimeBundle, id?: string) =>
    Deno.jupyter.broadcast(type, { data, metadata: {}, transient: id === undefined ? {} : { display_id: id } });
  return {
    kind: "notebook",
    put: (data, id) => send("display_data", data, id),
    replace: (data, id) => send("update_display_data", data, id),
    drain: () => new Promise((done) => setTimeout(done, DRAIN_MS)),
  };
}

/**
 * Shows a figure, a table or Markdown, and returns when it has left the kernel.
 *
 * @param screen for tests; this process' own by default.
 * @example
 * ```ts
 * import { show } from "./display.ts";
 * import { table } from "./table.ts";
 * await show(table(["method", "perplexity"], [["OWQ 3.01", 94.63]]));
 * ```
 */
export async function show(item: Showable, screen: Screen = openScreen()): Promise<void> {
  await screen.put(bundleOf(item));
  if (item.kind !== "markdown" && item.caption !== "") {
    await screen.put({ "text/markdown": `*${escapeMarkdown(item.caption)}*`, "text/plain": item.caption });
  }
  await screen.drain();
}

/**
 * Markdown to show; interpolated values are escaped, so that a tensor's name cannot become markup.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { markdown } from "./display.ts";
 * assert.equal(markdown`**${"a_b*"}** wins`.text, "**a\\_b\\*** wins");
 * ```
 */
export function markdown(parts: TemplateStringsArray, ...values: (string | number)[]): Markdown {
  const text = parts.map((p, i) => p + (i < values.length ? escapeMarkdown(String(values[i])) : "")).join("");
  return { kind: "markdown", text };
}

function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#$|~]/g, "\\$&");
}

/**
 * The MIME bundle of an item: the richest form first, and always one line of text that states the numbers.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { bundleOf } from "./display.ts";
 * import { table } from "./table.ts";
 * assert.deepEqual(Object.keys(bundleOf(table(["a"], []))), ["text/html", "text/plain"]);
 * ```
 */
export function bundleOf(item: Showable): MimeBundle {
  switch (item.kind) {
    case "figure":
      return {
        [PLOTLY_MIME]: {
          data: item.data,
          layout: item.layout,
          config: {
            responsive: true,
            displaylogo: false,
            modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
          },
        },
        "text/html":
          `<p><strong>${
            escapeHtml(item.title)
          }</strong> is drawn by JupyterLab and by the page in out/; here are its numbers.</p>` +
          `<p>${escapeHtml(item.summary)}</p>`,
        "text/plain": item.summary,
      };
    case "table":
      return { "text/html": tableHtml(item), "text/plain": tableText(item) };
    case "markdown":
      return { "text/markdown": item.text, "text/plain": item.text };
  }
}

function plainText(data: MimeBundle): string {
  return String(data["text/plain"] ?? "");
}
