// Which of many candidates to evaluate next: those that, with the front, lie most evenly along average bits.
import { LabError } from "../../io/errors.ts";
import { rng } from "../../io/rng.ts";
import { gapSpread } from "./pareto.ts";

export interface SpreadOptions {
  readonly count: number;
  readonly seed: number;
  /** Sets a generation, and generations; as AMQ has them. */
  readonly population?: number;
  readonly generations?: number;
}

/**
 * Chooses `count` of the candidates so that the gaps between the sorted values of front and chosen have the least standard
 * deviation, by a genetic search over sets: a child keeps what its parents share, fills up from what one of them has, swaps one.
 *
 * @param candidates values, such as average bits. @param front values that are there already.
 * @returns indices of the chosen, ascending; all of them where there are no more than `count`.
 * @throws LabError "input" where front and chosen would be fewer than two values. Source: dlwns147/amq, search/problem.py, utils/ga.py.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { chooseSpread } from "./spread.ts";
 * assert.deepEqual(chooseSpread([2.1, 3, 3.05, 3.9], [2, 4], { count: 1, seed: 0 }), [1]);
 * ```
 */
export function chooseSpread(candidates: readonly number[], front: readonly number[], o: SpreadOptions): number[] {
  const n = candidates.length, { count, population = 100, generations = 60 } = o;
  if (front.length + Math.min(count, n) < 2) {
    throw new LabError("input", "a spread choice", `${front.length} values and ${Math.min(count, n)} to choose`);
  }
  if (n <= count) return candidates.map((_, i) => i);
  const random = rng(o.seed, "spread");
  const judged = (set: number[]) => ({ set, spread: gapSpread([...front, ...set.map((i) => candidates[i])]) });
  const child = (a: readonly number[], b: readonly number[]) => {
    const both = a.filter((i) => b.includes(i)), either = [...a, ...b].filter((i) => !both.includes(i));
    const fill = [...random.permutation(either.length)].slice(0, count - both.length).map((k) => either[k]);
    const set = [...both, ...fill], inside = new Set(set);
    const outside = candidates.flatMap((_, i) => inside.has(i) ? [] : [i]);
    set[random.int(count)] = outside[random.int(outside.length)];
    return judged(set);
  };
  let sets = Array.from({ length: population }, () => judged([...random.permutation(n)].slice(0, count)));
  for (let generation = 0; generation < generations; generation++) {
    const winner = () => {
      const a = sets[random.int(sets.length)], b = sets[random.int(sets.length)];
      return (b.spread < a.spread ? b : a).set;
    };
    const all = [...sets, ...Array.from({ length: population }, () => child(winner(), winner()))];
    const seen = new Set<string>();
    sets = all.sort((a, b) => a.spread - b.spread).filter(({ set }) => {
      const key = set.sort((a, b) => a - b).join();
      return !seen.has(key) && seen.add(key);
    }).slice(0, population);
  }
  return sets[0].set;
}
