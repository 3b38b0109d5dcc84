import assert from "node:assert/strict";
import { makeRecipe } from "../../../lib/lab/recipe.ts";
import { summarize, type Task } from "../../../lib/lab/tasks/score.ts";
import {
  accuracyFigure,
  differenceSentence,
  pairOf,
  powerSentence,
  scoreTable,
  taskNumbers,
} from "../../../lib/lab/tasks/task_figures.ts";
import { type ModelScore, openTasks, scoreCommand, taskCases } from "../../../lib/lab/tasks/task_study.ts";
import { judgeChoices } from "../../../lib/model/scorer.ts";

/** A model that has these questions right, out of n with two choices. */
function scored(model: string, name: string, n: number, right: (i: number) => boolean): ModelScore {
  const question = { pairs: [], choices: ["a", "b"], gold: 0 };
  const task = { name, rows: Array(n).fill({}), questions: Array(n).fill(question), sha256: "" } as unknown as Task;
  const answers = Array.from({ length: n }, (_, i) => {
    const logLikelihoods = right(i) ? [-1, -2] : [-2, -1];
    return { ...judgeChoices(logLikelihoods, ["a", "b"], 0), logLikelihoods, greedy: [], truncated: 0 };
  });
  const recipe = model === "float" ? null : makeRecipe(taskCases(3, 3.1)[2]);
  return { model, recipe, spec: "fixture", task, answers, score: summarize(task.questions, answers) };
}

const scores = ["float", "OPTQ 3", "OWQ 3.1"].flatMap((model, m) => [
  scored(model, "swapped-words, seed 0", 200, (i) => i >= 30 * m),
  scored(model, "word-order, seed 0", 20, () => true),
]);

Deno.test("differenceSentence() says that a model is worse where it is, and that no difference was seen where there is none", () => {
  const text = differenceSentence(scores, "float", "OPTQ 3", 0);
  assert.match(text, /^OPTQ 3 against float: swapped-words: −15\.0 points \(.*\), OPTQ 3 is worse; /);
  assert.match(text, /word-order: 0\.0 points \(0\.0\s…\s0\.0\), no difference was seen\.$/);
  assert.match(differenceSentence(scores, "OWQ 3.1", "float", 0), /float is better/);
});

Deno.test("pairOf() without a task puts the questions of all tasks together, and the record follows", () => {
  const d = pairOf(scores, null, "OPTQ 3", "OWQ 3.1", 0), numbers = taskNumbers(scores, "OPTQ 3", "OWQ 3.1", 0);
  assert.deepEqual([d.n, d.lost, d.gained], [220, 30, 0]);
  const value = (key: string) => numbers[key].value as number;
  assert.equal(value("all tasks, plain/acc"), 190 / 220);
  assert(Math.abs(value("all tasks, owq/acc") - 160 / 220) < 1e-12);
  assert(value("all tasks, owq/paired high") < 190 / 220, "the whole interval is below");
  assert.equal(value("swapped-words, OWQ 3.1/acc"), 0.7);
  assert.match(powerSentence(scores, "OPTQ 3", "OWQ 3.1", 0), /disagree on 30 of 220 questions.*about \d{4} questions/);
});

Deno.test("accuracyFigure() and scoreTable() show each model's share, and the float model without a difference", () => {
  assert.deepEqual(accuracyFigure(scores).data.map((d) => (d.y as number[])[0]), [100, 85, 70]);
  const rows = scoreTable(scores, 0).rows;
  assert.deepEqual(rows[0].slice(5), [null, null, null, null]);
  assert.deepEqual([rows[2][2], rows[2][5], rows[2][7]], ["85.0", "−15.0", "0, 30"]);
});

Deno.test("openTasks() reads names with their numbers of questions, and scoreCommand() prints the line that asks them", async () => {
  const [words] = await openTasks("word-order:12", 1);
  assert.deepEqual([words.questions.length, words.name], [12, "word-order, seed 1"]);
  const of = (recipe: ModelScore["recipe"]) => scoreCommand({ ...scores[0], recipe, task: words });
  assert.equal(of(null), "deno task owq score --model fixture --task word-order --items 12 --seed 1");
  assert.match(
    of(scores[4].recipe),
    /^deno task owq quantize .*--method owq --bits 3\.1 .*--out (\S+) && .*--model \1 --task/,
  );
});
