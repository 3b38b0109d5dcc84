import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { roundHalfEven } from "../../lib/kernels/round.ts";
import { hqq, HQQ_DEFAULTS } from "../../lib/quant/hqq.ts";

/** Zero points of one row after one round, as the formula reads. */
function oneRound(row: readonly number[], bits: number, beta: number, p: number): number {
  const f = Math.fround, top = 2 ** bits - 1, low = Math.min(...row);
  const inverse = f(top / f(Math.max(...row) - low)), z = f(-low * inverse);
  let sum = 0;
  for (const w of row) {
    const q = Math.max(0, Math.min(top, roundHalfEven(f(f(w * inverse) + z)))), u = f(w - f((q - z) / inverse));
    const size = Math.abs(u), e = size === 0 ? 0 : Math.sign(u) * Math.max(0, size - size ** (p - 1) / beta);
    sum += q - (w - e) * inverse;
  }
  return f(sum / row.length);
}

Deno.test("hqq() shrinks errors by the formula, also where it leaves the power out because nothing can be left of them", () => {
  const stream = rng(3, "hqq test");
  let shrunk = 0;
  for (const [size, beta, p] of [[0.05, 10, 0.7], [0.4, 10, 0.7], [3, 10, 0.7], [3, 2, 0.2], [1, 100, 0.9]]) {
    const row = Array.from({ length: 96 }, () => Math.fround(size * stream.normal()));
    const w = { data: Float32Array.from(row), rows: 1, cols: 96 };
    const o = { ...HQQ_DEFAULTS, bits: 2, groupSize: 0, scaleBits: 32 as const, rounds: 1 };
    const found = hqq(w, { ...o, beta, lp: p }).zero[0];
    assert.equal(found, oneRound(row, 2, beta, p), `weights of ${size}, β ${beta}, p ${p}`);
    if (found !== oneRound(row, 2, 1e-9, p)) shrunk++; // with such a β nothing is ever left
  }
  assert(shrunk >= 3, `only ${shrunk} of the cases shrink anything`);
});
