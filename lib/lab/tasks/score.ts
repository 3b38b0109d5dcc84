// A task put to a model: its rows, the answers, shares with their confidence.
import { basename } from "node:path";
import { storageError } from "../../io/atomic.ts";
import { sha256Hex } from "../../io/digest.ts";
import { LabError } from "../../io/errors.ts";
import { decodeUtf8 } from "../../io/rows.ts";
import type { TextTokenizer } from "../../io/text_tokenizer.ts";
import type { LanguageModel } from "../../model/language_model.ts";
import { type Answer, type AnswerOptions, answerQuestions, type Question } from "../../model/multiple_choice.ts";
import { type MeanWithError, meanWithError } from "../../model/scorer.ts";
import { OWN_TASKS, ownTask, type OwnTaskName } from "./own_tasks.ts";
import { questionOf } from "./task_rows.ts";

/** A task as it was opened. */
export interface Task {
  readonly name: string;
  /** The rows as the file has them. */
  readonly rows: readonly unknown[];
  readonly questions: readonly Question[];
  /** Of the rows as JSON lines. */
  readonly sha256: string;
}

/**
 * Opens a task: one that the kit makes (by its name), or a file of JSON lines.
 *
 * @param spec a name of OWN_TASKS, or a .jsonl file in a form that questionOf knows. @param o.items the first so many only (for
 * the kit's own: how many to make). @param o.seed of the kit's own.
 * @throws LabError "input" for another name, "format" for a line that is no question, "storage" for a file that cannot be read.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openTask } from "./score.ts";
 * assert.equal((await openTask("swapped-words")).questions.length, 300);
 * ```
 */
export async function openTask(
  spec: string,
  o: { readonly items?: number; readonly seed?: number } = {},
): Promise<Task> {
  const { items, seed = 0 } = o;
  if (items !== undefined && !(Number.isInteger(items) && items > 0)) {
    throw new LabError("input", "the number of items", `is ${items}`, "It is 1 or more.");
  }
  const own = spec in OWN_TASKS ? spec as OwnTaskName : null;
  const rows = own ? ownTask(own, { seed, ...(items ? { items } : {}) }) : (await readLines(spec)).slice(0, items);
  const questions = rows.map((row, i) => questionOf(row, `${basename(spec)} line ${i + 1}`));
  const sha256 = sha256Hex(taskLines(rows));
  return { name: own ? `${own}, seed ${seed}` : basename(spec), rows, questions, sha256 };
}

/** Rows as JSON lines: what openTask reads again, and what the harness takes as a data set. */
export function taskLines(rows: readonly unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
}

async function readLines(path: string): Promise<unknown[]> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      const names = Object.keys(OWN_TASKS).join(", ");
      throw new LabError(
        "input",
        `the task ${path}`,
        "is neither a file nor one of the kit's own",
        `Those are ${names}.`,
      );
    }
    throw storageError(path, "cannot read", cause);
  }
  const rows = decodeUtf8(basename(path), bytes).split("\n").flatMap((line, i) => {
    if (line.trim() === "") return [];
    try {
      return [JSON.parse(line) as unknown];
    } catch (cause) {
      const problem = `is not JSON (${cause instanceof Error ? cause.message : cause})`;
      throw new LabError("format", `${basename(path)} line ${i + 1}`, problem, "It takes one object a line.", {
        cause,
      });
    }
  });
  if (rows.length === 0) throw new LabError("input", path, "holds no question");
  return rows;
}

/** What a task came to. */
export interface TaskScore {
  readonly questions: number;
  /** Right by chance: mean of right choices over choices; null for a cloze. */
  readonly chance: number | null;
  readonly acc: MeanWithError;
  readonly accNorm: MeanWithError | null;
  readonly accBytes: MeanWithError | null;
  /** e^(−mean ln P(continuation)) of a cloze, as the harness has it for LAMBADA; null for multiple choice. */
  readonly perplexity: number | null;
  /** Choices whose context was cut at its beginning to fit the model. */
  readonly truncated: number;
}

/**
 * Shares of right answers. A cloze (one choice) is right where greedy decoding writes it.
 *
 * @throws LabError "input" for other counts or no question.
 */
export function summarize(questions: readonly Question[], answers: readonly Answer[]): TaskScore {
  if (questions.length !== answers.length) {
    throw new LabError("input", "a task", `${answers.length} answers to ${questions.length} questions`);
  }
  const cloze = questions.every((q) => q.choices.length === 1),
    truncated = answers.reduce((s, a) => s + a.truncated, 0);
  const right = answers.map((a) => a.logLikelihoods[0]);
  const acc = meanWithError(answers.map((a, i) => questions[i].choices.length === 1 ? a.exactMatch : a.acc));
  return {
    questions: questions.length,
    chance: cloze
      ? null
      : questions.reduce((s, q) => s + [q.gold].flat().length / q.choices.length, 0) / questions.length,
    acc,
    accNorm: cloze ? null : meanWithError(answers.map((a) => a.accNorm)),
    accBytes: cloze ? null : meanWithError(answers.map((a) => a.accBytes)),
    perplexity: cloze ? Math.exp(-right.reduce((s, v) => s + v, 0) / right.length) : null,
    truncated,
  };
}

/** A row and its answer as the harness logs samples. */
export function sampleRow(task: Task, index: number, answer: Answer): Record<string, unknown> {
  const q = task.questions[index];
  return {
    doc_id: index,
    doc: task.rows[index],
    target: q.gold,
    arguments: q.pairs.map((p) => [p.context, p.continuation]),
    filtered_resps: answer.logLikelihoods.map((v, i) => [v, answer.greedy[i] ?? null]),
    acc: q.choices.length === 1 ? answer.exactMatch : answer.acc,
    acc_norm: answer.accNorm,
  };
}

/**
 * Puts a task to a model.
 *
 * @returns the answers and what they come to.
 * @throws LabError as answerQuestions.
 */
export async function scoreTask(model: LanguageModel, tokenizer: TextTokenizer, task: Task, o: AnswerOptions = {}) {
  const answers = await answerQuestions(model, tokenizer, task.questions, o);
  return { answers, score: summarize(task.questions, answers) };
}
