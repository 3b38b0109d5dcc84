import assert from "node:assert/strict";
import type { TextTokenizer } from "../../lib/io/text_tokenizer.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { answerQuestions, type Question } from "../../lib/model/multiple_choice.ts";
import { answerPruned } from "../../lib/model/pruned_answers.ts";
import { withoutBlocks } from "../../lib/model/skip_blocks.ts";
import { smallLlama } from "./tiny.ts";

const letters: TextTokenizer = {
  encode: (text) => Array.from(text, (c) => c.charCodeAt(0) % 64),
  decode: (ids) => String.fromCharCode(...ids),
  vocabSize: 64,
  bosId: 1,
  eosId: 2,
};
const model = await openLanguageModel(smallLlama(4));
const questions = ["the whale", "a ship at sea"].map((context, i): Question => {
  const choices = ["sank", "swam away", "is white"];
  return { pairs: choices.map((c) => ({ context, continuation: ` ${c}` })), choices, gold: i };
});
const contrast = { expert: 1.5, amateur: 0.5, plausibility: 0.01 };

Deno.test("answerPruned() says of each set what the model without it says alone, bit for bit", async () => {
  const skips = [[1], [2], [1, 2], []];
  const found = await answerPruned(model, letters, questions, { skips, contrast });
  assert.deepEqual(found.expert, await answerQuestions(model, letters, questions));
  for (const [k, skip] of skips.entries()) {
    const amateur = withoutBlocks(model, skip);
    assert.deepEqual(found.amateurs[k], await answerQuestions(amateur, letters, questions), `without ${skip}`);
    assert.deepEqual(found.contrasts[k], await answerQuestions(model, letters, questions, { amateur, contrast }));
  }
  assert.notDeepEqual(found.amateurs[0], found.amateurs[1]);
  assert.deepEqual(found.amateurs[3], found.expert); // nothing skipped
});

Deno.test("answerPruned() takes an early exit for the model without all later blocks, and DoLa the exit that differs most", async () => {
  const one = await answerPruned(model, letters, questions, { skips: [[2, 3], [1, 2, 3]], exits: [1], contrast });
  assert.deepEqual(one.dola, one.contrasts[0]);
  const two = await answerPruned(model, letters, questions, { skips: [], exits: [0, 1], contrast });
  const tokens = questions.flatMap((q) => q.pairs).reduce((n, p) => n + p.continuation.length, 0);
  assert.equal(two.picked[0] + two.picked[1], tokens);
  assert.ok(two.picked.every((n) => n > 0), "the choice never changes: this test sees nothing");
  assert.notDeepEqual(two.dola, one.contrasts[0]);
  assert.notDeepEqual(two.dola, one.contrasts[1]);
});

Deno.test("answerPruned() refuses a set of all blocks, an exit that is none, and no question", async () => {
  const ask = (o: { skips: number[][]; exits?: number[] }, q = questions) => answerPruned(model, letters, q, o);
  await assert.rejects(ask({ skips: [[0, 1, 2, 3]] }), /no block would be left/);
  await assert.rejects(ask({ skips: [], exits: [3] }), /no early exit behind block 3\. Exits are 0 to 2/);
  await assert.rejects(ask({ skips: [[1]] }, []), /has no question/);
});
