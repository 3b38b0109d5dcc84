// Fronts of a minimization with several objectives: ranks, crowding, survivors, hypervolume. npm has no kept library for them.
import { LabError } from "../../io/errors.ts";

/** One candidate's objectives, all to be minimized. */
export type Objectives = readonly number[];

/** a is nowhere worse than b and somewhere better. */
export function dominates(a: Objectives, b: Objectives): boolean {
  return a.every((v, j) => v <= b[j]) && a.some((v, j) => v < b[j]);
}

/**
 * Number of the front of each candidate: 0 where none dominates it, 1 where only front 0 does, …
 *
 * @param all objectives (candidates). @returns (candidates). @throws LabError "numeric" for NaN.
 * Source: Deb et al. 2002, fast non-dominated sort.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { frontRanks } from "./pareto.ts";
 * assert.deepEqual(frontRanks([[1, 3], [2, 2], [2, 4], [3, 5]]), [0, 0, 1, 2]);
 * ```
 */
export function frontRanks(all: readonly Objectives[]): number[] {
  const bad = all.findIndex((f) => f.some(Number.isNaN));
  if (bad >= 0) throw new LabError("numeric", `candidate ${bad}`, `its objectives are ${all[bad].join(", ")}`);
  const above = all.map(() => 0), below = all.map((): number[] => []), ranks: number[] = all.map(() => -1);
  for (let i = 0; i < all.length; i++) {
    for (let j = 0; j < all.length; j++) {
      if (i === j || !dominates(all[i], all[j])) continue;
      below[i].push(j);
      above[j]++;
    }
  }
  let front = all.flatMap((_, i) => above[i] === 0 ? [i] : []);
  for (let rank = 0; front.length > 0; rank++) {
    const next: number[] = [];
    for (const i of front) {
      ranks[i] = rank;
      for (const j of below[i]) if (--above[j] === 0) next.push(j);
    }
    front = next;
  }
  return ranks;
}

/**
 * Crowding inside one front: mean over objectives of (next − previous)/(max − min) in that objective's order; infinite at
 * both ends, and everywhere in a front of one or two. An objective that does not vary counts 0.
 *
 * @param front objectives of one front's candidates. @returns (candidates).
 * Source: pymoo 0.6 (RankAndCrowding, "cd"): a mean where Deb et al. have a sum.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { crowding } from "./pareto.ts";
 * assert.deepEqual(crowding([[0, 4], [1, 2], [4, 0]]), [Infinity, 1, Infinity]);
 * ```
 */
export function crowding(front: readonly Objectives[]): number[] {
  const n = front.length, out: number[] = front.map(() => n <= 2 ? Infinity : 0);
  if (n <= 2) return out;
  const count = front[0].length;
  for (let j = 0; j < count; j++) {
    const order = front.map((_, i) => i).sort((a, b) => front[a][j] - front[b][j] || a - b);
    const range = front[order[n - 1]][j] - front[order[0]][j];
    if (range === 0) continue;
    order.forEach((i, at) => {
      const before = at > 0 ? front[order[at - 1]][j] : -Infinity,
        after = at < n - 1 ? front[order[at + 1]][j] : Infinity;
      // In two steps, as pymoo adds them: the sums of neighbouring gaps then agree to the last digit.
      out[i] += ((front[i][j] - before) / range + (after - front[i][j]) / range) / count;
    });
  }
  return out;
}

/** What a sorting says of each candidate. */
export interface Sorting {
  readonly rank: readonly number[];
  readonly crowding: readonly number[];
}

/** Ranks, and the crowding of each candidate inside its own front. */
export function sortCandidates(all: readonly Objectives[]): Sorting {
  const rank = frontRanks(all), far: number[] = all.map(() => 0);
  for (let r = 0; r <= Math.max(-1, ...rank); r++) {
    const members = rank.flatMap((v, i) => v === r ? [i] : []), d = crowding(members.map((i) => all[i]));
    members.forEach((i, k) => far[i] = d[k]);
  }
  return { rank, crowding: far };
}

/**
 * The `count` candidates that survive: whole fronts in order, the last one by falling crowding (of equals the first).
 *
 * @returns their indices, ascending.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { survivors } from "./pareto.ts";
 * assert.deepEqual(survivors([[0, 4], [1, 2], [1.1, 1.9], [4, 0], [9, 9]], 3), [0, 2, 3]);
 * ```
 */
export function survivors(all: readonly Objectives[], count: number): number[] {
  const { rank, crowding } = sortCandidates(all), order = all.map((_, i) => i);
  order.sort((a, b) => rank[a] - rank[b] || (crowding[a] === crowding[b] ? a - b : crowding[b] - crowding[a]));
  return order.slice(0, count).sort((a, b) => a - b);
}

/**
 * The area that candidates of two objectives dominate below a reference point.
 *
 * @param all objectives; those beyond the reference count nothing. @param reference (2).
 * @throws LabError "input" for other than two objectives.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { hypervolume } from "./pareto.ts";
 * assert.equal(hypervolume([[1, 2], [2, 1], [2, 2]], [3, 3]), 3);
 * ```
 */
export function hypervolume(all: readonly Objectives[], reference: Objectives): number {
  if (reference.length !== 2 || all.some((f) => f.length !== 2)) {
    throw new LabError("input", "a hypervolume", "takes two objectives here");
  }
  let area = 0, height = reference[1];
  for (const [x, y] of all.filter(([x]) => x < reference[0]).sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (y >= height) continue;
    area += (reference[0] - x) * (height - y);
    height = y;
  }
  return area;
}

/**
 * The spread of a front: population standard deviation of the gaps between sorted values; 0 is even.
 *
 * @param values such as average bits, two or more. @throws LabError "input" for fewer than two.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { gapSpread } from "./pareto.ts";
 * assert.equal(gapSpread([3, 1, 5]), 0);
 * assert.equal(gapSpread([0, 1, 4]), 1);
 * ```
 */
export function gapSpread(values: readonly number[]): number {
  if (values.length < 2) throw new LabError("input", "gaps between values", `of ${values.length} values`);
  const sorted = [...values].sort((a, b) => a - b), gaps = sorted.slice(1).map((v, i) => v - sorted[i]);
  const mean = gaps.reduce((a, g) => a + g, 0) / gaps.length;
  return Math.sqrt(gaps.reduce((a, g) => a + (g - mean) ** 2, 0) / gaps.length);
}
