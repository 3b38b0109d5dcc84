// Executed notebooks as they are committed: with their figures as data and as static pictures, so that they are read where nothing
// runs, and pages are made from them without running again.
import { basename, join } from "node:path";
import { atomicWriteText } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import { PLOTLY_MIME } from "./display.ts";
import { type NotebookCell, notebookText, parseNotebook } from "./notebook_format.ts";
import type { NotebookRun } from "./notebook_run.ts";
import { renderPage } from "./page.ts";
import { labPaths } from "./paths.ts";
import { figurePictures } from "./pictures.ts";
import { readRecord, recordFile } from "./record.ts";

/**
 * Where the executed notebook of a model is committed: the embedded model's is the notebook itself, another's lies in a folder of
 * its name.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { storedNotebook } from "./notebook_store.ts";
 * assert.equal(storedNotebook("/n/03-owq.ipynb", "fixture"), "/n/03-owq.ipynb");
 * assert.equal(storedNotebook("/n/03-owq.ipynb", "smollm2"), "/n/smollm2/03-owq.ipynb");
 * ```
 */
export function storedNotebook(path: string, model: string): string {
  if (model === "fixture") return path;
  const name = basename(path, ".ipynb"), folder = recordFile("", model).slice(1, -".json".length);
  return join(path, "..", folder, `${name}.ipynb`);
}

/** The cells of a notebook with the outputs of a run, each figure beside its picture. */
function executedCells(cells: readonly NotebookCell[], ran: readonly NotebookCell[], pictures: readonly string[]) {
  let next = 0;
  return cells.map((cell, i) => {
    const outputs = ran[i].outputs.map((o) =>
      o.kind === "data" && o.data[PLOTLY_MIME] !== undefined
        ? { ...o, data: { ...o.data, "image/png": pictures[next++] } }
        : o
    );
    return { ...cell, outputs };
  });
}

/** A line for who opens another model's copy. */
const about = (model: string, name: string): NotebookCell => ({
  type: "markdown",
  id: "",
  source:
    `*A copy that ran on \`${model}\`, to be read. To run it: \`deno task notebooks --only ${
      name.slice(0, 2)
    } --model ` +
    `${model}\`, or the notebook one folder up.*`,
  tags: [],
  outputs: [],
});

/**
 * Commits what a run showed: the notebook `path` with the run's tables, prose and figures.
 *
 * @param path of the notebook that ran. @param run its finished run, the page included. @param model SPEC of its model.
 * @returns the file written.
 * @throws LabError "input" without a browser to draw figures, "format" where cells of the two differ.
 */
export async function storeExecuted(path: string, run: NotebookRun, model: string): Promise<string> {
  const source = parseNotebook(await Deno.readTextFile(path), path).cells.filter((c) => c.source.trim() !== "");
  const ran = parseNotebook(await Deno.readTextFile(run.executed), run.executed).cells
    .filter((c) => c.source.trim() !== "");
  if (source.length !== ran.length || source.some((c, i) => c.source.trim() !== ran[i].source.trim())) {
    throw new LabError("format", path, "was changed while it ran", "Run it again.");
  }
  const figures = ran.flatMap((c) => c.outputs).some((o) => o.kind === "data" && o.data[PLOTLY_MIME] !== undefined);
  let cells: NotebookCell[] = executedCells(source, ran, figures ? await figurePictures(run.page) : []);
  const to = storedNotebook(path, model);
  if (to !== path) {
    cells = cells.map((c) => c.type === "code" ? { ...c, source: c.source.replaceAll('"../lib/', '"../../lib/') } : c);
    cells.splice(1, 0, about(model, run.name));
    await Deno.mkdir(join(to, ".."), { recursive: true });
  }
  await atomicWriteText(to, notebookText(cells));
  return to;
}

/**
 * Makes a page from what is committed, without running anything.
 *
 * @param path of the notebook. @param model SPEC of the model. @param out folder of the page, the clone's `out` by default.
 * @returns the page's file.
 * @throws LabError "input" where no executed notebook of this model is committed.
 */
export async function storedPage(path: string, model: string, out: string = labPaths().out): Promise<string> {
  const from = storedNotebook(path, model), name = basename(path, ".ipynb");
  const text = await Deno.readTextFile(from).catch((cause) => {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    const hint = `Run it: deno task notebooks --only ${name.slice(0, 2)} --model ${model} --write`;
    throw new LabError("input", from, "is not there", hint, { cause });
  });
  const record = await readRecord(join(labPaths().storedRecords, recordFile(name, model)));
  const when = record ? ` · recorded ${record.provenance.date.slice(0, 10)}` : "";
  const page = join(out, recordFile(name, model).replace(model === "fixture" ? ".fixture.json" : ".json", ".html"));
  await Deno.mkdir(out, { recursive: true });
  await atomicWriteText(page, await renderPage(parseNotebook(text, from), { about: `model: ${model}${when}` }));
  return page;
}
