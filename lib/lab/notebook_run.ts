// Notebooks run by a real Jupyter kernel, from the first cell to the last, into out/: an executed copy, a page, a record.
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { atomicWriteText } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import { formatSeconds } from "./format.ts";
import { parseNotebook } from "./notebook_format.ts";
import { renderPage } from "./page.ts";
import { labPaths } from "./paths.ts";
import { runProcess } from "./process.ts";
import { type LabRecord, readRecord, recordFile } from "./record.ts";
import { environmentName } from "./session.ts";
import { type JupyterEnvironment, KERNEL_NAME } from "./setup.ts";

/** How to run a notebook. */
export interface NotebookRunOptions {
  readonly jupyter: JupyterEnvironment;
  /** SPEC of the model, "fixture" by default. */
  readonly model?: string;
  /** Parameters by name, instead of the notebook's own. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** The folder for the results, the clone's `out` by default. */
  readonly out?: string;
  /** Seconds for the whole notebook, 300 by default. */
  readonly budget?: number;
  readonly onCell?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Where a notebook failed; `cell` counts from 0 over all cells, prose included. */
export interface CellFailure {
  readonly cell: number;
  readonly name: string;
  readonly message: string;
  readonly traceback: string;
}

/** What a run left behind. */
export interface NotebookRun {
  readonly name: string;
  readonly seconds: number;
  readonly failure: CellFailure | null;
  /** The executed copy; it exists after a failure too, as far as the run came. */
  readonly executed: string;
  readonly page: string;
  /** The side file, null when the notebook wrote none. */
  readonly record: LabRecord | null;
}

/**
 * Runs one notebook in a fresh kernel and renders its page.
 *
 * @param path of the `.ipynb` file; cells run in its folder.
 * @returns also after a failing cell: see `failure`.
 * @throws LabError "format" for a damaged file, "input" when Jupyter itself does not start.
 */
export async function runNotebook(path: string, o: NotebookRunOptions): Promise<NotebookRun> {
  const name = basename(path, ".ipynb"), model = o.model ?? "fixture", out = o.out ?? labPaths().out;
  const source = parseNotebook(await Deno.readTextFile(path), path);
  const total = source.cells.filter((c) => c.type === "code" && c.source.trim() !== "").length;
  const records = join(out, "records"), stem = model === "fixture" ? name : recordFile(name, model).slice(0, -5);
  const executed = join(out, `${stem}.ipynb`), page = join(out, `${stem}.html`);
  await Deno.mkdir(records, { recursive: true });
  const fresh = join(records, recordFile(name, model));
  await Deno.remove(fresh).catch(() => {}); // an old one must not pass for this run's
  const begun = performance.now();
  const failure = await drive(path, executed, o, {
    ...Object.fromEntries(Object.entries(o.parameters ?? {}).map(([key, v]) => [environmentName(key), v])),
    OWQ_MODEL: model,
    OWQ_RECORDS: records,
  }, total);
  const seconds = (performance.now() - begun) / 1000;
  const notebook = parseNotebook(await Deno.readTextFile(executed), executed);
  const day = new Date().toISOString().slice(0, 10);
  const about = `model: ${model} · ${day} · ran ${formatSeconds(seconds)} with Deno ${Deno.version.deno}`;
  await atomicWriteText(page, await renderPage(notebook, { about }));
  return { name, seconds, failure, executed, page, record: await readRecord(fresh) };
}

/** Starts the Python driver and follows its events. */
async function drive(
  path: string,
  executed: string,
  o: NotebookRunOptions,
  environment: Record<string, string>,
  total: number,
): Promise<CellFailure | null> {
  const driver = fileURLToPath(new URL("./python/run_notebook.py", import.meta.url)), budget = o.budget ?? 300;
  const runtime = join(o.jupyter.venv, "runtime");
  let failure: CellFailure | null = null, ended = false, done = 0;
  const onLine = (line: string) => {
    const event = JSON.parse(line) as { event: string } & CellFailure;
    if (event.event === "done") o.onCell?.(++done, total);
    if (event.event === "end") ended = true;
    if (event.event === "error") failure = event;
    if (event.event === "timeout") {
      const message = `the notebook's ${formatSeconds(budget)} were over while this cell ran`;
      failure = { cell: event.cell, name: "TimeBudget", message, traceback: "" };
    }
  };
  await Deno.remove(executed).catch(() => {});
  const result = await runProcess(
    [o.jupyter.python, "-I", driver, path, executed, KERNEL_NAME, String(budget)],
    {
      env: { ...environment, JUPYTER_PREFER_ENV_PATH: "1", JUPYTER_RUNTIME_DIR: runtime },
      onLine,
      ...(o.signal ? { signal: o.signal } : {}),
    },
  );
  o.signal?.throwIfAborted();
  if (ended && (result.code === 0 || failure !== null)) return failure;
  const problem = result.stderr.trim().split("\n").at(-1) ?? `exit code ${result.code}`;
  throw new LabError(
    "input",
    basename(path),
    `Jupyter could not run it (${problem})`,
    "Try `deno task setup --force`.",
  );
}
