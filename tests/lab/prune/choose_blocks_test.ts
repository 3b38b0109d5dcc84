import assert from "node:assert/strict";
import {
  ablate,
  type Ablation,
  fluentBlocks,
  greedyBlocks,
  marginOf,
  randomBlocks,
  topBlocks,
} from "../../../lib/lab/prune/choose_blocks.ts";
import { compareDecoding, openDecodingStudy, sweepPlausibility } from "../../../lib/lab/prune/decoding_study.ts";

const of = (skip: number[], perplexity: number, acc: number, margin = 0): Ablation => ({
  skip,
  perplexity,
  acc,
  margin,
});
const whole = of([], 30, 0.8);

Deno.test("fluentBlocks() says how mild the mildest loss is where the filter leaves nothing", () => {
  const singles = [of([0], 900, 0.3), of([1], 40, 0.7)];
  assert.deepEqual(fluentBlocks(singles, whole, 1.5), [1]);
  assert.throws(() => fluentBlocks(singles, whole, 1.1), /leaves no block at 1\.1 times .*multiplies it by 1\.33/s);
});

Deno.test("topBlocks() takes the fewest right answers, of equal ones the smaller margin, among candidates only", () => {
  const singles = [of([0], 30, 0.1), of([1], 30, 0.5, -1), of([2], 30, 0.5, -2), of([3], 30, 0.6)];
  assert.deepEqual(topBlocks(singles, [1, 2, 3], 1), [2]);
  assert.deepEqual(topBlocks(singles, [1, 2, 3], 2), [1, 2]);
  assert.throws(() => topBlocks(singles, [1, 2, 3], 4), /4 blocks to leave out: of 3 candidates/);
});

Deno.test("greedyBlocks() measures sets together: two harmless blocks may be the worst pair; a set that cannot speak is no set", async () => {
  const table = new Map([
    ["1", of([1], 31, 0.7)],
    ["2", of([2], 31, 0.6)],
    ["3", of([3], 31, 0.75)],
    ["1,2", of([1, 2], 32, 0.58)],
    ["2,3", of([2, 3], 33, 0.4)],
    ["1,2,3", of([1, 2, 3], 900, 0.1)],
  ]);
  const measure = (sets: readonly (readonly number[])[]) => Promise.resolve(sets.map((s) => table.get(s.join())!));
  const singles = [of([0], 900, 0), ...["1", "2", "3"].map((b) => table.get(b)!)];
  const grown = await greedyBlocks(measure, whole, singles, [1, 2, 3], 3, 1.5);
  assert.deepEqual(grown.map((a) => a.skip), [[2], [2, 3]]);
});

Deno.test("randomBlocks() draws different sets of the size, the same for a seed", () => {
  const sets = randomBlocks([1, 2, 5, 7], 2, 4, 0);
  assert.equal(new Set(sets.map(String)).size, 4);
  assert(sets.every((s) => s.length === 2 && s[0] < s[1] && s.every((b) => [1, 2, 5, 7].includes(b))));
  assert.deepEqual(randomBlocks([1, 2, 5, 7], 2, 4, 0), sets);
  assert.notDeepEqual(randomBlocks([1, 2, 5, 7], 2, 4, 1), sets);
  assert.equal(randomBlocks([1], 1, 3, 0).length, 1); // there is one only
  assert.deepEqual(randomBlocks([1, 2], 1, 3, 0, [1]), [[2]]);
});

Deno.test("marginOf() is the log share of the right choice", () => {
  const margin = marginOf({ logLikelihoods: [-1, -1, -1, -1] }, { gold: 2 });
  assert(Math.abs(margin + Math.log(4)) < 1e-12);
  assert(Math.abs(marginOf({ logLikelihoods: [-1000, -1000] }, { gold: [0, 1] })) < 1e-12);
});

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads

Deno.test(
  "a study of the embedded model: leaving out the first block hurts most; without a development set a sentence",
  options,
  async () => {
    const setting = {
      task: "swapped-words",
      development: 8,
      test: 6,
      text: "moby-dick",
      windows: 2,
      seqLen: 32,
      seed: 0,
    };
    const study = await openDecodingStudy("fixture", setting), { model, tokenizer } = study;
    try {
      const [own, ...singles] = await ablate(model, tokenizer, study.development, [[], [0], [1], [2], [3]]);
      assert(singles.every((a) => a.perplexity > own.perplexity));
      assert(singles[0].perplexity > 2 * singles[2].perplexity, `${singles.map((a) => a.perplexity)}`);
      const greedy = await compareDecoding(study, { nothing: [], some: [1] }, { beta: 0.5, alpha: 1 });
      // α = 1: an answer scores by how often it is greedy decoding's token; nothing left out: the amateur is the model
      assert.deepEqual(greedy.rows[1].answers, greedy.rows[0].answers);
      const plain = await compareDecoding(study, { nothing: [] }, { beta: 0.5, alpha: 0 });
      const swept = await sweepPlausibility(study, [1], { beta: 0.5, alphas: [0, 1] });
      assert.deepEqual(swept.map((p) => p.alpha), [0, 1]);
      assert.deepEqual(swept[1].row.answers, greedy.rows[4].answers);
      assert.deepEqual(plain.rows[2].answers.map((a) => a.picked), plain.rows[0].answers.map((a) => a.picked));
      await assert.rejects(
        ablate(model, tokenizer, { ...study.development, questions: [] }, [[1]]),
        /the development set: has 2 texts and 0 questions/,
      );
    } finally {
      study.close();
    }
    await assert.rejects(openDecodingStudy("fixture", { ...setting, development: 0 }), /Both parts need one at least/);
  },
);
