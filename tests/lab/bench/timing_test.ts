import assert from "node:assert/strict";
import { interleave, quartiles, repeatsFor } from "../../../lib/lab/bench/timing.ts";
import { rng } from "../../../lib/io/rng.ts";
import { assertRelative } from "../../assert.ts";

/** A machine that gets slower: everything takes `grow` times longer after each call. */
function slowing(grow: number) {
  let speed = 1;
  const order: string[] = [];
  const of = (name: string, seconds: number) => ({
    name,
    run: () => {
      order.push(name);
      speed *= grow;
      return Promise.resolve(seconds * speed);
    },
  });
  return { of, order };
}

Deno.test("interleave() puts every peer between two of ours, after one round for warmth", async () => {
  const { of, order } = slowing(1);
  await interleave(of("A", 1), [of("B", 2), of("C", 3)], { rounds: 7, seconds: 0 });
  assert.equal(order.slice(0, 4).join(""), "ABCA"); // warm-up, and the first of ours
  assert.equal(order.slice(4).join(""), "BACA".repeat(7));
});

Deno.test("interleave() gives the true ratio on a machine that slows down", async () => {
  const { of } = slowing(1.02), c = await interleave(of("A", 1), [of("B", 3)], { rounds: 9, seconds: 0 });
  assertRelative(c.peers.B.ratio, 3, 1e-3, "ratio");
});

Deno.test("interleave() calls equal things equal where other work lengthens samples, some of them a lot", async () => {
  const stream = rng(1, "disturbances");
  const of = (name: string) => ({ name, run: () => Promise.resolve(1 + 0.1 / (stream.float() + 1e-3)) });
  const c = await interleave(of("A"), [of("B")], { rounds: 3000, seconds: 0 });
  assertRelative(c.peers.B.ratio, 1, 0.01, "ratio"); // over the mean of two it would be 0.967
  assertRelative(c.peers.B.fastest, 1.1, 1e-2, "fastest");
});

Deno.test("interleave() does at least seven rounds, and goes on while there is time", async () => {
  const { of } = slowing(1);
  assert.equal((await interleave(of("A", 1), [of("B", 1)], { rounds: 1, seconds: 0 })).rounds, 7);
  let clock = 0;
  const now = () => clock += 500;
  assert.equal((await interleave(of("A", 1), [], { rounds: 7, seconds: 10, now })).rounds, 26);
  assert.equal((await interleave(of("A", 1), [], { rounds: 7, seconds: 1e9, mostRounds: 30, now })).rounds, 30);
});

Deno.test("quartiles() falls between neighbours", () => {
  assert.deepEqual(quartiles([1, 2, 3, 4]), { low: 1.75, median: 2.5, high: 3.25 });
  assert.throws(() => quartiles([]), RangeError);
});

Deno.test("repeatsFor() finds how often to repeat for a sample long enough", async () => {
  const run = (n: number) => Promise.resolve(1e-4 * n);
  const repeats = await repeatsFor(run, 0.02);
  assert.ok(repeats >= 140 && repeats <= 400, `${repeats}`);
  assert.equal(await repeatsFor(() => Promise.resolve(5), 0.02), 1);
});
