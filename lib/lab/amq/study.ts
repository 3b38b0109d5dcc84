// The folder of a study: what configurations are judged by, searches with their archives, and work handed to other processes.
//   proxy.json             model, text, bits, and the hashes of all of it
//   NAME.json, NAME.jsonl  a search: what it is, and its archive; scan.jsonl is that of the sensitivity scan
//   NAME.next.json         the open round's points that nobody has evaluated yet, for `owq amq evaluate`
//   lines/NAME.*.jsonl     what other processes evaluated
import { join } from "node:path";
import { atomicWriteText, ensureWritableFolder } from "../../io/atomic.ts";
import { LabError } from "../../io/errors.ts";
import type { MixedSpace } from "../../quant/mixed_bits.ts";
import { type Fingerprint, requireSame } from "../journal.ts";
import { AMQ_SETTINGS, amqSearch, type SearchSettings } from "./amq_search.ts";
import { type Archive, type Entry, openArchive, readEntry } from "./archive.ts";
import { greedySearch, oneShotSearch, randomSearch } from "./baselines.ts";
import type { ProxySettings } from "./proxy.ts";
import { mergeRound, openRound, type Strategy } from "./rounds.ts";
import { readScan, scanSearch } from "./scan.ts";

/** Ways to search. */
export const WAYS = ["amq", "random", "greedy", "one-shot"] as const;
export type Way = typeof WAYS[number];

/** The name of the scan's archive. */
export const SCAN = "scan";

/** What proxy.json holds. */
export interface ProxyRecord {
  readonly format: string;
  readonly settings: ProxySettings;
  readonly fingerprint: Fingerprint;
}

const PROXY_FORMAT = "owq-lab-amq-1", ROUND_FORMAT = "owq-lab-amq-round-1";

/** What a search is, in NAME.json. */
export interface SearchRecord {
  readonly way: Way;
  readonly settings: SearchSettings;
  /** Medians above which a linear is pinned; 0: none is. */
  readonly threshold: number;
  /** Places that greedy descent goes down at once. */
  readonly stride: number;
}

/** A round's missing points, self-contained: with it another machine knows what to evaluate, and by what. */
export interface RoundFile {
  readonly format: string;
  readonly name: string;
  readonly round: number;
  readonly settings: ProxySettings;
  readonly fingerprint: Fingerprint;
  readonly points: readonly string[];
}

/** What a search's settings are scaled down to where nothing else is asked: minutes on a small model. */
export function searchRecord(
  way: Way,
  o: Partial<SearchSettings> & { threshold?: number; stride?: number },
): SearchRecord {
  const { threshold = way === "amq" ? 2 : 0, stride = 1, ...settings } = o;
  return { way, settings: { ...AMQ_SETTINGS, initial: 60, rounds: 20, candidates: 8, ...settings }, threshold, stride };
}

/**
 * Reads proxy.json; null where the folder is none of a study.
 *
 * @throws LabError "format" for one of another version.
 */
export async function readProxy(out: string): Promise<ProxyRecord | null> {
  const record = await readJson<ProxyRecord>(join(out, "proxy.json"));
  if (record && record.format !== PROXY_FORMAT) {
    throw new LabError("format", join(out, "proxy.json"), `is of format ${record.format}, not ${PROXY_FORMAT}`);
  }
  return record;
}

/**
 * Notes what a study is judged by, or makes sure that it is still the same.
 *
 * @throws LabError "resume" that names the field and both values; "storage" where the folder cannot be written.
 */
export async function keepProxy(out: string, settings: ProxySettings, fingerprint: Fingerprint): Promise<void> {
  await ensureWritableFolder(out);
  const before = await readProxy(out);
  if (before) return requireSame(out, before.fingerprint, fingerprint);
  const record: ProxyRecord = { format: PROXY_FORMAT, settings, fingerprint };
  await atomicWriteText(join(out, "proxy.json"), `${JSON.stringify(record, null, 1)}\n`);
}

/**
 * Notes what a search is, or makes sure that it is still the same.
 *
 * @param wanted null: whatever the folder has. @returns what the folder has now.
 * @throws LabError "resume" where it is another one, "input" where the folder has none and none was given.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { keepSearch, searchRecord } from "./study.ts";
 * const out = await Deno.makeTempDir();
 * await keepSearch(out, "amq", searchRecord("amq", { rounds: 3 }));
 * assert.equal((await keepSearch(out, "amq", null)).settings.rounds, 3);
 * await assert.rejects(keepSearch(out, "amq", searchRecord("amq", { rounds: 4 })), /rounds 3, this run has 4/);
 * await Deno.remove(out, { recursive: true });
 * ```
 */
export async function keepSearch(out: string, name: string, wanted: SearchRecord | null): Promise<SearchRecord> {
  const path = join(out, `${name}.json`), before = await readJson<SearchRecord>(path);
  if (before && wanted) requireSame(path, flat(before), flat(wanted));
  if (before) return before;
  if (!wanted) throw new LabError("input", out, `has no search "${name}"`, "Begin one with owq amq search.");
  await ensureWritableFolder(out);
  await atomicWriteText(path, `${JSON.stringify(wanted, null, 1)}\n`);
  return wanted;
}

function flat({ settings, ...rest }: SearchRecord): Fingerprint {
  return Object.fromEntries(Object.entries({ ...rest, ...settings }).map(([k, v]) => [k, String(v)]));
}

/** The archive of a search or of the scan. */
export function studyArchive(out: string, name: string): Promise<Archive> {
  return openArchive(join(out, `${name}.jsonl`));
}

/**
 * The strategy of a search; what it needs of the scan is read from the folder.
 *
 * @param name SCAN, or a search's. @param space without pinned linears.
 * @throws LabError "input" where it needs the scan and that is not finished.
 */
export async function studyStrategy(out: string, name: string, space: MixedSpace): Promise<Strategy> {
  if (name === SCAN) return scanSearch(space);
  const record = await keepSearch(out, name, null), { way, settings } = record;
  const scan = async () => readScan(space, (await studyArchive(out, SCAN)).entries, record.threshold || Infinity);
  if (way === "random") return randomSearch(space, settings);
  if (way === "greedy") {
    return greedySearch(space, record.stride, settings.initial + settings.rounds * settings.candidates);
  }
  if (way === "one-shot") return oneShotSearch(space, await scan());
  return amqSearch({ ...space, pinned: record.threshold > 0 ? (await scan()).pinned : [] }, settings);
}

/** Whether a search asks for the scan first. */
export function needsScan({ way, threshold }: SearchRecord): boolean {
  return way === "one-shot" || (way === "amq" && threshold > 0);
}

/** Entries that other processes wrote of a search. A line that was cut off is left out: whoever wrote it was killed. */
export async function otherLines(out: string, name: string): Promise<Entry[]> {
  const folder = join(out, "lines"), files = await Array.fromAsync(Deno.readDir(folder), (e) => e.name).catch(() => []);
  const own = files.filter((f) => f.startsWith(`${name}.`) && f.endsWith(".jsonl")).sort();
  const texts = await Promise.all(own.map((f) => Deno.readTextFile(join(folder, f))));
  return texts.flatMap((t) => t.split("\n").flatMap((line) => readEntry(line) ?? []));
}

/**
 * Takes in what others evaluated, and writes what is left to do of the open round to NAME.next.json.
 *
 * @returns the round with the points that nobody has yet, none where the search has ended; and the archive.
 * @throws LabError as openRound and mergeRound.
 */
export async function askRound(
  out: string,
  name: string,
  space: MixedSpace,
): Promise<{ archive: Archive; strategy: Strategy; next: RoundFile | null; file: string }> {
  const proxy = await readProxy(out), archive = await studyArchive(out, name), file = join(out, `${name}.next.json`);
  if (!proxy) throw new LabError("input", out, "holds no study", "Begin one with owq amq scan --out DIR.");
  const strategy = await studyStrategy(out, name, space), lines = await otherLines(out, name);
  let open = openRound(strategy, archive.entries);
  while (open && await mergeRound(open, archive, lines) === open.proposals.length - open.done) {
    open = openRound(strategy, archive.entries, open.round + 1);
  }
  if (!open) {
    await Deno.remove(file).catch(() => {});
    return { archive, strategy, next: null, file };
  }
  const round = open.round, known = new Set(lines.filter((l) => l.round === round).map((l) => l.point));
  const done = new Set(archive.entries.map((e) => e.point));
  const points = open.proposals.map((p) => p.point).filter((p) => !known.has(p) && !done.has(p));
  const next = { format: ROUND_FORMAT, name, round, settings: proxy.settings, fingerprint: proxy.fingerprint, points };
  await atomicWriteText(file, `${JSON.stringify(next)}\n`);
  return { archive, strategy, next, file };
}

/**
 * Reads a round that `owq amq ask` wrote.
 *
 * @throws LabError "format" for anything else.
 */
export async function readRound(path: string): Promise<RoundFile> {
  const record = await readJson<RoundFile>(path);
  if (record?.format === ROUND_FORMAT && Array.isArray(record.points)) return record;
  throw new LabError("format", path, "is no round of a search", "Make it with owq amq ask.");
}

async function readJson<T>(path: string): Promise<T | null> {
  try {
    return JSON.parse(await Deno.readTextFile(path)) as T;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return null;
    throw new LabError("format", path, `cannot be read (${(cause as Error).message})`, "Remove it.", { cause });
  }
}
