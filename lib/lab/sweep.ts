// Many experiments through one function: finished ones are read back from disk, the rest run one after another, and whatever
// ends the process costs at most a block. Comparisons in notebooks and `owq sweep` are both this.
import { join } from "node:path";
import { atomicWriteText } from "../io/atomic.ts";
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { Progress } from "../io/progress.ts";
import { type Kernels, openKernels } from "../kernels/kernels.ts";
import {
  evaluateFinished,
  type ExperimentOptions,
  fingerprintOf,
  type OpenedExperiment,
  openExperiment,
  runOpened,
  type WindowCache,
  windowCache,
} from "./experiment.ts";
import { labPaths } from "./paths.ts";
import type { Recipe } from "./recipe.ts";
import { recipeCommand } from "./recipe_command.ts";
import type { Report } from "./report.ts";
import type { Cell, Sweep } from "./sweep_file.ts";
import { type Table, table } from "./table.ts";

/** One finished cell as a line of JSON: it says itself what it is and how it is made again. */
export interface SweepLine {
  readonly sweep: string;
  /** From 1. */
  readonly cell: number;
  /** How many the whole sweep has. */
  readonly cells: number;
  readonly label: string;
  /** The one command that makes this cell again. */
  readonly command: string;
  readonly recipe: Recipe;
  readonly report: Report;
}

/** How cells are run. */
export interface SweepOptions extends Omit<ExperimentOptions, "out" | "resume"> {
  /** Folder of all runs; out/runs by default. */
  readonly folder?: string;
  /** Tokenized texts of earlier calls; a new cache without it. */
  readonly cut?: WindowCache;
  /** Told at the beginning and the end of each cell that is not on disk: cells finished of those to do, and its label. */
  readonly onCell?: (finished: number, todo: number, label: string) => void;
  /** Called with every finished cell, those from disk first. */
  readonly onReport?: (cell: Cell, report: Report) => void | Promise<void>;
}

/**
 * The reports of some cells, in their order: read back where a finished run of exactly this is on disk, resumed where one was
 * stopped, run where it is new.
 *
 * A cell is known by the hashes of model and texts, its recipe, the lab's version and the kind of device: whatever changed, it
 * runs anew. Cells that differ in nothing but the evaluation text share one quantized model.
 *
 * @param cells what to run. @param o where and how; its signal is asked between layers and keeps all finished blocks.
 * @throws LabError as runExperiment, naming the cell; an AbortError when the signal says so.
 */
export async function runCells(cells: readonly Cell[], o: SweepOptions = {}): Promise<Report[]> {
  const cut = o.cut ?? windowCache(), kernels = await openKernels(o.device ?? "auto");
  const reports = new Map<Cell, Report>();
  const each = async (cell: Cell, work: (x: OpenedExperiment) => Promise<Report | null>) => {
    try {
      const opened = await openExperiment(cell.recipe, o, cut);
      try {
        const report = await work(opened);
        if (report) reports.set(cell, report);
        if (report) await o.onReport?.(cell, report);
      } finally {
        opened.close();
      }
    } catch (e) {
      if (!(e instanceof LabError)) throw e;
      throw new LabError(e.kind, `${cell.label}: ${e.thing}`, e.problem, e.hint, { cause: e });
    }
  };
  try {
    for (const cell of cells) await each(cell, async (x) => (await placeOf(x, kernels, o)).known);
    const todo = cells.filter((c) => !reports.has(c));
    for (const [i, cell] of todo.entries()) {
      o.signal?.throwIfAborted();
      o.onCell?.(i, todo.length, cell.label);
      await each(cell, (x) => experimentOnce(x, kernels, o));
    }
    if (todo.length > 0) o.onCell?.(todo.length, todo.length, "");
  } finally {
    kernels.close();
  }
  return cells.map((c) => reports.get(c)!);
}

/** The folder of one experiment. */
interface Place {
  /** Folder of the quantized model. */
  readonly out: string;
  /** Its report on this evaluation text. */
  readonly file: string;
  readonly known: Report | null;
}

/** Where the run of a recipe lies, and its report where it is finished. */
async function placeOf(x: OpenedExperiment, kernels: Kernels, o: SweepOptions): Promise<Place> {
  const { recipe, evaluation } = x, fingerprint = await fingerprintOf(x, kernels);
  const name = `${recipe.method}-${recipe.bits}-${sha256Hex(JSON.stringify(fingerprint)).slice(0, 16)}`;
  const out = join(o.folder ?? join(labPaths().out, "runs"), name);
  const file = join(out, `report-${evaluation.sha256.slice(0, 16)}.json`), known = await readReport(file);
  return { out, file, known: known && (known.ppl.fp !== null || o.skipFloat) ? known : null };
}

async function experimentOnce(x: OpenedExperiment, kernels: Kernels, o: SweepOptions): Promise<Report> {
  const { out, file, known } = await placeOf(x, kernels, o);
  if (known) return known; // another cell of this sweep is the same quantization and text
  const { folder: _, onCell: __, onReport: ___, cut: ____, ...options } = o;
  const quantized = await readReport(join(out, "report.json"));
  const report = quantized
    ? await evaluateFinished(x, quantized, { ...options, out })
    : await runOpened(x, kernels, { ...options, out, resume: true });
  await atomicWriteText(file, JSON.stringify(report, null, 1) + "\n");
  return report;
}

async function readReport(path: string): Promise<Report | null> {
  try {
    return JSON.parse(await Deno.readTextFile(path)) as Report;
  } catch {
    return null; // not there, or not whole: it is made again
  }
}

/** Which part of a sweep: `index` 1 … `count`. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/**
 * Reads "i/n".
 *
 * @throws LabError "input" for anything else, or i outside 1 … n.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readShard } from "./sweep.ts";
 * assert.deepEqual(readShard("2/8"), { index: 2, count: 8 });
 * ```
 */
export function readShard(text: string): Shard {
  const [, i, n] = /^(\d+)\/(\d+)$/.exec(text) ?? [], index = Number(i), count = Number(n);
  if (index >= 1 && index <= count) return { index, count };
  throw new LabError("input", "--shard", `"${text}" is not i/n`, "Such as 1/4, the first of four parts.");
}

/**
 * The cells of one shard: quantizations in turn, and all cells of one quantization in the same shard, so that no two machines
 * do the same work.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { shardOf } from "./sweep.ts";
 * import { readSweep } from "./sweep_file.ts";
 * const { cells } = readSweep('{"name": "s", "cross": {"bits": [3.1, 3.2, 3.3]}}', "s.json");
 * assert.deepEqual(shardOf(cells, { index: 1, count: 2 }).map((c) => c.recipe.bits), [3.1, 3.3]);
 * ```
 */
export function shardOf(cells: readonly Cell[], shard: Shard): Cell[] {
  const groups = new Map<string, number>();
  return cells.filter(({ recipe }) => {
    const { evaluation: _, ...quantization } = recipe, key = JSON.stringify(quantization);
    if (!groups.has(key)) groups.set(key, groups.size);
    return groups.get(key)! % shard.count === shard.index - 1;
  });
}

/**
 * Runs a sweep, or one shard of it, and keeps a file of its lines: DIR/sweeps/NAME.jsonl, with shards NAME.i-of-n.jsonl. The
 * lines of all shards, one file after the other, are the lines of the whole.
 *
 * The file is written anew after each cell, whole: what stands in it is finished.
 *
 * @param o.out DIR, `out` of the clone by default; runs lie in DIR/runs, where notebooks find them too.
 * @returns the lines in the order of their cells, and the file.
 * @throws as {@link runCells}.
 */
export async function runSweep(
  sweep: Sweep,
  o: Omit<SweepOptions, "folder"> & { readonly out?: string; readonly shard?: Shard } = {},
): Promise<{ lines: SweepLine[]; file: string }> {
  const { out = labPaths().out, shard, onReport, ...options } = o;
  const cells = shard ? shardOf(sweep.cells, shard) : sweep.cells, lines: SweepLine[] = [];
  const part = shard && shard.count > 1 ? `.${shard.index}-of-${shard.count}` : "";
  const file = join(out, "sweeps", `${sweep.name}${part}.jsonl`);
  const text = () => lines.sort((a, b) => a.cell - b.cell).map((l) => `${JSON.stringify(l)}\n`).join("");
  await Deno.mkdir(join(out, "sweeps"), { recursive: true });
  await runCells(cells, {
    ...options,
    folder: join(out, "runs"),
    onReport: async (cell, report) => {
      lines.push(lineOf(sweep, cell, report));
      await atomicWriteText(file, text());
      await onReport?.(cell, report);
    },
  });
  await atomicWriteText(file, text());
  return { lines, file };
}

function lineOf(sweep: Sweep, { cell, label, recipe }: Cell, report: Report): SweepLine {
  return { sweep: sweep.name, cell, cells: sweep.cells.length, label, command: recipeCommand(recipe), recipe, report };
}

/**
 * Reads lines of one sweep back, from one file or several joined.
 *
 * @param text lines of JSON. @param file for messages.
 * @returns lines in the order of their cells, and the cells that are still missing.
 * @throws LabError "format" for a line that is none, lines of two sweeps, or two different results for one cell.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readSweepLines } from "./sweep.ts";
 * const line = (cell: number) => JSON.stringify({ sweep: "s", cell, cells: 3, label: "", command: "", report: { ppl: {} } });
 * const { lines, missing } = readSweepLines(`${line(3)}\n${line(1)}\n`, "s.jsonl");
 * assert.deepEqual([lines.map((l) => l.cell), missing], [[1, 3], [2]]);
 * ```
 */
export function readSweepLines(text: string, file: string): { lines: SweepLine[]; missing: number[] } {
  const byCell = new Map<number, SweepLine>();
  let first: SweepLine | null = null;
  for (const [i, row] of text.split("\n").entries()) {
    if (row.trim() === "") continue;
    const line = readLine(row, `${file}: line ${i + 1}`);
    first ??= line;
    if (line.sweep !== first.sweep || line.cells !== first.cells) {
      const sweeps = `${first.sweep} (${first.cells} cells) and ${line.sweep} (${line.cells} cells)`;
      throw new LabError("format", `${file}: line ${i + 1}`, `lines of two sweeps are mixed, ${sweeps}`);
    }
    const before = byCell.get(line.cell);
    if (before && JSON.stringify(before.report.ppl) !== JSON.stringify(line.report.ppl)) {
      throw new LabError("format", `${file}: line ${i + 1}`, `cell ${line.cell} is there twice, with two results`);
    }
    byCell.set(line.cell, before ?? line);
  }
  const missing = Array.from({ length: first?.cells ?? 0 }, (_, i) => i + 1).filter((c) => !byCell.has(c));
  return { lines: [...byCell.values()].sort((a, b) => a.cell - b.cell), missing };
}

function readLine(row: string, place: string): SweepLine {
  try {
    const line = JSON.parse(row) as SweepLine;
    if (typeof line.sweep === "string" && Number.isInteger(line.cell) && line.report?.ppl) return line;
  } catch { /* said below */ }
  throw new LabError("format", place, "is no line of a sweep", "Make it with owq sweep FILE.");
}

/** Progress of one experiment as a note behind the progress over cells. */
export function progressNote(label: string, p: Progress): string {
  return p.total > 0 ? `${label}: ${p.what} ${p.done} of ${p.total} ${p.unit}` : label;
}

/** The lines as a table; each says its own text, since a sweep may cross those too. */
export function sweepTable(lines: readonly SweepLine[]): Table {
  const columns = ["cell", "label", "stored bits a weight", "perplexity", "float", "text", "weak columns", "time (s)"];
  return table(
    columns,
    lines.map(({ cell, label, report: r }) => {
      const text = r.provenance.evaluation as { label: string; windows: number; seqLen: number };
      const weak = r.layers.reduce((sum, l) => sum + l.weak.length, 0);
      const where = `${text.label}, ${text.windows} × ${text.seqLen}`;
      return [cell, label, r.bits.stored, r.ppl.quantized, r.ppl.fp, where, weak, r.seconds.quantizationWall];
    }),
    "Token perplexity. Time: calibration and quantization.",
  );
}

/** Folders of the packed models of some finished recipes, in their order. @throws LabError as openExperiment. */
export async function packedFolders(recipes: readonly Recipe[]): Promise<string[]> {
  const cut = windowCache(), kernels = await openKernels("auto"), folders: string[] = [];
  try {
    for (const recipe of recipes) {
      const opened = await openExperiment(recipe, {}, cut);
      try {
        folders.push((await placeOf(opened, kernels, {})).out);
      } finally {
        opened.close();
      }
    }
  } finally {
    kernels.close();
  }
  return folders;
}
