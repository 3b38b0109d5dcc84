// How a search got on, round by round, from its archive alone.
import type { Entry } from "./archive.ts";
import { kendall, spearman } from "./correlation.ts";
import { frontRanks, hypervolume } from "./pareto.ts";

/** One round. */
export interface RoundLog {
  readonly round: number;
  /** Evaluations so far. */
  readonly evaluations: number;
  /** Area below the reference that the front so far dominates, nats · bits. */
  readonly hypervolume: number;
  /** The front's points so far. */
  readonly front: number;
  /** Of this round's predictions before they were evaluated; null where there were fewer than two. */
  readonly rmse: number | null;
  readonly spearman: number | null;
  readonly kendall: number | null;
}

/** A little beyond the worst of the first round in both: below it, areas are measured. */
export function referencePoint(entries: readonly Entry[]): [number, number] {
  const first = entries.filter((e) => e.round === 0);
  return [1.01 * Math.max(...first.map((e) => e.jsd)), 1.01 * Math.max(...first.map((e) => e.bits))];
}

/**
 * Entries that no other dominates, by bits; of equal objectives the first.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { frontEntries } from "./round_log.ts";
 * const entry = (point: string, bits: number, jsd: number) => ({ round: 0, point, bits, jsd, old: 0 });
 * const front = frontEntries([entry("a", 4, 0.1), entry("b", 3, 0.2), entry("c", 3.5, 0.3)]);
 * assert.deepEqual(front.map((e) => e.point), ["b", "a"]);
 * ```
 */
export function frontEntries(entries: readonly Entry[]): Entry[] {
  const rank = frontRanks(entries.map((e) => [e.jsd, e.bits])), seen = new Set<string>();
  return entries.filter((e, i) => {
    const key = `${e.jsd} ${e.bits}`;
    return rank[i] === 0 && !seen.has(key) && seen.add(key);
  }).sort((a, b) => a.bits - b.bits);
}

/**
 * The log of an archive's finished rounds.
 *
 * @param reference (divergence, bits); that of the archive's own first round unless told.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { roundLog } from "./round_log.ts";
 * const entry = (round: number, jsd: number, bits: number) => ({ round, point: "", jsd, bits, old: jsd });
 * const log = roundLog([entry(0, 2, 2), entry(0, 1, 4), entry(1, 1, 3)], [2, 4]);
 * assert.deepEqual(log.map((r) => r.hypervolume), [0, 1]);
 * ```
 */
export function roundLog(entries: readonly Entry[], reference?: readonly [number, number]): RoundLog[] {
  if (entries.length === 0) return [];
  const corner = reference ?? referencePoint(entries), rounds = Math.max(...entries.map((e) => e.round));
  return Array.from({ length: rounds + 1 }, (_, round) => {
    const until = entries.filter((e) => e.round <= round);
    const own = until.filter((e) => e.round === round && e.predicted !== undefined);
    const said = own.map((e) => e.predicted!), was = own.map((e) => e.jsd), some = own.length >= 2;
    return {
      round,
      evaluations: until.length,
      hypervolume: hypervolume(until.map((e) => [e.jsd, e.bits]), corner),
      front: frontEntries(until).length,
      rmse: some ? Math.sqrt(own.reduce((a, _, i) => a + (said[i] - was[i]) ** 2, 0) / own.length) : null,
      spearman: some ? spearman(said, was) : null,
      kendall: some ? kendall(said, was) : null,
    };
  });
}

/** A round as a line for people. */
export function roundLine(r: RoundLog): string {
  const number = (v: number | null) => v === null ? "–" : v.toFixed(2);
  return `round ${r.round}: ${r.evaluations} evaluations, hypervolume ${
    r.hypervolume.toFixed(5)
  }, front of ${r.front}` +
    (r.rmse === null
      ? ""
      : `, predictions off by ${r.rmse.toExponential(1)} nats, Spearman ${number(r.spearman)}, Kendall ${
        number(r.kendall)
      }`);
}
