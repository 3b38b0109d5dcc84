// Notebooks through a real Jupyter kernel: `deno task setup` runs first where it has not.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { normalizeNotebook, parseNotebook } from "../../lib/lab/notebook_format.ts";
import { type NotebookRun, runNotebook } from "../../lib/lab/notebook_run.ts";
import { runAndCompare } from "../../lib/lab/notebooks.ts";
import { ensureJupyter } from "../../lib/lab/setup.ts";

const trial = fileURLToPath(new URL("../../fixtures/trial.ipynb", import.meta.url));
const jupyter = await ensureJupyter({ onLine: console.log });

async function inTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function writeNotebook(folder: string, code: string[]): Promise<string> {
  const path = `${folder}/t.ipynb`;
  const cells = [
    { cell_type: "markdown", source: "# T" },
    ...code.map((source) => ({ cell_type: "code", source })),
  ];
  await Deno.writeTextFile(path, normalizeNotebook(JSON.stringify({ nbformat: 4, cells }), path));
  return path;
}

/** Runs cells of code in a folder without a configuration of its own. */
function runCells(cells: string[], check: (run: NotebookRun) => Promise<void> | void, budget = 60): Promise<void> {
  return inTemporaryFolder(async (folder) => {
    const path = await writeNotebook(folder, cells);
    await check(await runNotebook(path, { jupyter, out: `${folder}/out`, budget }));
  });
}

const executedCells = async (run: NotebookRun) =>
  parseNotebook(await Deno.readTextFile(run.executed), run.executed).cells;

Deno.test("a notebook runs to its end and leaves a copy, a page and a record", () =>
  inTemporaryFolder(async (out) => {
    const seen: number[] = [];
    const run = await runNotebook(trial, {
      jupyter,
      out,
      parameters: { bits: "4.01" },
      onCell: (done, total) => seen.push(done / total),
    });
    assert.equal(run.failure, null);
    assert.deepEqual(run.record?.parameters, { bits: 4.01 });
    assert.equal(seen.at(-1), 1);
    const outputs = (await executedCells(run)).flatMap((c) => c.outputs);
    const figures = outputs.filter((o) => o.kind === "data" && "application/vnd.plotly.v1+json" in o.data);
    assert.equal(figures.length, 5);
    const bars = outputs.filter((o) => o.kind === "data" && String(o.data["text/plain"]).startsWith("counting"));
    assert.equal(bars.length, 1, "a progress display is one output");
    assert.match(await Deno.readTextFile(run.page), /<div class="plot"/);
  }));

Deno.test("runAndCompare() stores a record, agrees with it, and names a number that moved", () =>
  inTemporaryFolder(async (folder) => {
    const library = (name: string) => new URL(`../../lib/lab/${name}.ts`, import.meta.url).href;
    const path = await writeNotebook(folder, [
      `const { startNotebook } = await import("${library("session")}"); var lab = startNotebook("t"); 0`,
      `const { relative } = await import("${library("record")}"); await lab.record({ ppl: relative(541.02) }); 0`,
    ]);
    const said: string[] = [];
    const options = { jupyter, out: `${folder}/out`, stored: `${folder}/stored`, say: (l: string) => said.push(l) };
    assert.match((await runAndCompare(path, options)).problems[0], /no stored record .*--write/);
    assert.match((await runAndCompare(path, { ...options, write: true })).verdict, /stored its record \(1 number\)/);
    assert.deepEqual((await runAndCompare(path, options)).problems, []);
    const stored = `${folder}/stored/t.fixture.json`;
    await Deno.writeTextFile(stored, (await Deno.readTextFile(stored)).replace("541.02", "540"));
    assert.match((await runAndCompare(path, options)).problems[0], /^ppl: 541 is off by 0\.1889 %/);
    said.length = 0;
    await runAndCompare(path, { ...options, write: true });
    assert.ok(said.some((l) => l.includes("ppl: 540 → 541.02 (0.189 %)")), said.join("\n"));
  }));

Deno.test("a failing cell is reported with its index, its message and its trace; later cells do not run", () =>
  runCells(
    ["1", "function f() {\n  throw new TypeError('no such layer');\n}\nf();", "throw new Error('later')"],
    async (run) => {
      assert.equal(run.failure?.cell, 2);
      assert.equal(run.failure?.name, "TypeError");
      assert.equal(run.failure?.message, "no such layer");
      assert.match(run.failure?.traceback ?? "", /at f \(.*:2:9\)/);
      const cells = await executedCells(run);
      assert.equal(cells[2].outputs.filter((o) => o.kind === "error").length, 1);
      assert.equal(cells[3].outputs.length, 0);
      assert.match(await Deno.readTextFile(run.page), /<strong>TypeError<\/strong>: no such layer/);
    },
  ));

Deno.test("every output arrives in its own cell, although the kernel says idle before they left", () =>
  runCells(
    ["for (let i = 0; i < 300; i++) console.log('a', i);", "for (let i = 0; i < 300; i++) console.log('b', i);"],
    async (run) => {
      const cells = await executedCells(run);
      for (const [cell, letter] of [[1, "a"], [2, "b"]] as const) {
        const text = cells[cell].outputs.map((o) => o.kind === "stream" ? o.text : "").join("");
        assert.equal(text, Array.from({ length: 300 }, (_, i) => `${letter} ${i}\n`).join(""));
      }
    },
  ));

Deno.test("a notebook that exceeds its budget is stopped in the cell that ran", () =>
  runCells(["1", "while (true);"], (run) => {
    assert.equal(run.failure?.cell, 2);
    assert.match(run.failure?.message ?? "", /3\.0 s were over/);
  }, 3));

Deno.test("a cell that ends the kernel is named", () =>
  runCells(["Deno.exit(3);"], (run) => {
    assert.equal(run.failure?.cell, 1);
    assert.match(run.failure?.message ?? "", /kernel died/);
  }));

Deno.test("a rejection nobody handled shows up and keeps the record from being written", () => {
  const session = new URL("../../lib/lab/session.ts", import.meta.url).href;
  const cells = [
    `const { startNotebook } = await import("${session}"); var lab = startNotebook("t"); 0`,
    `Promise.reject(new Error("lost in the dark")); await new Promise((r) => setTimeout(r, 50)); 0`,
    `await lab.record({});`,
  ];
  return runCells(cells, async (run) => {
    assert.equal(run.failure?.cell, 3);
    assert.match(run.failure?.message ?? "", /failed unnoticed \(unhandled rejection: Error: lost in the dark\)/);
    const shown = (await executedCells(run))[2].outputs.some((o) =>
      o.kind === "data" && String(o.data["text/plain"]).includes("lost in the dark")
    );
    assert.ok(shown);
    assert.equal(run.record, null);
  });
});
