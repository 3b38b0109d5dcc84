// Evaluations that survive whatever ends the process: one line of JSON each, on disk before the next one begins.
import { dirname } from "node:path";
import { LabError } from "../../io/errors.ts";
import { ensureWritableFolder, writeAll } from "../../io/atomic.ts";

/** One evaluated configuration. */
export interface Entry {
  /** The round it was proposed in, from 0. */
  readonly round: number;
  /** Bits of each linear, a digit each, in the order of choiceColumns. */
  readonly point: string;
  /** Average bits a weight, scales and zero points included. */
  readonly bits: number;
  /** Jensen–Shannon divergence from the float model, nats. */
  readonly jsd: number;
  /** AMQ's older form of it, nats. */
  readonly old: number;
  /** What the predictor had said of `jsd`, where one was asked. */
  readonly predicted?: number;
}

/** An archive, open for appending. */
export interface Archive {
  readonly file: string;
  /** In the order in which they were appended, those of earlier processes first. */
  readonly entries: readonly Entry[];
  /** Returns when the line is on disk. @throws LabError "resume" where another process has written to the file since. */
  append(entry: Entry): Promise<void>;
}

/** An entry as its line, without the line's end. Numbers are written so that they are read back to the last bit. */
export function entryLine({ round, point, bits, jsd, old, predicted }: Entry): string {
  return JSON.stringify({ round, point, bits, jsd, old, ...(predicted === undefined ? {} : { predicted }) });
}

/**
 * Reads a line; null where it is none.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { entryLine, readEntry } from "./archive.ts";
 * const entry = { round: 1, point: "2434", bits: 3.25, jsd: 0.1, old: 0.2, predicted: 0.11 };
 * assert.deepEqual(readEntry(entryLine(entry)), entry);
 * assert.equal(readEntry('{"round": 1, "poi'), null);
 * ```
 */
export function readEntry(line: string): Entry | null {
  try {
    const e = JSON.parse(line) as Partial<Entry>, number = (v: unknown) => typeof v === "number" && Number.isFinite(v);
    const whole = number(e.round) && typeof e.point === "string" && number(e.bits) && number(e.jsd) && number(e.old);
    return whole ? e as Entry : null;
  } catch {
    return null; // cut off in the middle
  }
}

/**
 * Opens an archive, new or not. What follows the last whole line, cut off when a process was killed, is removed from the file, so
 * that the file of a resumed search is byte for byte that of one that ran through.
 *
 * @param file made where missing, with its folder.
 * @throws LabError "storage" where it cannot be written, "format" for a damaged line before the last.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openArchive } from "./archive.ts";
 * const folder = await Deno.makeTempDir(), file = `${folder}/search.jsonl`;
 * await (await openArchive(file)).append({ round: 0, point: "24", bits: 3.25, jsd: 0.1, old: 0.2 });
 * await Deno.writeTextFile(file, '{"round":0,"poi', { append: true }); // the process was killed here
 * assert.deepEqual((await openArchive(file)).entries.map((e) => e.point), ["24"]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function openArchive(file: string): Promise<Archive> {
  await ensureWritableFolder(dirname(file));
  const text = await Deno.readTextFile(file).catch((e) => {
    if (e instanceof Deno.errors.NotFound) return "";
    throw e;
  });
  const end = text.lastIndexOf("\n") + 1, entries = readEntries(text.slice(0, end), file);
  let size = new TextEncoder().encode(text.slice(0, end)).length;
  if (end < text.length) await Deno.truncate(file, size);
  return {
    file,
    entries,
    append: async (entry) => {
      using opened = await Deno.open(file, { create: true, append: true });
      if ((await opened.stat()).size !== size) {
        throw new LabError("resume", file, "another process writes into it", "Run one search a folder at a time.");
      }
      const line = new TextEncoder().encode(`${entryLine(entry)}\n`);
      await writeAll(opened, line);
      await opened.sync();
      size += line.length;
      entries.push(entry);
    },
  };
}

/** The entries of whole lines. @param file for messages. @throws LabError "format" for a line that is none. */
export function readEntries(text: string, file: string): Entry[] {
  return text.split("\n").flatMap((line, i) => {
    if (line.trim() === "") return [];
    const entry = readEntry(line);
    if (entry) return [entry];
    throw new LabError("format", `${file}: line ${i + 1}`, "is no evaluation", "Remove the line and those after it.");
  });
}
