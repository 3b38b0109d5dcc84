// Jupyter's file format (nbformat 4.5) as far as the lab reads and writes it, and the form in which notebooks are committed.
import { LabError } from "../io/errors.ts";
import { PLOTLY_MIME } from "./display.ts";
import { KERNEL_NAME } from "./setup.ts";

/** Data under its MIME types; text is one string here, though files may hold a list of lines. */
export type MimeBundle = Record<string, unknown>;

/** What a cell put out. */
export type NotebookOutput =
  | { kind: "data"; data: MimeBundle; metadata: Record<string, unknown> }
  | { kind: "stream"; name: string; text: string }
  | { kind: "error"; name: string; message: string; traceback: string };

/** One cell; `source` is whole text. */
export interface NotebookCell {
  readonly type: "markdown" | "code" | "raw";
  readonly id: string;
  readonly source: string;
  readonly tags: readonly string[];
  readonly outputs: readonly NotebookOutput[];
}

/** A notebook as the lab sees it. */
export interface Notebook {
  readonly cells: readonly NotebookCell[];
  readonly kernel: string;
  readonly language: string;
  /** The text of the first heading, or "". */
  readonly title: string;
}

type Json = Record<string, unknown>;
const isObject = (v: unknown): v is Json => typeof v === "object" && v !== null && !Array.isArray(v);
const object = (v: unknown): Json => isObject(v) ? v : {};
const list = (v: unknown): unknown[] => Array.isArray(v) ? v : [];
const joined = (v: unknown): string => Array.isArray(v) ? v.map(String).join("") : typeof v === "string" ? v : "";

/**
 * Reads the text of an `.ipynb` file.
 *
 * @param label the file's name, for messages.
 * @throws LabError "format" when it is not JSON or not a notebook of format 4.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseNotebook } from "./notebook_format.ts";
 * const text = JSON.stringify({ nbformat: 4, cells: [{ cell_type: "markdown", source: ["# Hello\n", "there"] }] });
 * assert.equal(parseNotebook(text, "a.ipynb").title, "Hello");
 * ```
 */
export function parseNotebook(text: string, label: string): Notebook {
  const file = parseJson(text, label);
  if (file.nbformat !== 4 || !Array.isArray(file.cells)) {
    throw new LabError(
      "format",
      label,
      `is not a notebook of format 4 (nbformat ${file.nbformat})`,
      "Save it again in JupyterLab.",
    );
  }
  const metadata = object(file.metadata);
  const cells = file.cells.map((c, i) => parseCell(object(c), i, label));
  const heading = cells.filter((c) => c.type === "markdown").map((c) => /^#\s+(.+)$/m.exec(c.source)).find((m) => m);
  return {
    cells,
    kernel: joined(object(metadata.kernelspec).name),
    language: joined(object(metadata.language_info).name),
    title: heading?.[1].trim() ?? "",
  };
}

function parseJson(text: string, label: string): Json {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw new LabError("format", label, `is not JSON (${(cause as Error).message})`, "", { cause });
  }
  throw new LabError("format", label, "is not a JSON object");
}

function parseCell(cell: Json, index: number, label: string): NotebookCell {
  const type = cell.cell_type;
  if (type !== "markdown" && type !== "code" && type !== "raw") {
    throw new LabError("format", label, `cell ${index} is of the unknown type ${JSON.stringify(type)}`);
  }
  return {
    type,
    id: joined(cell.id),
    source: joined(cell.source),
    tags: list(object(cell.metadata).tags).map(String),
    outputs: list(cell.outputs).flatMap((o) => parseOutput(object(o))),
  };
}

function parseOutput(o: Json): NotebookOutput[] {
  switch (o.output_type) {
    case "stream":
      return [{ kind: "stream", name: joined(o.name), text: joined(o.text) }];
    case "error":
      return [{
        kind: "error",
        name: joined(o.ename),
        message: joined(o.evalue),
        traceback: list(o.traceback).map(String).join("\n"),
      }];
    case "display_data":
    case "execute_result": {
      const data = Object.fromEntries(
        Object.entries(object(o.data)).map(([mime, v]) => [mime, Array.isArray(v) && isText(mime) ? joined(v) : v]),
      );
      return [{ kind: "data", data, metadata: object(o.metadata) }];
    }
    default:
      return [];
  }
}

const isText = (mime: string) => !/json$/.test(mime);

/** Bars of progress say how long a run took, once: they are not kept. Their HTML begins so (progress.ts). */
export const PROGRESS_HTML = '<div class="owq-progress">';

/**
 * What a committed notebook keeps of a cell's outputs: tables, prose, and figures that have a static picture beside their data,
 * so that they can be read where plotly does not run. Logs, counters, progress and errors are not kept.
 */
function keptOutputs(outputs: readonly NotebookOutput[]): Json[] {
  return outputs.flatMap((o) => {
    if (o.kind !== "data") return [];
    const html = o.data["text/html"], markdown = o.data["text/markdown"], picture = o.data["image/png"];
    const figure = o.data[PLOTLY_MIME] !== undefined;
    const shown = figure ? picture : html ?? markdown ?? picture;
    if (typeof shown !== "string" || shown.startsWith(PROGRESS_HTML)) return [];
    // Where a viewer prefers HTML to pictures, the words instead of a figure would hide it.
    const data = Object.fromEntries(Object.entries(o.data).filter(([mime]) => !(figure && mime === "text/html")));
    return [{ output_type: "display_data", data, metadata: {} }];
  });
}

/**
 * The committed form of a notebook: our kernel, no counters, ids that only depend on the place, sources without spaces at line
 * ends, and of the outputs what a reader of the file should see. Two people who ran the same notebook commit the same bytes.
 *
 * @param text of an `.ipynb` file.
 * @returns the text to commit, one line a source line and one an output, so that a diff reads well.
 * @throws LabError "format" as `parseNotebook` does.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { normalizeNotebook } from "./notebook_format.ts";
 * const text = JSON.stringify({ nbformat: 4, cells: [{ cell_type: "code", execution_count: 7, source: "1 + 1" }] });
 * const normal = normalizeNotebook(text, "a.ipynb");
 * assert.equal(normal, normalizeNotebook(normal, "a.ipynb"));
 * assert.match(normal, /"execution_count": null/);
 * ```
 */
export function normalizeNotebook(text: string, label: string): string {
  return notebookText(parseNotebook(text, label).cells);
}

/** Cells in the committed form, as `normalizeNotebook` says. */
export function notebookText(all: readonly NotebookCell[]): string {
  const lines: string[] = [];
  const cells = all.filter((c) => c.source.trim() !== "").map((c, i) => ({
    cell_type: c.type,
    ...(c.type === "code" ? { execution_count: null } : {}),
    id: `cell-${String(i).padStart(2, "0")}`,
    metadata: c.tags.length > 0 ? { tags: c.tags } : {},
    ...(c.type === "code"
      ? { outputs: keptOutputs(c.outputs).map((o) => `${OUTPUT}${lines.push(JSON.stringify(o)) - 1}`) }
      : {}),
    source: sourceLines(c.source),
  }));
  const metadata = {
    kernelspec: { display_name: "OWQ lab (Deno)", language: "typescript", name: KERNEL_NAME },
    language_info: { file_extension: ".ts", mimetype: "text/x.typescript", name: "typescript" },
  };
  const text = JSON.stringify({ cells, metadata, nbformat: 4, nbformat_minor: 5 }, null, 1) + "\n";
  // Each output on one line: figures hold hundreds of numbers.
  return text.replace(/"\\u0000output (\d+)"/g, (_, i: string) => lines[Number(i)]);
}

/** Stands for an output until it is put in. Its NUL is written \u0000, which no source can be: there a backslash is doubled. */
const OUTPUT = "\0output ";

function sourceLines(source: string): string[] {
  const lines = source.trim().split("\n").map((l) => l.trimEnd());
  return lines.map((l, i) => i < lines.length - 1 ? `${l}\n` : l);
}

/**
 * What keeps a notebook from being committed as it is.
 *
 * @returns sentences; none when all is well.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { notebookProblems } from "./notebook_format.ts";
 * const text = JSON.stringify({ nbformat: 4, cells: [{ cell_type: "code", source: "1" }] });
 * assert.match(notebookProblems(text, "a.ipynb")[0], /heading/);
 * ```
 */
export function notebookProblems(text: string, label: string): string[] {
  const notebook = parseNotebook(text, label), problems: string[] = [];
  if (notebook.title === "") problems.push("it has no heading");
  if (notebook.kernel !== KERNEL_NAME) problems.push(`its kernel is "${notebook.kernel}", not "${KERNEL_NAME}"`);
  if (problems.length === 0 && normalizeNotebook(text, label) !== text) {
    problems.push(
      "it is not in the committed form: `deno task notebooks --write` makes it with pictures, `deno task check-cells --write` " +
        "drops what has none",
    );
  }
  return problems;
}
