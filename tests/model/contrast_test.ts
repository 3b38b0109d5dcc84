import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { contrast, contrastToken, pickExit, plausibleTokens, SCORING } from "../../lib/model/contrast.ts";
import { likeliest } from "../../lib/model/generate.ts";
import { logSoftmax } from "../../lib/model/log_softmax.ts";
import { assertRelative, assertWithin } from "../assert.ts";

const random = rng(2, "contrast test");
/** Logits on a coarse grid, so that ties are common. */
const logits = (n: number) => Float32Array.from({ length: n }, () => Math.round(2 * random.normal()) / 2);

Deno.test("contrastToken() is greedy decoding exactly at α = 1, ties included, and where the amateur has no weight", () => {
  let ties = 0;
  for (let t = 0; t < 300; t++) {
    const expert = logits(40), amateur = logits(40), greedy = likeliest(expert);
    if (expert.filter((v) => v === expert[greedy]).length > 1) ties++;
    assert.equal(contrastToken(expert, amateur, { plausibility: 1 }), greedy);
    assert.equal(contrastToken(expert, amateur, { plausibility: 0.1, expert: 1, amateur: 0 }), greedy);
  }
  assert(ties > 30, `${ties} ties`);
});

Deno.test("contrast() of a model with itself leaves no preference, and strikes out the implausible", () => {
  const x = logits(30), scores = contrast(x, x), keep = plausibleTokens(x, 0.1), p = logSoftmax(x);
  scores.forEach((v, i) => assert.equal(v, keep[i] ? 0 : -Infinity));
  const most = Math.max(...p);
  p.forEach((v, i) => assert.equal(keep[i] === 1, v >= most + Math.log(0.1) - 1e-12));
});

Deno.test("contrast() weighs both sides, and with SCORING is a distribution before the cut", () => {
  const x = logits(30), y = logits(30), p = logSoftmax(x), q = logSoftmax(y), beta = 0.5;
  assertWithin(
    contrast(x, y, { plausibility: 0, expert: 1 + beta, amateur: beta }),
    p.map((v, i) => 1.5 * v - 0.5 * q[i]),
    1e-12,
  );
  const open = contrast(x, y, { ...SCORING, plausibility: 0 });
  assertRelative(open.reduce((s, v) => s + Math.exp(v), 0), 1, 1e-12);
  const cut = contrast(x, y, SCORING), keep = plausibleTokens(x, 0.1);
  cut.forEach((v, i) => assert.equal(v, keep[i] ? open[i] : -1000));
  assert.throws(() => contrast(x, y, { plausibility: 1.5 }), /α: is 1\.5/);
  assert.throws(() => contrast(x, logits(3)), /30 and 3 logits/);
});

Deno.test("pickExit() finds the exit that differs most, 0 for the expert itself, by its mean over the vocabulary", () => {
  const x = logits(50), far = x.map((v) => -v), choice = pickExit(x, [x, far, x.map((v) => v / 2)]);
  assert.equal(choice.picked, 1);
  assertWithin([choice.divergence[0]], [0], 1e-15);
  // by the definition in probabilities
  const p = logSoftmax(x).map(Math.exp), q = logSoftmax(far).map(Math.exp);
  const expected = p.reduce((s, v, i) => {
    const m = (v + q[i]) / 2;
    return s + m * Math.log(m / v) + m * Math.log(m / q[i]);
  }, 0) / 100;
  assertRelative(choice.divergence[1], expected, 1e-12);
  assert.throws(() => pickExit(x, []), /no candidate/);
});
