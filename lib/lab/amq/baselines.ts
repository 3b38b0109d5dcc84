// What a search must beat: chance, descent by the best single step, and one order made once from the sensitivity scan.
import { rng } from "../../io/rng.ts";
import { averageBits, choiceColumns, freeColumns, type MixedSpace } from "../../quant/mixed_bits.ts";
import { randomPoints, searchBounds, type SearchSettings } from "./amq_search.ts";
import type { Entry } from "./archive.ts";
import type { Strategy } from "./rounds.ts";
import type { Scan } from "./scan.ts";
import { choiceText, textBits, textChoice, uniformChoice } from "./space.ts";

/** As many random configurations as a search evaluates, the uniform ones first. */
export function randomSearch(space: MixedSpace, s: SearchSettings): Strategy {
  const total = s.initial + s.rounds * s.candidates, bounds = searchBounds(space, s);
  const first = space.bits.map((_, at) => choiceText(space, uniformChoice(space, at)));
  const seed = rng(s.seed, "random search").uint32(); // not the search's own first sample once more
  return {
    name: "random",
    total,
    propose: (_, round) =>
      round > 0 ? [] : randomPoints(space, { count: total, seed, bounds, first }).map((point) => ({ point })),
  };
}

/**
 * Greedy descent: from all linears at the most bits, each round tries to lower every one of them by a step and keeps the one that
 * costs the least divergence a bit saved; until all are at the least, or `evaluations` are made.
 *
 * @param stride places of the bits a step goes down: 1 through all, bits − 1 from the most to the least at once.
 * @param evaluations the last round that begins is the one that reaches them.
 * Source: the greedy search in AMQ's development repository chooses by divergence alone, with linears of one size in mind.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { greedySearch } from "./baselines.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 4], groupSize: 64, pinned: [] };
 * const greedy = greedySearch(space), top = { round: 0, point: "444", bits: 4.5, jsd: 0.01, old: 0 };
 * assert.deepEqual(greedy.propose([top], 1).map((p) => p.point), ["244", "424", "442"]);
 * ```
 */
export function greedySearch(space: MixedSpace, stride = 1, evaluations = Infinity): Strategy {
  const free = freeColumns(space), top = choiceText(space, uniformChoice(space, space.bits.length - 1));
  const steps = Math.ceil((space.bits.length - 1) / stride) * free.length;
  const lowered = (point: string) =>
    free.flatMap((j) => {
      const choice = textChoice(space, point);
      if (choice[j] === 0) return [];
      choice[j] = Math.max(0, choice[j] - stride);
      return [choiceText(space, choice)];
    });
  const propose = (before: readonly Entry[], round: number) => {
    if (round === 0) return [{ point: top }];
    if (before.length >= evaluations) return [];
    return lowered(greedyPath(before).at(-1)!.point).map((point) => ({ point }));
  };
  return { name: "greedy", total: Math.min(evaluations, 1 + free.length * (steps + 1) / 2), propose };
}

/**
 * The configurations that a greedy descent kept, one a round.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { greedyPath } from "./baselines.ts";
 * const entry = (round: number, point: string, bits: number, jsd: number) => ({ round, point, bits, jsd, old: 0 });
 * const path = greedyPath([entry(0, "44", 4, 0), entry(1, "24", 3, 0.3), entry(1, "42", 3, 0.1)]);
 * assert.deepEqual(path.map((e) => e.point), ["44", "42"]);
 * ```
 */
export function greedyPath(entries: readonly Entry[]): Entry[] {
  const path = entries.slice(0, 1), rounds = Math.max(0, ...entries.map((e) => e.round));
  for (let round = 1; round <= rounds; round++) {
    const from = path[path.length - 1], tried = entries.filter((e) => e.round === round);
    const cost = (e: Entry) => (e.jsd - from.jsd) / (from.bits - e.bits);
    path.push(tried.reduce((best, e) => cost(e) < cost(best) ? e : best));
  }
  return path;
}

/**
 * One shot: linears in the order of what the scan says they cost a bit saved, the least first; one configuration for each length
 * of that order, its linears at the least bits, the rest at the most.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { oneShotSearch } from "./baselines.ts";
 * import { readScan, scanSearch } from "./scan.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 4], groupSize: 64, pinned: [] };
 * const jsd: Record<string, number> = { "444": 0.01, "244": 0.09, "424": 0.02, "442": 0.03 };
 * const entries = scanSearch(space).propose([], 0).map(({ point }) => ({ round: 0, point, bits: 0, jsd: jsd[point], old: 0 }));
 * const points = oneShotSearch(space, readScan(space, entries)).propose([], 0).map((p) => p.point);
 * assert.deepEqual(points, ["444", "424", "422", "222"]);
 * ```
 */
export function oneShotSearch(space: MixedSpace, scan: Scan): Strategy {
  const names = choiceColumns(space), high = space.bits.length - 1, all = uniformChoice(space, high);
  const most = averageBits(space, all);
  const cost = (j: number) => {
    const low = all.map((c, i) => i === j ? 0 : c), saved = most - averageBits(space, low);
    return (scan.linears.find((l) => l.name === names[j])!.jsd - scan.baseline.jsd) / saved;
  };
  const order = freeColumns(space).map((j) => [j, cost(j)] as const).sort((a, b) => a[1] - b[1]);
  const points = [all];
  for (const [j] of order) points.push(points[points.length - 1].map((c, i) => i === j ? 0 : c));
  return {
    name: "one-shot",
    total: points.length,
    propose: (_, round) => round > 0 ? [] : points.map((c) => ({ point: choiceText(space, c) })),
  };
}

/** Two configurations' mixtures for the uniform line: average bits and divergence of each uniform configuration among entries. */
export function uniformEntries(space: MixedSpace, entries: readonly Entry[]): Entry[] {
  const texts = space.bits.map((b) => String(b).repeat(choiceColumns(space).length));
  return texts.flatMap((t) => entries.find((e) => e.point === t) ?? []).sort((a, b) =>
    textBits(space, a.point) - textBits(space, b.point)
  );
}
