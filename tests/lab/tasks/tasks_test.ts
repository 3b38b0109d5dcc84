import assert from "node:assert/strict";
import { join } from "node:path";
import { book } from "../../../lib/io/books.ts";
import { ownTask, type OwnTaskName } from "../../../lib/lab/tasks/own_tasks.ts";
import { openTask, sampleRow, scoreTask, summarize, taskLines } from "../../../lib/lab/tasks/score.ts";
import { questionOf } from "../../../lib/lab/tasks/task_rows.ts";
import { resolveModel } from "../../../lib/lab/open.ts";
import { openLanguageModel } from "../../../lib/model/language_model.ts";
import { judgeChoices } from "../../../lib/model/scorer.ts";

const words = (s: string) => s.split(" ").sort().join(" ");

for (const name of ["next-fragment", "word-order", "swapped-words"] as OwnTaskName[]) {
  Deno.test(`ownTask() ${name}: the right choice alone goes on as the held-out text does; by seed`, () => {
    const rows = ownTask(name), text = book("sotu").heldOut.replace(/\s+/g, " ");
    assert.equal(rows.length, 300);
    for (const r of rows) {
      r.choices.forEach((c, i) => assert.equal(text.includes(`${r.query} ${c}`), i === r.gold, `${r.query} | ${c}`));
      if (name !== "next-fragment") assert.equal(new Set(r.choices.map(words)).size, 1);
    }
    const golds = [0, 1, 2, 3].map((g) => rows.filter((r) => r.gold === g).length);
    assert(Math.min(...golds) > 45, `golds ${golds}`); // no position gives the answer away
    assert.equal(new Set(rows.map((r) => r.query)).size, 300);
    assert.deepEqual(ownTask(name), rows);
    assert.notDeepEqual(ownTask(name, { seed: 1 }), rows);
  });
}

Deno.test("ownTask() refuses more items than the text has room for", () => {
  assert.throws(() => ownTask("word-order", { book: "moby-dick", items: 5000 }), /5000 items do not fit.*moby-dick/);
});

Deno.test("questionOf() reads what the harness logged, lists and numbered arguments alike", () => {
  const pairs = [["Q: 1+1\nA:", " two"], ["Q: 1+1\nA:", " three"]];
  const numbered = Object.fromEntries(pairs.map(([a, b], i) => [`gen_args_${i}`, { arg_0: a, arg_1: b }]));
  for (const logged of [pairs, numbered]) {
    const q = questionOf({ doc_id: 3, doc: {}, target: "1", arguments: logged, resps: [] }, "x");
    assert.deepEqual(q.pairs[1], { context: "Q: 1+1\nA:", continuation: " three" });
    assert.deepEqual([q.choices, q.gold], [["two", "three"], 1]);
  }
  const eleven = Object.fromEntries(
    Array.from({ length: 11 }, (_, i) => [`gen_args_${10 - i}`, { arg_0: "a", arg_1: ` ${10 - i}` }]),
  );
  assert.equal(questionOf({ arguments: eleven, target: 10 }, "x").choices[10], "10");
  const cloze = questionOf({ arguments: [["The whale is", " white"]], target: " white" }, "x");
  assert.deepEqual([cloze.choices, cloze.gold], [["white"], 0]);
});

Deno.test("questionOf() writes the harness's prompts for the data sets it knows", () => {
  const arc = questionOf({ question: "Why?", choices: { text: ["x", "y"], label: ["A", "B"] }, answerKey: "B" }, "x");
  assert.deepEqual([arc.pairs[1], arc.gold], [{ context: "Question: Why?\nAnswer:", continuation: " y" }, 1]);
  const swag = questionOf({
    activity_label: "Baking",
    ctx_a: "A cook stirs.",
    ctx_b: "the Cook",
    endings: ["eats [title] it [x] up", "b", "c", "d"],
    label: "2",
  }, "x");
  assert.deepEqual([swag.pairs[0], swag.gold], [{
    context: "Baking: A cook stirs. The cook",
    continuation: " eats. it up",
  }, 2]);
  const wino = questionOf({ sentence: "Ann met Sue; _ was late.", option1: "Ann", option2: "Sue", answer: "2" }, "x");
  assert.deepEqual([wino.pairs[1], wino.gold], [{ context: "Ann met Sue; Sue", continuation: " was late." }, 1]);
  const piqa = questionOf({ goal: "Cut", sol1: "knife", sol2: "spoon", label: 0 }, "x");
  assert.deepEqual(piqa.pairs[0], { context: "Question: Cut\nAnswer:", continuation: " knife" });
  const boolq = questionOf({ passage: "P.", question: "is it", answer: true, label: 1 }, "x");
  assert.deepEqual([boolq.pairs[1], boolq.gold], [
    { context: "P.\nQuestion: is it?\nAnswer:", continuation: " yes" },
    1,
  ]);
  const lambada = questionOf({ text: "he saw the whale" }, "x");
  assert.deepEqual(lambada.pairs, [{ context: "he saw the", continuation: " whale" }]);
  const mmlu = questionOf({ question: "Why?", choices: ["x", "y", "z"], answer: 2 }, "x");
  assert.equal(mmlu.gold, 2);
});

Deno.test("questionOf() says what is wrong with a row", () => {
  assert.throws(() => questionOf({ name: "x" }, "a.jsonl line 3"), /a\.jsonl line 3: fields name make no question/);
  assert.throws(
    () => questionOf({ query: "x", choices: ["a"], gold: 4 }, "l"),
    /right answer is number 4 of 1 choices/,
  );
  assert.throws(() => questionOf({ query: "x", choices: "ab", gold: 0 }, "l"), /does not hold/);
  assert.throws(() => questionOf([1], "l"), /fields none/);
});

Deno.test("openTask() reads a file of JSON lines, names bad lines and unknown tasks", async () => {
  const folder = await Deno.makeTempDir(), file = join(folder, "own.jsonl");
  try {
    await Deno.writeTextFile(file, taskLines(ownTask("word-order", { items: 5 })) + "\n");
    const own = await openTask("word-order", { items: 5 }), read = await openTask(file);
    assert.deepEqual(read.questions, own.questions);
    assert.equal(read.sha256, own.sha256);
    assert.equal((await openTask(file, { items: 2 })).questions.length, 2);
    await Deno.writeTextFile(file, '{"text": "a b"}\n{"text"\n');
    await assert.rejects(openTask(file), /own\.jsonl line 2: is not JSON/);
    await Deno.writeTextFile(file, "\n");
    await assert.rejects(openTask(file), /holds no question/);
    await assert.rejects(openTask("nothing-such"), /neither a file nor.*word-order/);
    await assert.rejects(openTask(file, { items: 0 }), /number of items/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("summarize() takes a cloze as right where greedy decoding writes it, and knows chance", () => {
  const cloze = { pairs: [{ context: "a", continuation: " b" }], choices: ["b"], gold: 0 };
  const answer = (v: number, greedy: boolean) => {
    return { ...judgeChoices([v], ["b"], 0, [greedy]), logLikelihoods: [v], greedy: [greedy], truncated: 0 };
  };
  const s = summarize([cloze, cloze], [answer(-1, true), answer(-3, false)]);
  assert.deepEqual([s.acc.mean, s.accNorm, s.chance], [0.5, null, null]);
  assert(Math.abs(s.perplexity! - Math.exp(2)) < 1e-12);
  assert.throws(() => summarize([cloze], []), /0 answers to 1 questions/);
});

Deno.test("scoreTask() finds the embedded model far above chance, and its samples read back to the same verdicts", async () => {
  const files = await resolveModel("fixture"), tokenizer = await files.tokenizer();
  const model = await openLanguageModel(files), task = await openTask("word-order", { items: 24 });
  try {
    const { answers, score } = await scoreTask(model, tokenizer!, task);
    assert.equal(score.chance, 0.25);
    assert(score.acc.low > 0.5, `acc ${score.acc.mean}, low ${score.acc.low}`);
    assert.equal(score.truncated, 0);
    for (const [i, a] of answers.entries()) {
      const row = JSON.parse(JSON.stringify(sampleRow(task, i, a))), q = questionOf(row, "sample");
      assert.deepEqual(q, task.questions[i]);
      const ll = (row.filtered_resps as [number, unknown][]).map(([v]) => v);
      assert.equal(judgeChoices(ll, q.choices, q.gold).acc, row.acc);
    }
  } finally {
    model.close();
    files.source.close();
  }
});
