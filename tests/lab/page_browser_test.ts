// Looks at a page as a reader does: in a real browser, on a desk and on a telephone.
import assert from "node:assert/strict";
import type { Browser, Page } from "playwright-core";
import { findBrowser, openBrowser } from "../../lib/lab/browser.ts";
import {
  barFigure,
  type Figure,
  heatmapFigure,
  histogramFigure,
  lineFigure,
  scatterFigure,
} from "../../lib/lab/figure.ts";
import { bundleOf, PLOTLY_MIME } from "../../lib/lab/display.ts";
import { normalizeNotebook, notebookProblems, parseNotebook } from "../../lib/lab/notebook_format.ts";
import { storedPage, storeExecuted } from "../../lib/lab/notebook_store.ts";
import { renderPage } from "../../lib/lab/page.ts";
import { table } from "../../lib/lab/table.ts";

const browserPath = await findBrowser();
const required = Deno.env.get("OWQ_REQUIRE_BROWSER") === "1";

const axes = { x: { name: "stored bits", unit: "bit" }, y: { name: "perplexity", log: true } };
const figures: Figure[] = [
  lineFigure(
    { title: "A title that is much too long for one line on the small screen of a telephone", ...axes },
    [{ name: "RTN", x: [3, 4], y: [541, 48] }, { name: "OPTQ", x: [3, 4], y: [247, 48.5] }, {
      name: "a series with a long name",
      x: [3, 4],
      y: [94, 37],
      spread: [5, 1],
    }],
  ),
  scatterFigure({ title: "Points", ...axes }, [{ name: "weak", x: [1, 2, 3], y: [3, 2, 1] }]),
  barFigure({ title: "Bars", ...axes }, ["q_proj", "k_proj"], [{ name: "RTN", y: [1, 2] }, {
    name: "OWQ",
    y: [0.1, 1],
  }]),
  histogramFigure({ title: "Counts", x: { name: "weight" }, y: { name: "count" } }, [{ name: "w", y: [1, 2, 2, 3] }]),
  heatmapFigure(
    { title: "Colours", x: { name: "column" }, y: { name: "row" } },
    { data: Float32Array.from({ length: 600 }, (_, i) => i), rows: 20, cols: 30 },
    { name: "|w|" },
  ),
];

function notebookPage(bundles: unknown[]): Promise<string> {
  const outputs = bundles.map((data) => ({ output_type: "display_data", data, metadata: {} }));
  const cells = [
    {
      cell_type: "markdown",
      source: "# Figures\n\nA_name_without_any_space_that_goes_on_and_on_like_model.layers.0.self_attn",
    },
    { cell_type: "code", source: `const x = "${"long ".repeat(60)}";`, outputs },
  ];
  return renderPage(parseNotebook(JSON.stringify({ nbformat: 4, cells }), "figures.ipynb"));
}

async function withPage(html: string, width: number, look: (page: Page, errors: string[]) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  let browser: Browser | undefined;
  try {
    await Deno.writeTextFile(`${folder}/page.html`, html);
    browser = await openBrowser(browserPath!);
    const page = await browser.newPage({ viewport: { width, height: 900 } }), errors: string[] = [];
    page.on("pageerror", (e) => errors.push(e.message));
    page.on("console", (m) => m.type() === "error" && errors.push(m.text()));
    page.on("request", (r) => /^(file|data|blob):/.test(r.url()) || errors.push(`asks for ${r.url()}`));
    await page.goto(`file://${folder}/page.html`);
    await page.waitForTimeout(1500);
    await look(page, errors);
  } finally {
    await browser?.close();
    await Deno.remove(folder, { recursive: true });
  }
}

/** What is drawn, as plain data: runs inside the page. */
const DRAWN = `[...document.querySelectorAll(".js-plotly-plot")].map((p) => ({
  traces: p.querySelectorAll("svg .scatterlayer .trace, svg .barlayer .trace, svg .heatmaplayer image, svg .hm image").length,
  titles: [...p.querySelectorAll(".xtitle, .ytitle")].map((t) => t.textContent),
  outside: [...p.querySelectorAll(".gtitle, .xtitle, .ytitle, .legendtext, .cbaxis text")].filter((t) => {
    const a = t.getBoundingClientRect(), b = p.getBoundingClientRect();
    return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
  }).map((t) => t.textContent),
}))`;
interface Drawn {
  traces: number;
  titles: string[];
  outside: string[];
}

/** Fails unless each figure of the page is drawn whole. */
async function assertDrawn(page: Page, errors: string[], expected: readonly Figure[]): Promise<void> {
  assert.deepEqual(errors, []);
  const drawn = await page.evaluate<Drawn[]>(DRAWN);
  assert.equal(drawn.length, expected.length, `${drawn.length} of ${expected.length} figures are drawn`);
  drawn.forEach((d, i) => {
    assert.equal(d.traces, expected[i].data.length, `${expected[i].title}: ${d.traces} traces`);
    assert.equal(d.titles.length, 2, `${expected[i].title}: axes ${d.titles}`);
    assert.deepEqual(d.outside, [], `${expected[i].title}: text outside the figure`);
  });
}

/** Playwright keeps pipes and timers of its own. */
const browserTest = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, ignore: browserPath === null && !required, sanitizeOps: false, sanitizeResources: false });

for (const width of [1280, 400]) {
  browserTest(`each kind of figure is drawn, with its axes named, in a window of ${width} pixels`, async () => {
    const wide = table(Array.from({ length: 12 }, (_, i) => `column ${i}`), [Array.from({ length: 12 }, (_, i) => i)]);
    const html = await notebookPage([...figures.map(bundleOf), bundleOf(wide)]);
    await withPage(html, width, async (page, errors) => {
      await assertDrawn(page, errors, figures);
      const [inner, scroll] = await page.evaluate<number[]>("[innerWidth, document.documentElement.scrollWidth]");
      assert.ok(scroll <= inner, `the page is ${scroll} pixels wide in a window of ${inner}`);
    });
  });
}

browserTest("the test above sees a figure that was not drawn, and the page says so with its numbers", async () => {
  const broken = { ...bundleOf(figures[0]), [PLOTLY_MIME]: { data: 7, layout: null } };
  await withPage(await notebookPage([broken]), 1280, async (page, errors) => {
    await assert.rejects(assertDrawn(page, errors, [figures[0]]));
    assert.match(await page.locator(".failed-figure").innerText(), /could not be drawn .*RTN: 541, 48/);
  });
});

browserTest("the button opens all code and closes it again", async () => {
  await withPage(await notebookPage([]), 400, async (page, errors) => {
    const open = () => page.locator("details.code[open]").count();
    assert.equal(await open(), 0);
    await page.click("#show-code");
    assert.equal(await open(), 1);
    const [inner, scroll] = await page.evaluate<number[]>("[innerWidth, document.documentElement.scrollWidth]");
    assert.ok(scroll <= inner, `open code makes the page ${scroll} pixels wide`);
    await page.click("#show-code");
    assert.equal(await open(), 0);
    assert.deepEqual(errors, []);
  });
});

browserTest(
  "storeExecuted() keeps each figure with a picture of it, and storedPage() makes the page again",
  async () => {
    const folder = await Deno.makeTempDir(), path = `${folder}/01-x.ipynb`;
    try {
      const cells = (outputs: unknown[]) => [
        { cell_type: "markdown", source: "# Figures" },
        { cell_type: "code", source: 'import "../lib/lab/mod.ts";', outputs },
      ];
      const notebook = (outputs: unknown[]) => JSON.stringify({ nbformat: 4, cells: cells(outputs) });
      await Deno.writeTextFile(path, normalizeNotebook(notebook([]), path));
      const bundles = figures.map((f) => ({ output_type: "display_data", data: bundleOf(f), metadata: {} }));
      const executed = `${folder}/ran.ipynb`, page = `${folder}/ran.html`;
      await Deno.writeTextFile(executed, notebook(bundles));
      await Deno.writeTextFile(page, await renderPage(parseNotebook(notebook(bundles), executed)));
      const run = { name: "01-x", seconds: 1, failure: null, executed, page, record: null };
      for (const model of ["fixture", "smollm2"]) {
        const stored = await storeExecuted(path, run, model), text = await Deno.readTextFile(stored);
        assert.deepEqual(notebookProblems(text, stored), []);
        const outputs = parseNotebook(text, stored).cells.flatMap((c) => c.outputs);
        const pictures = outputs.map((o) =>
          o.kind === "data" ? Uint8Array.fromBase64(String(o.data["image/png"])) : null
        );
        assert.equal(pictures.length, figures.length);
        for (const [i, png] of pictures.entries()) {
          const view = new DataView(png!.buffer);
          assert.equal(view.getUint32(0), 0x89504e47, "a PNG");
          assert.deepEqual([view.getUint32(16), view.getUint32(20) > 300], [950, true], `size of picture ${i}`);
          for (const [j, other] of pictures.entries()) if (j < i) assert.notDeepEqual(png, other);
        }
        await withPage(await Deno.readTextFile(await storedPage(path, model, folder)), 1280, async (view, errors) => {
          await assertDrawn(view, errors, figures);
        });
      }
      await assert.rejects(storedPage(path, "hf:a/b", folder), /is not there.*--model hf:a\/b --write/);
      await Deno.writeTextFile(path, normalizeNotebook(notebook([]).replace("Figures", "Changed"), path));
      await assert.rejects(storeExecuted(path, run, "fixture"), /was changed while it ran/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
