// A search as rounds: a strategy proposes points from what was evaluated before, all of them are evaluated, and so on. What a
// round proposes depends on earlier rounds alone, so that it is found again by whoever resumes or shares the work.
import { LabError } from "../../io/errors.ts";
import type { Archive, Entry } from "./archive.ts";

/** A point to evaluate. */
export interface Proposal {
  /** As in {@link Entry}. */
  readonly point: string;
  /** What a predictor says of its divergence. */
  readonly predicted?: number;
}

/** A way to search. */
export interface Strategy {
  readonly name: string;
  /** Evaluations in all, at most. */
  readonly total: number;
  /**
   * What round `round` evaluates, a pure function.
   *
   * @param before entries of all earlier rounds. @returns no point twice; none: the search has ended.
   */
  propose(before: readonly Entry[], round: number): readonly Proposal[];
}

/** What an evaluation measures. */
export type Measured = Pick<Entry, "bits" | "jsd" | "old">;

/** A round that is not finished. */
export interface OpenRound {
  readonly round: number;
  /** All of the round, in order. */
  readonly proposals: readonly Proposal[];
  /** How many of them, from the first, are in the archive. */
  readonly done: number;
}

/**
 * The round that is to be worked on.
 *
 * @param entries an archive's. @param from rounds before this are known to be whole; the archive's last unless told.
 * @returns null where the search has ended.
 * @throws LabError "resume" where the last round of the archive is not what the strategy proposes.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openRound } from "./rounds.ts";
 * const strategy = { name: "s", total: 2, propose: (_: unknown, r: number) => r < 2 ? [{ point: `${r}` }] : [] };
 * assert.deepEqual(openRound(strategy, []), { round: 0, proposals: [{ point: "0" }], done: 0 });
 * ```
 */
export function openRound(
  strategy: Strategy,
  entries: readonly Entry[],
  from: number = entries.at(-1)?.round ?? 0,
): OpenRound | null {
  for (let round = from;; round++) {
    const proposals = strategy.propose(entries.filter((e) => e.round < round), round);
    if (proposals.length === 0 && round === 0) throw new LabError("input", strategy.name, "proposes nothing");
    const own = entries.filter((e) => e.round === round);
    const other = own.findIndex((e, i) => e.point !== proposals[i]?.point);
    if (other >= 0) {
      const problem = `evaluation ${other + 1} of round ${round} is ${own[other].point}, this search proposes ` +
        `${proposals[other]?.point ?? "none"}`;
      throw new LabError("resume", `the archive of ${strategy.name}`, problem, "Choose another --out.");
    }
    if (proposals.length === 0) return null;
    if (own.length < proposals.length) return { round, proposals, done: own.length };
  }
}

/** The entry of an evaluated proposal. */
export function entryOf(round: number, { point, predicted }: Proposal, { bits, jsd, old }: Measured): Entry {
  return { round, point, bits, jsd, old, ...(predicted === undefined ? {} : { predicted }) };
}

/** How rounds are run. */
export interface RoundOptions {
  /** After each evaluation: how many there are now. */
  readonly onEntry?: (entry: Entry, count: number) => void;
  /** After each round; its entries and all. */
  readonly onRound?: (round: number, entries: readonly Entry[]) => void;
  /** Asked between evaluations. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a search to its end, from wherever its archive stands. The archive's file is the same, byte for byte, however often the
 * process is killed and begun again.
 *
 * @param evaluate a point's measures; a function of the point alone.
 * @throws LabError as openRound; an AbortError when the signal says so.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openArchive } from "./archive.ts";
 * import { runRounds } from "./rounds.ts";
 * const folder = await Deno.makeTempDir(), archive = await openArchive(`${folder}/s.jsonl`);
 * const strategy = { name: "s", total: 2, propose: (_: unknown, r: number) => r < 2 ? [{ point: `${r}` }] : [] };
 * await runRounds(strategy, archive, (point) => Promise.resolve({ bits: Number(point), jsd: 0, old: 0 }));
 * assert.deepEqual(archive.entries.map((e) => e.bits), [0, 1]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function runRounds(
  strategy: Strategy,
  archive: Archive,
  evaluate: (point: string) => Promise<Measured>,
  o: RoundOptions = {},
): Promise<void> {
  let open = openRound(strategy, archive.entries);
  for (; open; open = openRound(strategy, archive.entries, open.round + 1)) {
    for (const proposal of open.proposals.slice(open.done)) {
      o.signal?.throwIfAborted();
      const entry = entryOf(open.round, proposal, await evaluate(proposal.point));
      await archive.append(entry);
      o.onEntry?.(entry, archive.entries.length);
    }
    o.onRound?.(open.round, archive.entries);
  }
}

/** Machines of two kinds may differ in the last bits of an evaluation; more than this share is a mistake. */
const SAME = 1e-5;

/**
 * Appends what others evaluated of the open round, in the round's order, up to the first point that nobody has yet: the archive
 * then is what one process alone would have written so far.
 *
 * @param lines entries of any round, in any order, also more than once.
 * @returns how many were appended.
 * @throws LabError "format" where a point of the round is there twice with different results.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openArchive } from "./archive.ts";
 * import { mergeRound } from "./rounds.ts";
 * const folder = await Deno.makeTempDir(), archive = await openArchive(`${folder}/s.jsonl`);
 * const open = { round: 0, proposals: [{ point: "2" }, { point: "3" }, { point: "4" }], done: 0 };
 * const line = (point: string) => ({ round: 0, point, bits: 0, jsd: 0.1, old: 0.2 });
 * assert.equal(await mergeRound(open, archive, [line("4"), line("2")]), 1); // "3" is missing, "4" has to wait
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function mergeRound(open: OpenRound, archive: Archive, lines: readonly Entry[]): Promise<number> {
  const found = new Map<string, Entry>();
  for (const e of lines.filter((e) => e.round === open.round)) {
    const before = found.get(e.point);
    if (before && Math.abs(before.jsd - e.jsd) > SAME * before.jsd) {
      const problem = `round ${e.round}, ${e.point}: ${before.jsd} and ${e.jsd}`;
      throw new LabError("format", "lines of one point", problem, "Two machines ran different things.");
    }
    found.set(e.point, before ?? e);
  }
  let appended = 0;
  for (const proposal of open.proposals.slice(open.done)) {
    const e = found.get(proposal.point);
    if (!e) break;
    await archive.append(entryOf(open.round, proposal, e));
    appended++;
  }
  return appended;
}
