import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { allocate, type Choice, waterFilling } from "../../lib/quant/allocate.ts";
import { GAUSSIAN_DISTORTION } from "../../lib/quant/codebook.ts";
import { assertRelative } from "../assert.ts";

const total = (linears: readonly (readonly Choice[])[], picked: readonly number[], what: "bits" | "loss") =>
  picked.reduce((s, i, l) => s + linears[l][i][what], 0);

/** Every combination: the oracle for a handful of linears. */
function best(linears: readonly (readonly Choice[])[], budget: number): number {
  const [first, ...rest] = linears;
  if (!first) return budget >= 0 ? 0 : Infinity;
  return Math.min(...first.map((c) => c.bits > budget ? Infinity : c.loss + best(rest, budget - c.bits)));
}

Deno.test("allocate() is the best of all combinations for the bits that it uses, and never uses more", () => {
  const stream = rng(1, "linears");
  for (let trial = 0; trial < 30; trial++) {
    const linears = Array.from({ length: 5 }, () => {
      const weights = 1 + stream.int(4), a = Math.exp(2 * stream.normal());
      return Array.from(
        { length: 5 },
        (_, i) => ({ bits: weights * (i + 1), loss: a * GAUSSIAN_DISTORTION[1][i + 1] }),
      );
    });
    const least = linears.reduce((s, c) => s + c[0].bits, 0), budget = least + 3 + stream.int(25);
    const picked = allocate(linears, budget),
      used = total(linears, picked, "bits"),
      loss = total(linears, picked, "loss");
    assert(used <= budget);
    const optimum = best(linears, budget);
    assert(loss >= optimum - 1e-12 && loss <= 1.25 * optimum, `${loss} for ${optimum}`);
    const uniform = Math.floor(budget / (least || 1)); // the same width for all
    if (uniform <= 5) assert(loss <= linears.reduce((s, c) => s + c[uniform - 1].loss, 0) + 1e-12);
  }
});

Deno.test("allocate() passes over choices that are larger and no better, and refuses a budget that is too small", () => {
  const linears = [[{ bits: 2, loss: 5 }, { bits: 3, loss: 6 }, { bits: 4, loss: 1 }]];
  assert.deepEqual(allocate(linears, 3), [0]);
  assert.deepEqual(allocate(linears, 4), [2]);
  assert.deepEqual(allocate([[{ bits: 2, loss: 5 }, { bits: 2, loss: 5 }, { bits: 4, loss: 1 }]], 4), [2]); // twins
  assert.throws(() => allocate(linears, 1), /1 too few/);
});

Deno.test("waterFilling() keeps the mean and makes every linear's loss a weight the same", () => {
  const a = [1, 3, 0.2, 40], weights = [10, 50, 20, 5], bits = waterFilling(a, weights, 3);
  assertRelative(bits.reduce((s, b, l) => s + b * weights[l], 0) / 85, 3, 1e-12);
  bits.forEach((b, l) => assertRelative(a[l] * 4 ** -b, a[0] * 4 ** -bits[0], 1e-12));
});
