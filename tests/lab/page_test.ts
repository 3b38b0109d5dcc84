import assert from "node:assert/strict";
import { parseNotebook } from "../../lib/lab/notebook_format.ts";
import { renderPage } from "../../lib/lab/page.ts";
import { cleanHtml } from "../../lib/lab/page_html.ts";

const page = (cells: unknown[]) => renderPage(parseNotebook(JSON.stringify({ nbformat: 4, cells }), "x.ipynb"));
const output = (data: unknown) =>
  page([{ cell_type: "code", source: "x", outputs: [{ output_type: "display_data", data }] }]);

/** The page's text without its own scripts and style. */
const content = (html: string) => html.slice(html.indexOf("<main>"), html.indexOf("</main>"));

const ATTACKS = [
  `<script>alert(1)</script>`,
  `<img src=x onerror=alert(1)>`,
  `<b onmouseover="alert(1)">x</b>`,
  `<a href="javascript:alert(1)">x</a>`,
  `<svg><script>alert(1)</script></svg>`,
  `<iframe srcdoc="<script>alert(1)</script>"></iframe>`,
  `<p style="background:url(http://x)">x</p>`,
  `<<b>script>alert(1)<</b>/script>`,
  `<table><td><form action=x><input autofocus onfocus=alert(1)>`,
];

Deno.test("cleanHtml() leaves no foreign tag and no foreign attribute", () => {
  for (const attack of ATTACKS) {
    const tags = cleanHtml(attack).match(/<[^>]*>/g) ?? [];
    for (const t of tags) assert.match(t, /^<\/?(a|b|p|table|td)>$/, `${attack} left ${t}`);
  }
});

Deno.test("cleanHtml() keeps our tables and progress bars as they are", () => {
  for (
    const html of [
      `<table><thead><tr><th style="text-align:right">a &lt; b</th></tr></thead></table>`,
      `<div><progress max="4" value="1"></progress> <small>x</small></div>`,
    ]
  ) assert.equal(cleanHtml(html), html);
  assert.equal(cleanHtml("<b>open"), "<b>open</b>");
});

Deno.test("a page shows attacks as text wherever they stand", async () => {
  for (const attack of ATTACKS) {
    const html = await page([
      { cell_type: "markdown", source: `# ${attack}\n\n${attack}` },
      {
        cell_type: "code",
        source: attack,
        outputs: [
          { output_type: "stream", name: "stdout", text: attack },
          { output_type: "display_data", data: { "text/html": attack } },
          { output_type: "display_data", data: { "text/markdown": attack } },
          { output_type: "display_data", data: { "image/svg+xml": attack } },
          { output_type: "error", ename: attack, evalue: attack, traceback: [attack] },
        ],
      },
    ]);
    for (
      const bad of [
        /<script[^>]*>alert/,
        /<img src=x/,
        /<[^>]+\son\w+=/,
        /href="javascript/,
        /<iframe/,
        /<form/,
        /<svg/,
      ]
    ) {
      assert.doesNotMatch(content(html), bad, attack);
    }
  }
});

Deno.test("a page lets only its own scripts run and reaches no network", async () => {
  const html = await page([{ cell_type: "markdown", source: "# x" }]);
  const nonce = /script-src 'nonce-([0-9a-f]+)'/.exec(html)?.[1];
  assert.ok(nonce);
  for (const m of html.matchAll(/<script(?![^>]*application\/json)([^>]*)>/g)) assert.equal(m[1], ` nonce="${nonce}"`);
  assert.doesNotMatch(html, /(?:src|href)="https?:/);
});

Deno.test("a page carries plotly.js only when it has a figure, and the figure's numbers as a label", async () => {
  const plain = await output({ "text/plain": "1" });
  const figure = await output({
    "application/vnd.plotly.v1+json": { data: [{ y: [1], name: "</script><b>" }], layout: { height: 333 } },
    "text/plain": 'a "line" of numbers',
  });
  assert.ok(plain.length < 30_000 && figure.length > 3_000_000);
  assert.match(figure, /aria-label="a &quot;line&quot; of numbers" style="min-height:333px"/);
  assert.match(figure, /\\u003c\/script>\\u003cb>/);
});

Deno.test("a page joins the pieces of a log and drops colour codes", async () => {
  const stream = (text: string) => ({ output_type: "stream", name: "stdout", text });
  const html = await page([{ cell_type: "code", source: "", outputs: [stream("a\n"), stream("\x1b[31mb\x1b[0m\n")] }]);
  assert.match(html, /<pre>a\nb\n<\/pre>/);
});
