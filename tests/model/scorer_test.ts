import assert from "node:assert/strict";
import { documentPerplexities, judgeChoices, meanWithError } from "../../lib/model/scorer.ts";
import { assertRelative } from "../assert.ts";

Deno.test("judgeChoices() counts code points, not UTF-16 units, and bytes on their own", () => {
  // 3 characters, 6 units, 12 bytes, against 4 plain letters
  const v = judgeChoices([-3.6, -4.4], ["🙂🙂🙂", "abcd"], 0);
  assert.deepEqual([v.picked, v.pickedNorm, v.acc, v.accNorm, v.accBytes], [0, 1, 1, 0, 1]);
});

Deno.test("judgeChoices() takes the first of equal choices, any of several golds, and none for -100", () => {
  assert.equal(judgeChoices([-2, -2], ["aa", "bb"], 1).acc, 0);
  assert.equal(judgeChoices([-2, -2], ["aa", "bb"], 0).acc, 1);
  assert.equal(judgeChoices([-1, -2, -3], ["a", "b", "c"], [0, 2]).acc, 1);
  assert.equal(judgeChoices([-1, -2, -3], ["a", "b", "c"], [1, 2], [false, false, true]).exactMatch, 1);
  assert.deepEqual(Object.values(judgeChoices([-1, -2], ["a", "b"], -100, [true, true])).slice(0, 4), [0, 0, 0, 0]);
});

Deno.test("judgeChoices() refuses counts that differ, NaN, and a gold outside the choices", () => {
  assert.throws(() => judgeChoices([-1], ["a", "b"], 0), /1 log-likelihoods/);
  assert.throws(() => judgeChoices([-1, NaN], ["a", "b"], 0), /NaN/);
  assert.throws(() => judgeChoices([-1, -2], ["a", "b"], 2), /right answer is number 2/);
});

Deno.test("meanWithError() has the error of a sample and an interval that covers 95 of 100 samples", () => {
  const m = meanWithError([0.5, 1.5, 4]);
  assert.equal(m.mean, 2);
  assertRelative(m.standardError, Math.sqrt((2.25 + 0.25 + 4) / 2 / 3), 1e-12);
  assert.equal(meanWithError([1, 1, 1]).high, 1);
  assert(meanWithError([1, 1, 1]).low < 0.5);
  // Exactly: the binomial weight of all outcomes whose interval holds p is 95 % on average over p.
  let covered = 0;
  const n = 20,
    intervals = Array.from(
      { length: n + 1 },
      (_, k) => meanWithError(Array.from({ length: n }, (_, i) => i < k ? 1 : 0)),
    );
  for (let p = 0.005; p < 1; p += 0.01) {
    let weight = (1 - p) ** n;
    for (let k = 0; k <= n; k++) {
      if (intervals[k].low <= p && p <= intervals[k].high) covered += weight / 100;
      weight *= (n - k) / (k + 1) * p / (1 - p);
    }
  }
  assert(covered > 0.94 && covered < 0.965, `covers ${covered}`);
  assert.throws(() => meanWithError([]), /no question/);
});

Deno.test("documentPerplexities() weighs documents by their length", () => {
  const a = { logLikelihood: -10, words: 5, bytes: 20 }, b = { logLikelihood: -30, words: 5, bytes: 60 };
  const p = documentPerplexities([a, b]);
  assertRelative(p.word, Math.exp(4), 1e-12);
  assertRelative(p.byte, Math.exp(0.5), 1e-12);
  assertRelative(p.bitsPerByte, 0.5 / Math.LN2, 1e-12);
  assert.throws(() => documentPerplexities([]), /0 words/);
});
