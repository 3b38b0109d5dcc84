import assert from "node:assert/strict";
import { rng } from "../../../lib/io/rng.ts";
import { kendall, ranks, spearman } from "../../../lib/lab/amq/correlation.ts";
import { fitNetwork } from "../../../lib/lab/amq/network.ts";
import { assertWithin } from "../../assert.ts";

Deno.test("spearman() and kendall() with ties are what the sums by hand give", () => {
  // Ranks 1 2.5 2.5 4 5 and 1 3 2 4.5 4.5: Σxy = 9, Σxx = Σyy = 9.5. Of ten pairs eight agree, one is tied in each list.
  const a = [1, 2, 2, 4, 5], b = [1, 3, 2, 5, 5];
  assert.deepEqual(ranks(a), [1, 2.5, 2.5, 4, 5]);
  assertWithin([spearman(a, b)], [9 / 9.5], 1e-12, "spearman");
  assertWithin([kendall(a, b)], [8 / 9], 1e-12, "kendall");
  assert.equal(spearman([1, 1], [1, 2]), 0);
  assert.throws(() => spearman([1], [1]), /1 and 1 numbers/);
  assert.throws(() => kendall([1, NaN], [1, 2]), /rank correlation/);
});

Deno.test("fitNetwork() learns products that no line fits, is the same by seed, and its gradient is the loss's", () => {
  const random = rng(2, "network test"), f = (p: readonly number[]) => p[0] * p[1] + 0.5 * p[2] - p[3] * p[0];
  const points = Array.from({ length: 120 }, () => Array.from({ length: 5 }, () => random.int(3)));
  const fresh = Array.from({ length: 60 }, () => Array.from({ length: 5 }, () => random.int(3)));
  const net = fitNetwork(points, points.map(f), { upper: 2, seed: 3 });
  const said = fresh.map((p) => net.predict(p)), was = fresh.map(f);
  assert(spearman(said, was) > 0.9, `Spearman ${spearman(said, was)}`);
  assert.equal(fitNetwork(points, points.map(f), { upper: 2, seed: 3 }).predict(fresh[0]), said[0]);
  assert.notEqual(fitNetwork(points, points.map(f), { upper: 2, seed: 4 }).predict(fresh[0]), said[0]);
  const none = fitNetwork(points, points.map(f), { upper: 2, seed: 3, epochs: 0 });
  assert(net.loss < none.loss / 5, `${none.loss} before, ${net.loss} after`);
  assert.throws(() => fitNetwork(points.slice(0, 4), [1, 2, 3, 4], { upper: 2, seed: 0 }), /4 points/);
});
