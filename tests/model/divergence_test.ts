import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { divergence, sequenceDivergence } from "../../lib/model/divergence.ts";
import { logSoftmax } from "../../lib/model/log_softmax.ts";
import { assertRelative, assertWithin } from "../assert.ts";

const random = rng(1, "divergence test"),
  logits = (n: number, size = 2) => Array.from({ length: n }, () => size * random.normal());

Deno.test("logSoftmax() sums to one and does not care about shifts", () => {
  const x = logits(50), y = logSoftmax(x);
  assertRelative(y.reduce((s, v) => s + Math.exp(v), 0), 1, 1e-12);
  assertWithin(logSoftmax(x.map((v) => v + 700)), y, 1e-11);
});

Deno.test("divergence() is symmetric, bounded by ln 2, 0 between equals; the old one is a quarter of Jeffreys", () => {
  const a = logits(30), b = logits(30), d = divergence(a, b), p = logSoftmax(a), q = logSoftmax(b);
  assertRelative(divergence(b, a).jsd, d.jsd, 1e-12);
  assert(d.jsd > 0 && d.jsd < Math.LN2);
  assertRelative(d.old, p.reduce((s, v, i) => s + (Math.exp(v) - Math.exp(q[i])) * (v - q[i]), 0) / 4, 1e-12);
  assertWithin(Object.values(divergence(a, a)), [0, 0], 1e-15);
  // near each other both are the same quadratic: an eighth of the chi-square, the old one a quarter
  const near = divergence(a, a.map((v, i) => v + 1e-4 * b[i]), 0);
  assertRelative(near.old / near.jsd, 2, 1e-3);
});

Deno.test("sequenceDivergence() leaves out each sequence's last position", () => {
  const a = logits(40), b = logits(40), two = sequenceDivergence(a.slice(0, 30), b.slice(0, 30), 10);
  const first = divergence(a.slice(0, 10), b.slice(0, 10)), second = divergence(a.slice(10, 20), b.slice(10, 20));
  assertRelative(two.jsd, (first.jsd + second.jsd) / 2, 1e-12);
  assertRelative(two.old, (first.old + second.old) / 2, 1e-12);
  assert.throws(() => sequenceDivergence(a.slice(0, 10), b.slice(0, 10), 10), /two positions/);
});
