// NSGA-II over vectors of small integers: two parents by tournament, one child, whole fronts survive.
import { LabError } from "../../io/errors.ts";
import { type Rng, rng } from "../../io/rng.ts";
import { type Objectives, sortCandidates, survivors } from "./pareto.ts";

/** A point of the search: one small integer a column. */
export type Point = readonly number[];

/** What a search minimizes. */
export interface SearchProblem {
  /** Least and most of each column; equal ones are pinned. */
  readonly lower: Point;
  readonly upper: Point;
  /** Objectives of a point, all minimized. */
  readonly objectives: (point: Point) => Objectives;
  /** Entries above 0 say how far a point lies outside; none: every point is allowed. */
  readonly violations?: (point: Point) => readonly number[];
}

export interface SearchOptions {
  /** Points to begin with; filled up at random. */
  readonly start?: readonly Point[];
  readonly population: number;
  readonly generations: number;
  /** Chance that a child has two parents; else it is the first one's copy. */
  readonly crossover: number;
  /** Chance that a child is drawn anew in all columns, as AMQ's code does it. */
  readonly mutation: number;
  readonly seed: number;
}

/** A point with what it was found to be. */
export interface Individual {
  readonly point: Point;
  readonly objectives: Objectives;
  /** Σ of what it violates; 0 is allowed. */
  readonly violation: number;
}

/** Draws for one child that is new, before a generation ends smaller. */
const ATTEMPTS = 20;

/**
 * NSGA-II: each generation, as many children as the population (of two parents, each the winner of a tournament of two: allowed
 * before not, then front, then crowding; every column from one or the other by a fair coin; no point twice), then the best of both survive.
 *
 * @returns the last population, allowed ones first, in no other order.
 * @throws LabError "input" for bounds of other lengths, or a starting point outside them.
 * Source: Deb et al. 2002; crossover, mutation and numbers as dlwns147/amq sets pymoo.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { nsga2 } from "./nsga2.ts";
 * const problem = { lower: [0, 0], upper: [3, 3], objectives: ([a, b]: readonly number[]) => [a + b, -a] };
 * const found = nsga2(problem, { population: 8, generations: 20, crossover: 0.9, mutation: 0.1, seed: 1 });
 * assert(found.some((i) => i.point.join() === "3,0")); // of all with the least −a, the one with the least sum
 * ```
 */
export function nsga2(problem: SearchProblem, o: SearchOptions): Individual[] {
  const { lower, upper } = problem, random = rng(o.seed, "nsga2");
  if (lower.length !== upper.length || lower.some((v, j) => v > upper[j])) {
    throw new LabError("input", "a search", `bounds ${lower.join()} and ${upper.join()}`);
  }
  const bad = o.start?.find((p) => p.length !== lower.length || p.some((v, j) => !(v >= lower[j] && v <= upper[j])));
  if (bad) throw new LabError("input", "a search", `starts at ${bad.join()}, outside its bounds`);
  const anywhere = (): Point => lower.map((v, j) => v + random.int(upper[j] - v + 1));
  let people = admit([], o.start ?? [], problem);
  people = [...people, ...fresh(people, o.population - people.length, anywhere, problem)];
  for (let generation = 0; generation < o.generations; generation++) {
    const better = judge(people);
    const parent = () => {
      const a = random.int(people.length), b = random.int(people.length), winner = better(a, b);
      return people[winner === 0 ? (random.float() < 0.5 ? a : b) : winner < 0 ? a : b].point;
    };
    const child = (): Point => {
      const a = parent(), b = parent();
      if (random.float() < o.mutation) return anywhere();
      return random.float() < o.crossover ? mixed(a, b, random) : a;
    };
    people = best([...people, ...fresh(people, o.population, child, problem)], o.population);
  }
  return people;
}

/** Each column from one parent or the other, at least one from the first. */
function mixed(a: Point, b: Point, random: Rng): Point {
  const sure = random.int(a.length);
  return a.map((v, j) => j === sure || random.float() < 0.5 ? v : b[j]);
}

function individual(point: Point, problem: SearchProblem): Individual {
  const violation = (problem.violations?.(point) ?? []).reduce((sum, v) => sum + Math.max(0, v), 0);
  return { point, objectives: problem.objectives(point), violation };
}

/** Those of `points` that are new, judged. */
function admit(people: readonly Individual[], points: readonly Point[], problem: SearchProblem): Individual[] {
  const seen = new Set(people.map((i) => i.point.join()));
  return points.flatMap((p) => {
    if (seen.has(p.join())) return [];
    seen.add(p.join());
    return [individual(p, problem)];
  });
}

/** `count` new points, fewer where draw after draw gives none. */
function fresh(
  people: readonly Individual[],
  count: number,
  draw: () => Point,
  problem: SearchProblem,
): Individual[] {
  const seen = new Set(people.map((i) => i.point.join())), out: Individual[] = [];
  for (let tries = 0; out.length < count && tries < count * ATTEMPTS; tries++) {
    const point = draw(), key = point.join();
    if (seen.has(key)) continue;
    seen.add(key);
    out.push(individual(point, problem));
  }
  return out;
}

/** Compares two of a population by index: below 0 where the first is better, 0 where neither is. */
function judge(people: readonly Individual[]): (a: number, b: number) => number {
  const { rank, crowding } = sortCandidates(people.map((i) => i.objectives));
  return (a, b) => {
    const outside = people[a].violation - people[b].violation;
    if (outside !== 0) return outside;
    return rank[a] - rank[b] || (crowding[a] === crowding[b] ? 0 : crowding[b] - crowding[a]);
  };
}

/** The best `count`: of the allowed ones by front and crowding, then those that violate least. */
function best(people: readonly Individual[], count: number): Individual[] {
  const allowed = people.filter((i) => i.violation === 0);
  const rest = people.filter((i) => i.violation > 0).sort((a, b) => a.violation - b.violation);
  const kept = survivors(allowed.map((i) => i.objectives), count).map((i) => allowed[i]);
  return [...kept, ...rest.slice(0, count - kept.length)];
}
