// Durable progress of a long run: a block is done when its file is on disk and one line of the journal says so.
// run.json holds what the run is made of; a resumed run must be made of the same, to the last hash.
import { join } from "node:path";
import { atomicWriteText, ensureWritableFolder } from "../io/atomic.ts";
import { sha256File } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { PackedEntry } from "./packed.ts";

/** What a run is made of, as flat text: compared field by field before a run is resumed. */
export type Fingerprint = Readonly<Record<string, string>>;

/** One finished block. */
export interface JournalLine {
  readonly block: number;
  /** Relative to the run's folder. */
  readonly file: string;
  readonly sha256: string;
  /** Tensor name → entry of owq_lab.json. */
  readonly layers: Readonly<Record<string, PackedEntry>>;
  /** Seconds of this block by stage. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** A run's folder, open for appending. */
export interface Journal {
  readonly folder: string;
  /** Blocks that were finished before, whole and with the hash that was noted; without gaps from block 0. */
  readonly finished: readonly JournalLine[];
  /** Notes a finished block; its file must be on disk. */
  append(line: JournalLine): Promise<void>;
}

/**
 * Opens the journal of a run, new or resumed.
 *
 * @param folder the run's folder; made where missing. @param fingerprint what the run is made of.
 * @param resume whether a run that is there may be continued.
 * @throws LabError "resume" where the folder holds a run and `resume` is false, or a run made of something else (the
 *   message names the field and both values); "storage" where the folder cannot be written.
 */
export async function openJournal(folder: string, fingerprint: Fingerprint, resume: boolean): Promise<Journal> {
  await ensureWritableFolder(folder);
  const runFile = join(folder, "run.json"), journalFile = join(folder, "journal.jsonl");
  const before = await readRun(runFile);
  if (before && !resume) {
    const hint = "Add --resume to go on with it, or choose another --out.";
    throw new LabError("resume", folder, "holds a run already", hint);
  }
  if (before) requireSame(folder, before, fingerprint);
  else await atomicWriteText(runFile, JSON.stringify(fingerprint, null, 1) + "\n");
  const finished = before ? await finishedBlocks(folder, journalFile) : [];
  return {
    folder,
    finished,
    append: async (line) => {
      using file = await Deno.open(journalFile, { create: true, append: true });
      await file.write(new TextEncoder().encode(`\n${JSON.stringify(line)}\n`)); // leading \n ends a line that a crash cut
      await file.sync();
    },
  };
}

async function readRun(path: string): Promise<Fingerprint | null> {
  try {
    return JSON.parse(await Deno.readTextFile(path)) as Fingerprint;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return null;
    const hint = "Delete the folder or choose another --out.";
    throw new LabError("resume", path, `cannot be read (${(cause as Error).message})`, hint, { cause });
  }
}

/** Compares what a run was begun with to what it has now. @throws LabError "resume" that names the field and both values. */
export function requireSame(folder: string, before: Fingerprint, now: Fingerprint): void {
  for (const field of new Set([...Object.keys(before), ...Object.keys(now)])) {
    if (before[field] === now[field]) continue;
    const problem = `was made with ${field} ${before[field] ?? "unset"}, this run has ${now[field] ?? "unset"}`;
    throw new LabError("resume", folder, problem, "Choose another --out, or give the run what it was begun with.");
  }
}

/** The journal's lines whose files are whole; a line that was cut or a file that is damaged ends the list. */
async function finishedBlocks(folder: string, journalFile: string): Promise<JournalLine[]> {
  const text = await Deno.readTextFile(journalFile).catch(() => "");
  const lines = new Map<number, JournalLine>();
  for (const row of text.split("\n")) {
    try {
      const line = JSON.parse(row) as JournalLine;
      lines.set(line.block, line);
    } catch {
      // an empty line, or one that was cut when the process was killed: that block is done again
    }
  }
  const finished: JournalLine[] = [];
  for (let block = 0; lines.has(block); block++) {
    const line = lines.get(block)!;
    const sum = await sha256File(join(folder, line.file)).catch(() => "");
    if (sum !== line.sha256) break;
    finished.push(line);
  }
  return finished;
}
