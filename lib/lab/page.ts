// A notebook as one HTML file that needs nothing else: opens from a disk, without a network, on a telephone and on paper.
import MarkdownIt from "markdown-it";
import { PLOTLY_MIME } from "./display.ts";
import { escapeHtml } from "./format.ts";
import type { MimeBundle, Notebook, NotebookCell, NotebookOutput } from "./notebook_format.ts";
import { sha256Hex } from "../io/digest.ts";
import { colourCode } from "./page_code.ts";
import { cleanHtml } from "./page_html.ts";
import style from "./page.css" with { type: "text" };
import script from "./page_script.js" with { type: "text" };

/** What the head of a page says about the run. */
export interface PageOptions {
  /** Such as "run on fixture, 22 November 2026"; "" for nothing. */
  readonly about?: string;
}

/**
 * Renders an executed notebook. Prose becomes HTML, code is folded, figures are drawn by a plotly.js inside the file (4.8 MB, only
 * where there is a figure). Everything a notebook holds is escaped or cut down to harmless tags, and the page's own policy lets
 * nothing but its own scripts run and nothing reach a network.
 *
 * Mathematics is written in Unicode (ŵ = s·(q − z)) and with <sub> and <sup>, which JupyterLab shows just so.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseNotebook } from "./notebook_format.ts";
 * import { renderPage } from "./page.ts";
 * const text = JSON.stringify({ nbformat: 4, cells: [{ cell_type: "markdown", source: "# Grid\n*s* <script>" }] });
 * const html = await renderPage(parseNotebook(text, "01.ipynb"));
 * assert.match(html, /<h1>Grid<\/h1>\n<p><em>s<\/em> &lt;script&gt;<\/p>/);
 * ```
 */
export async function renderPage(notebook: Notebook, o: PageOptions = {}): Promise<string> {
  const body = notebook.cells.map(renderCell).filter((h) => h !== "");
  const about = [
    o.about ? escapeHtml(o.about) : "",
    notebook.cells.some((c) => c.type === "code") ? `<button id="show-code">Show the code</button>` : "",
  ].filter((s) => s !== "").join(" · ");
  // The opening heading first, then what run this is.
  if (about !== "") body.splice(notebook.cells[0]?.type === "markdown" ? 1 : 0, 0, `<p class="about">${about}</p>`);
  const content = body.join("\n");
  const scripts = content.includes('<div class="plot"') ? [await plotlySource(), script] : [script];
  const nonce = sha256Hex(content).slice(0, 24);
  const policy = `default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'nonce-${nonce}'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${escapeHtml(notebook.title || "Notebook")}</title>
<style>
${style}</style>
</head>
<body>
<main>
${content}
</main>
${scripts.map((s) => `<script nonce="${nonce}">\n${s.replaceAll("</script", "<\\/script")}\n</script>`).join("\n")}
</body>
</html>
`;
}

/** Loaded only when a figure is there, as text: the kernel itself never runs it. */
async function plotlySource(): Promise<string> {
  const module = await import("plotly.js-dist-min/plotly.min.js", { with: { type: "text" } });
  return module.default as unknown as string;
}

function renderCell(cell: NotebookCell): string {
  if (cell.type === "markdown") return renderMarkdown(cell.source);
  if (cell.type === "raw") return `<pre>${escapeHtml(cell.source)}</pre>`;
  const outputs = mergeStreams(cell.outputs).map(renderOutput).filter((h) => h !== "");
  return [renderCode(cell.source), ...outputs].join("\n");
}

function renderCode(source: string): string {
  if (source.trim() === "") return "";
  const comment = /^\/\/ (.+)/.exec(source)?.[1] ?? "code";
  const code = `<pre><code>${colourCode(source)}</code></pre>`;
  return `<details class="code"><summary>${escapeHtml(comment)}</summary>\n${code}</details>`;
}

/** Three hundred lines of a log come as three hundred outputs. */
function mergeStreams(outputs: readonly NotebookOutput[]): NotebookOutput[] {
  const merged: NotebookOutput[] = [];
  for (const o of outputs) {
    const last = merged.at(-1);
    if (o.kind === "stream" && last?.kind === "stream" && last.name === o.name) {
      merged[merged.length - 1] = { ...last, text: last.text + o.text };
    } else merged.push(o);
  }
  return merged;
}

function renderOutput(o: NotebookOutput): string {
  if (o.kind === "stream") return `<div class="output"><pre>${escapeHtml(withoutColour(o.text))}</pre></div>`;
  if (o.kind === "error") {
    const heading = `<strong>${escapeHtml(o.name)}</strong>: ${escapeHtml(o.message)}`;
    return `<div class="output error">${heading}<pre>${escapeHtml(withoutColour(o.traceback))}</pre></div>`;
  }
  return renderBundle(o.data);
}

/** The richest form we know how to show safely. */
function renderBundle(data: MimeBundle): string {
  const text = (mime: string) => typeof data[mime] === "string" ? data[mime] : undefined;
  const output = (html: string) => `<div class="output">${html}</div>`;
  const plain = text("text/plain") ?? "";
  if (data[PLOTLY_MIME] !== undefined) {
    const json = JSON.stringify(data[PLOTLY_MIME]).replaceAll("<", "\\u003c");
    const height = Number((data[PLOTLY_MIME] as { layout?: { height?: number } }).layout?.height ?? 400);
    return output(
      `<div class="plot" role="img" aria-label="${escapeHtml(plain)}" style="min-height:${height}px"></div>` +
        `<script type="application/json">${json}</script>`,
    );
  }
  for (const mime of ["image/png", "image/jpeg"]) {
    const image = text(mime)?.replace(/\s/g, "");
    if (image && /^[A-Za-z0-9+/=]+$/.test(image)) {
      return output(`<img src="data:${mime};base64,${image}" alt="${escapeHtml(plain)}">`);
    }
  }
  const svg = text("image/svg+xml");
  // As an image: a drawing inside <img> runs no scripts.
  if (svg) return output(`<img src="data:image/svg+xml,${encodeURIComponent(svg)}" alt="${escapeHtml(plain)}">`);
  const html = text("text/html");
  if (html) return output(`<div class="scroll">${cleanHtml(html)}</div>`);
  const prose = text("text/markdown");
  if (prose) return output(renderMarkdown(prose));
  return plain === "" ? "" : output(`<pre>${escapeHtml(withoutColour(plain))}</pre>`);
}

function withoutColour(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, "");
}

const prose = new MarkdownIt({ html: false, linkify: false, typographer: false });
prose.inline.ruler.before("html_inline", "sub_sup", (state, silent) => {
  const m = /^<(\/?)(sub|sup|br)>/.exec(state.src.slice(state.pos, state.pos + 6));
  if (!m) return false;
  if (!silent) state.push("html_inline", "", 0).content = m[0];
  state.pos += m[0].length;
  return true;
});
prose.renderer.rules.fence = (tokens, i) => `<pre><code>${colourCode(tokens[i].content)}</code></pre>\n`;
prose.renderer.rules.table_open = () => '<div class="scroll"><table>\n';
prose.renderer.rules.table_close = () => "</table></div>\n";

/** Markdown as HTML; tags inside it are shown as text, except <sub>, <sup> and <br>. Pictures by address are not loaded. */
function renderMarkdown(source: string): string {
  return prose.render(source).trim();
}
