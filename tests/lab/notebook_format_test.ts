import assert from "node:assert/strict";
import { PLOTLY_MIME } from "../../lib/lab/display.ts";
import { normalizeNotebook, notebookProblems, parseNotebook } from "../../lib/lab/notebook_format.ts";
import { progress } from "../../lib/lab/progress.ts";

const file = (cells: unknown[], more = {}) => JSON.stringify({ nbformat: 4, nbformat_minor: 5, cells, ...more });
const ran = file([
  { cell_type: "markdown", source: ["# Title \n", "text"] },
  {
    cell_type: "code",
    execution_count: 3,
    id: "abc",
    metadata: { tags: ["parameters"], collapsed: true },
    outputs: [{ output_type: "stream", name: "stdout", text: ["a\n", "b\n"] }],
    source: "var a = 1;  \n\na;\n",
  },
  { cell_type: "code", source: "  ", outputs: [] },
]);

Deno.test("parseNotebook() joins lines of sources and outputs", () => {
  const n = parseNotebook(ran, "x.ipynb");
  assert.equal(n.title, "Title");
  assert.deepEqual(n.cells[1].outputs, [{ kind: "stream", name: "stdout", text: "a\nb\n" }]);
  assert.deepEqual(n.cells[1].tags, ["parameters"]);
});

Deno.test("parseNotebook() says what is wrong with a file", () => {
  assert.throws(() => parseNotebook("{", "x.ipynb"), /x\.ipynb: is not JSON/);
  assert.throws(() => parseNotebook("[]", "x.ipynb"), /not a JSON object/);
  assert.throws(() => parseNotebook('{"nbformat":3,"cells":[]}', "x.ipynb"), /format 4 \(nbformat 3\)/);
  assert.throws(() => parseNotebook(file([{ cell_type: "odd" }]), "x.ipynb"), /cell 0 .*"odd"/);
});

Deno.test("normalizeNotebook() drops outputs, counters, empty cells and spaces at line ends, keeps tags", () => {
  const text = normalizeNotebook(ran, "x.ipynb"), n = JSON.parse(text);
  assert.equal(n.cells.length, 2);
  assert.deepEqual(n.cells[1], {
    cell_type: "code",
    execution_count: null,
    id: "cell-01",
    metadata: { tags: ["parameters"] },
    outputs: [],
    source: ["var a = 1;\n", "\n", "a;"],
  });
  assert.equal(normalizeNotebook(text, "x.ipynb"), text);
  assert.deepEqual(notebookProblems(text, "x.ipynb"), []);
});

const display = (data: unknown) => ({ output_type: "display_data", data, metadata: { a: 1 } });
const figure = {
  [PLOTLY_MIME]: { data: [{ x: [1, 2] }], layout: {} },
  "text/html": "<p>words</p>",
  "text/plain": "words",
};

Deno.test("normalizeNotebook() keeps tables, prose and figures with a picture; no logs, no progress, no figure without one", async () => {
  const bars: unknown[] = [];
  const bar = progress("counting", {
    total: 2,
    unit: "x",
    screen: {
      kind: "notebook",
      put: (d) => Promise.resolve(void bars.push(d)),
      replace: () => Promise.resolve(),
      drain: () => Promise.resolve(),
    },
  });
  bar.update(1);
  await bar.finish();
  assert.equal(bars.length, 1);
  const outputs = [
    { output_type: "stream", name: "stdout", text: "log" },
    ...bars.map(display),
    display({ "text/html": "<table></table>", "text/plain": "t" }),
    display({ "text/markdown": ["a\n", "b"], "text/plain": "ab" }),
    display(figure),
    display({ ...figure, "image/png": "iVBORw0KGgo=" }),
    display({ "text/plain": "12 numbers recorded" }),
    { output_type: "error", ename: "E", evalue: "", traceback: [] },
  ];
  const text = normalizeNotebook(file([{ cell_type: "code", source: '"\\u0000output 0"', outputs }]), "x.ipynb");
  const kept = parseNotebook(text, "x.ipynb").cells[0].outputs.map((o) =>
    o.kind === "data" ? Object.keys(o.data) : o.kind
  );
  const words = "text/plain";
  assert.deepEqual(kept, [["text/html", words], ["text/markdown", words], [PLOTLY_MIME, words, "image/png"]]);
  assert.equal(parseNotebook(text, "x.ipynb").cells[0].source, '"\\u0000output 0"');
  assert.equal(normalizeNotebook(text, "x.ipynb"), text);
  assert.equal(text.split("\n").filter((l) => l.includes("display_data")).length, 3, "a line an output");
});

Deno.test("notebookProblems() names a foreign kernel, and outputs that are not kept", () => {
  assert.match(notebookProblems(ran, "x.ipynb").join("; "), /its kernel is "", not "owq-lab"/);
  const clean = JSON.parse(normalizeNotebook(ran, "x.ipynb"));
  clean.cells[1].outputs = [display(figure)];
  assert.match(notebookProblems(JSON.stringify(clean), "x.ipynb").join("; "), /not in the committed form.*--write/);
});
