import assert from "node:assert/strict";
import { rng } from "../../../lib/io/rng.ts";
import { nsga2 } from "../../../lib/lab/amq/nsga2.ts";
import { crowding, dominates, frontRanks, gapSpread, hypervolume, survivors } from "../../../lib/lab/amq/pareto.ts";
import { fitSurface } from "../../../lib/lab/amq/rbf.ts";
import { chooseSpread } from "../../../lib/lab/amq/spread.ts";
import { assertRelative, assertWithin } from "../../assert.ts";

const random = rng(3, "search test");
const cloud = Array.from({ length: 60 }, () => [Math.round(random.float() * 12), Math.round(random.float() * 12)]);

Deno.test("frontRanks() is one more than the worst rank that dominates, equal candidates together", () => {
  const ranks = frontRanks(cloud);
  cloud.forEach((f, i) => {
    const above = cloud.flatMap((g, j) => dominates(g, f) ? [ranks[j]] : []);
    assert.equal(ranks[i], above.length ? 1 + Math.max(...above) : 0);
  });
  assert.throws(() => frontRanks([[1, NaN]]), /candidate 0/);
});

Deno.test("crowding() is infinite at ends and in pairs, and 0 along what does not vary", () => {
  assert.deepEqual(crowding([[1, 5], [2, 4]]), [Infinity, Infinity]);
  assert.deepEqual(crowding([[0, 7], [3, 7], [4, 7]]), [Infinity, 0.5, Infinity]);
  assert.deepEqual(crowding([[7, 7], [7, 7], [7, 7]]), [0, 0, 0]);
});

Deno.test("survivors() keeps whole fronts and cuts the last by crowding", () => {
  const ranks = frontRanks(cloud), kept = survivors(cloud, 25), worst = Math.max(...kept.map((i) => ranks[i]));
  assert.equal(kept.length, 25);
  cloud.forEach((_, i) => assert(kept.includes(i) || ranks[i] >= worst));
});

Deno.test("hypervolume() is the dominated area, counted cell by cell", () => {
  let cells = 0;
  for (let x = 0; x < 12; x++) {
    for (let y = 0; y < 12; y++) if (cloud.some((f) => f[0] <= x && f[1] <= y)) cells++;
  }
  assert.equal(hypervolume(cloud, [12, 12]), cells);
  assert.equal(hypervolume([[13, 0], [0, 13]], [12, 12]), 0);
});

Deno.test("fitSurface() passes within eta of its points, solves repeated ones, refuses a degenerate cloud", () => {
  const points = Array.from({ length: 30 }, () => Array.from({ length: 4 }, () => random.int(3)));
  points.push([...points[0]]);
  const f = (p: readonly number[]) => Math.exp(-p[0]) + p[1] * p[2] - 0.3 * p[3];
  const s = fitSurface(points, points.map(f), { lower: 0, upper: [2, 2, 2, 2] });
  assertWithin(points.map((p) => s.predict(p)), points.map(f), 1e-4, "at its points");
  // Weights of the points annihilate the tail: Pᵀλ = 0.
  const weights = s.coefficients.subarray(5);
  for (let j = 0; j < 5; j++) {
    const moment = points.reduce((sum, p, i) => sum + weights[i] * (j === 0 ? 1 : p[j - 1]), 0);
    assertWithin([moment], [0], 1e-6, "moment");
  }
  assert.throws(
    () => fitSurface([[1, 0], [1, 1], [1, 2], [1, 0]], [1, 2, 3, 4], { lower: 0, upper: 2 }),
    /do not span/,
  );
  assert.throws(() => fitSurface([[0, 1]], [1], { lower: 0, upper: 2 }), /1 points/);
});

Deno.test("nsga2() finds the front that trying every point finds, keeps the bounds, repeats itself by seed", () => {
  const cost = [5, 1, 3, 1, 2, 8], n = cost.length;
  const objectives = (
    p: readonly number[],
  ) => [p.reduce((a, v, j) => a + cost[j] / 2 ** v, 0), p.reduce((a, v) => a + v, 0)];
  const problem = {
    lower: [0, 0, 0, 0, 2, 0], // the fifth is pinned
    upper: [2, 2, 2, 2, 2, 2],
    objectives,
    violations: (p: readonly number[]) => [p.reduce((a, v) => a + v, 0) - 9],
  };
  const o = { population: 60, generations: 40, crossover: 0.9, mutation: 0.1, seed: 4 };
  const found = nsga2(problem, o), allowed = found.filter((i) => i.violation === 0);
  const all = Array.from({ length: 3 ** n }, (_, k) => Array.from({ length: n }, (_, j) => Math.floor(k / 3 ** j) % 3))
    .filter((p) => p[4] === 2 && problem.violations(p)[0] <= 0).map(objectives);
  const reference = [21, 13], best = hypervolume(all, reference);
  assertRelative(hypervolume(allowed.map((i) => i.objectives), reference), best, 0.01, "hypervolume");
  assert(found.every((i) => i.point[4] === 2));
  assert.equal(new Set(found.map((i) => i.point.join())).size, found.length);
  assert.deepEqual(nsga2(problem, o), found);
  assert.throws(() => nsga2(problem, { ...o, start: [[0, 0, 0, 0, 0, 0]] }), /outside its bounds/);
});

Deno.test("chooseSpread() comes close to the best of all sets", () => {
  const candidates = Array.from({ length: 14 }, () => 2 + 2 * random.float()), front = [2, 2.4, 4];
  let best = Infinity;
  for (let k = 0; k < 2 ** 14; k++) {
    const set = candidates.filter((_, i) => k >> i & 1);
    if (set.length === 4) best = Math.min(best, gapSpread([...front, ...set]));
  }
  const chosen = chooseSpread(candidates, front, { count: 4, seed: 1 });
  assert.equal(chosen.length, 4);
  assertRelative(gapSpread([...front, ...chosen.map((i) => candidates[i])]), best, 0.02);
  assert.deepEqual(chooseSpread([3], front, { count: 4, seed: 1 }), [0]);
  assert.throws(() => chooseSpread([], [1], { count: 4, seed: 1 }), /0 to choose/);
});
