import assert from "node:assert/strict";
import type { TextTokenizer } from "../../lib/io/text_tokenizer.ts";
import { generate } from "../../lib/model/generate.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { continuationLogLikelihoods } from "../../lib/model/likelihood.ts";
import { answerQuestions, encodePair } from "../../lib/model/multiple_choice.ts";
import { assertWithin } from "../assert.ts";
import { tinyModel } from "./tiny.ts";

/** Letters are tokens, but "qu" is one, so that a seam between them matters. */
const letters: TextTokenizer = {
  encode: (text) => Array.from(text.replaceAll("qu", "\x01"), (c) => c.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...ids).replaceAll("\x01", "qu"),
  vocabSize: 128,
  bosId: null,
  eosId: 2,
};

Deno.test("encodePair() gives the continuation the spaces before it and cuts words as the whole text has them", () => {
  assert.deepEqual(encodePair(letters, "a \n", "b"), { context: [97], continuation: [32, 10, 98], truncated: false });
  assert.deepEqual(encodePair(letters, "", " b"), { context: [2], continuation: [32, 98], truncated: false });
  // "aq" + "ux" is a, qu, x: the context keeps its own two tokens, the rest is x alone, as in the harness
  assert.deepEqual(encodePair(letters, "aq", "ux").continuation, [120]);
});

Deno.test("encodePair() keeps the end of a context that is too long, and refuses what has no room or no token", () => {
  const cut = encodePair(letters, "abcdef", "gh", 5);
  assert.deepEqual(cut, { context: [100, 101, 102], continuation: [103, 104], truncated: true });
  assert.throws(() => encodePair(letters, "ab", "cdefg", 5), /5 tokens where the model knows 5/);
  assert.throws(() => encodePair(letters, "ab", ""), /adds no token/);
  assert.throws(() => encodePair({ ...letters, eosId: null }, "", "b"), /no BOS or EOS/);
});

Deno.test("answerQuestions() picks the likeliest choice, and knows what greedy decoding writes", async () => {
  const model = await openLanguageModel(tinyModel("llama"));
  try {
    const context = "the whale", prompt = letters.encode(context);
    const written = await generate(model, prompt, { tokens: 3 });
    const other = written.map((id) => (id + 40) % 128);
    const requests = [written, other, [written[0], other[1]]].map((continuation) => ({
      context: prompt,
      continuation,
    }));
    const scores = await continuationLogLikelihoods(model, requests, { greedy: true });
    assert.deepEqual(scores.map((s) => s.greedy), [true, false, false]);
    assert.equal((await continuationLogLikelihoods(model, requests))[0].greedy, undefined);

    const choices = ["sea", "harpoon", "zzz"], pairs = choices.map((c) => ({ context, continuation: ` ${c}` }));
    const cloze = { pairs: [pairs[0]], choices: ["sea"], gold: 0 };
    const [answer, single] = await answerQuestions(model, letters, [{ pairs, choices, gold: 1 }, cloze]);
    const direct = await continuationLogLikelihoods(
      model,
      pairs.map((p) => encodePair(letters, context, p.continuation)),
    );
    assertWithin(answer.logLikelihoods, direct.map((s) => s.logLikelihood), 1e-4);
    assertWithin(single.logLikelihoods, [direct[0].logLikelihood], 1e-4);
    assert.equal(answer.picked, answer.logLikelihoods.indexOf(Math.max(...answer.logLikelihoods)));
    assert.equal(answer.acc, answer.picked === 1 ? 1 : 0);
    assert.equal(answer.greedy.length, 3); // asked for, since a cloze is among the questions
    await assert.rejects(answerQuestions(model, letters, []), /no question/);
    await assert.rejects(answerQuestions(model, letters, [{ ...cloze, choices: ["a", "b"] }]), /question 0/);
  } finally {
    model.close();
  }
});
