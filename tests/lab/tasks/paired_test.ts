import assert from "node:assert/strict";
import { itemsToSee, itemsToSeeUnpaired, pairedDifference } from "../../../lib/lab/tasks/paired.ts";
import { rng } from "../../../lib/io/rng.ts";
import { assertRelative } from "../../assert.ts";

function assertBetween(value: number, low: number, high: number, what: string) {
  assert(value >= low && value <= high, `${what}: ${value} is not between ${low} and ${high}`);
}

/** Answers of two models that agree but for `gained` and `lost` questions. */
function answers(n: number, gained: number, lost: number): [number[], number[]] {
  const first = Array.from({ length: n }, (_, i) => i < gained ? 0 : 1);
  const second = first.map((v, i) => i < gained ? 1 : i < gained + lost ? 0 : v);
  return [first, second];
}

Deno.test("pairedDifference() has McNemar's exact p, whichever side is ahead", () => {
  // 2 · Σ_{i≤3} C(12, i) / 2¹² = 2 · 299 / 4096
  const d = pairedDifference(...answers(100, 3, 9), 0), mirrored = pairedDifference(...answers(100, 9, 3), 0);
  assertRelative(d.p, 598 / 4096, 1e-12, "p of 3 against 9");
  assert.deepEqual([d.difference, d.gained, d.lost, mirrored.p], [-0.06, 3, 9, d.p]);
  assert.equal(pairedDifference(...answers(50, 0, 0), 0).p, 1);
  assert.equal(pairedDifference(...answers(50, 4, 4), 0).p, 1);
});

Deno.test("pairedDifference() has an interval as wide as the normal one where questions are many, and the same for the same seed", () => {
  const [first, second] = answers(2000, 120, 200), d = pairedDifference(first, second, 7);
  const half = 1.96 * Math.sqrt((320 / 2000 - 0.04 ** 2) / 2000);
  assertBetween(d.low, -0.04 - 1.15 * half, -0.04 - 0.85 * half, "low");
  assertBetween(d.high, -0.04 + 0.85 * half, -0.04 + 1.15 * half, "high");
  assert.deepEqual(pairedDifference(first, second, 7), d);
  assert.throws(() => pairedDifference([1], [], 0), /1 and 0 answers/);
});

Deno.test("itemsToSee() questions show the difference four times out of five", () => {
  const d = 0.06, discordant = 0.2, n = itemsToSee(d, discordant), stream = rng(5, "trials");
  let seen = 0;
  for (let trial = 0; trial < 400; trial++) {
    const first: number[] = [], second: number[] = [];
    for (let i = 0; i < n; i++) {
      const u = stream.float(), gains = u < (discordant + d) / 2, loses = !gains && u < discordant;
      first.push(loses ? 1 : 0);
      second.push(gains ? 1 : 0);
    }
    if (pairedDifference(first, second, 0, 1).p < 0.05) seen++;
  }
  assertBetween(seen / 400, 0.7, 0.87, "power"); // the exact test is a little more careful than the formula
  assert(itemsToSeeUnpaired(0.02, 0.5) > itemsToSee(0.02, 0.1));
  assert.throws(() => itemsToSee(0.1, 0.05), /less than 0.1/);
});
