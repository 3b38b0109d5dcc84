import assert from "node:assert/strict";
import { normalizeNotebook, notebookProblems, parseNotebook } from "../../lib/lab/notebook_format.ts";

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

Deno.test("notebookProblems() names outputs and a foreign kernel", () => {
  const problems = notebookProblems(ran, "x.ipynb").join("; ");
  assert.match(problems, /its kernel is "", not "owq-lab"/);
  assert.match(problems, /holds outputs/);
});
