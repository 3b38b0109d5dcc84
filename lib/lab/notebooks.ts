// All notebooks of the clone: run them, compare each one's record with the stored one, or store the new ones.
import { basename, join } from "node:path";
import { atomicWriteText } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import { formatSeconds } from "./format.ts";
import { type NotebookRun, type NotebookRunOptions, runNotebook } from "./notebook_run.ts";
import { storeExecuted } from "./notebook_store.ts";
import { labPaths, shortPath } from "./paths.ts";
import { progress } from "./progress.ts";
import { compareRecord, readRecord, recordFile, recordText, type RecordValue } from "./record.ts";

/** What came of one notebook; `problems` is empty when all is well. */
export interface NotebookOutcome {
  readonly run: NotebookRun;
  readonly problems: readonly string[];
  /** For people: "agrees with its record (12 numbers)". */
  readonly verdict: string;
}

/**
 * The notebooks of a folder in order of their names.
 *
 * @param only beginnings of names, such as ["03"]; all without it.
 * @throws LabError "input" when a beginning fits none.
 */
export async function findNotebooks(folder: string, only: readonly string[] = []): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (entry.isFile && entry.name.endsWith(".ipynb")) names.push(entry.name);
  }
  names.sort();
  for (const start of only) {
    if (names.some((n) => n.startsWith(start))) continue;
    throw new LabError("input", `--only ${start}`, "fits no notebook", `There are: ${names.join(", ") || "none"}.`);
  }
  return names.filter((n) => only.length === 0 || only.some((s) => n.startsWith(s))).map((n) => join(folder, n));
}

/** How `runAndCompare` treats records, beside what a run needs. */
export interface CompareOptions extends NotebookRunOptions {
  /** Store the fresh record instead of comparing it. */
  readonly write?: boolean;
  /** The folder of the stored records, the clone's by default. */
  readonly stored?: string;
  readonly say?: (line: string) => void;
}

/**
 * Runs a notebook with a progress display and judges it: a failed cell, a missing record and a number outside its tolerance are
 * problems. Runs with parameters of their own have nothing to be compared with.
 */
export async function runAndCompare(path: string, o: CompareOptions): Promise<NotebookOutcome> {
  const say = o.say ?? console.log, name = basename(path, ".ipynb");
  const display = progress(name, { total: 0, unit: "cells" });
  let run: NotebookRun;
  try {
    const onCell = (done: number, total: number) => display.onProgress({ what: name, done, total, unit: "cells" });
    run = await runNotebook(path, { ...o, onCell });
  } finally {
    await display.finish();
  }
  const { problems, verdict } = await judge(run, o, say);
  if (o.write && run.record && problems.length === 0 && Object.keys(o.parameters ?? {}).length === 0) {
    await keep(path, run, run.record.model, say);
  }
  say(`${name}: ${verdict}, ${formatSeconds(run.seconds)}, page ${shortPath(run.page)}`);
  for (const p of problems) say(`  ${p.replaceAll("\n", "\n  ")}`);
  return { run, problems, verdict };
}

/** Commits what the run showed. Without a browser the numbers are stored all the same, and the old pictures stay. */
async function keep(path: string, run: NotebookRun, model: string, say: (line: string) => void): Promise<void> {
  try {
    say(`  outputs kept in ${shortPath(await storeExecuted(path, run, model))}`);
  } catch (e) {
    if (!(e instanceof LabError) || e.kind !== "input") throw e;
    say(`  outputs not kept: ${e.message}`);
  }
}

async function judge(run: NotebookRun, o: CompareOptions, say: (line: string) => void) {
  if (run.failure) {
    const f = run.failure;
    return { verdict: `FAILED in cell ${f.cell}`, problems: [`${f.name}: ${f.message}`, f.traceback].filter((t) => t) };
  }
  const fresh = run.record;
  if (!fresh) return { verdict: "FAILED", problems: ["it wrote no record: its last cell must call lab.record(…)"] };
  const n = Object.keys(fresh.numbers).length, count = `${n} ${n === 1 ? "number" : "numbers"}`;
  if (Object.keys(o.parameters ?? {}).length > 0) {
    return { verdict: `ran with other parameters (${count})`, problems: [] };
  }
  const folder = o.stored ?? labPaths().storedRecords, path = join(folder, recordFile(run.name, fresh.model));
  const stored = await readRecord(path);
  if (o.write) {
    if (stored) { for (const line of changes(stored.numbers, fresh.numbers)) say(`  ${line}`); }
    await Deno.mkdir(folder, { recursive: true });
    await atomicWriteText(path, recordText(fresh));
    return { verdict: `stored its record (${count})`, problems: [] };
  }
  if (!stored) {
    // Only the embedded model's records are expected of everybody.
    const missing = fresh.model === "fixture" ? [`no stored record ${shortPath(path)}: write it with --write`] : [];
    return { verdict: missing.length > 0 ? "FAILED" : `ran; no stored record of ${fresh.model}`, problems: missing };
  }
  const problems = compareRecord(stored, fresh).map((d) => `${d.key}: ${d.problem}`);
  return { verdict: problems.length > 0 ? "DIFFERS from its record" : `agrees with its record (${count})`, problems };
}

type Numbers = Readonly<Record<string, { readonly value: RecordValue }>>;

function changes(stored: Numbers, fresh: Numbers): string[] {
  const shown = (v: RecordValue | undefined) => v === undefined ? "–" : JSON.stringify(v).slice(0, 60);
  return [...new Set([...Object.keys(stored), ...Object.keys(fresh)])].flatMap((key) => {
    const a = stored[key]?.value, b = fresh[key]?.value;
    if (JSON.stringify(a) === JSON.stringify(b)) return [];
    const share = typeof a === "number" && typeof b === "number" && a !== 0
      ? ` (${((b / a - 1) * 100).toFixed(3)} %)`
      : "";
    return [`${key}: ${shown(a)} → ${shown(b)}${share}`];
  });
}
