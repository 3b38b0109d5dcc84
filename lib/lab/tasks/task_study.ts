// Notebook 10: multiple-choice tasks put to the float model and to quantized ones. OWQ, arXiv 2306.02272, tables 3 and 4.
import { join } from "node:path";
import { atomicWriteText } from "../../io/atomic.ts";
import { sha256Hex } from "../../io/digest.ts";
import { LabError } from "../../io/errors.ts";
import { openLanguageModel } from "../../model/language_model.ts";
import type { Answer } from "../../model/multiple_choice.ts";
import type { Case, Row } from "../compare.ts";
import { resolveModel } from "../open.ts";
import { labPaths, shortPath } from "../paths.ts";
import { progress } from "../progress.ts";
import type { Recipe } from "../recipe.ts";
import { recipeCommand } from "../recipe_command.ts";
import { packedFolders } from "../sweep.ts";
import { labVersion } from "../version.ts";
import { openTask, scoreTask, summarize, type Task, type TaskScore } from "./score.ts";

/** RTN and OPTQ at whole bits, OWQ at its target: what tables 3 and 4 compare. */
export function taskCases(bits: number, target: number): Case[] {
  return [
    { label: `RTN ${bits}`, method: "rtn", bits },
    { label: `OPTQ ${bits}`, method: "optq", bits },
    { label: `OWQ ${target}`, method: "owq", bits: target },
  ];
}

/**
 * Opens tasks from a list such as "swapped-words:300 next-fragment:60": names or files, each with its number of questions.
 *
 * @throws LabError as openTask, and "input" for a number of questions that is none.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openTasks } from "./task_study.ts";
 * const tasks = await openTasks("swapped-words:20 word-order:10", 0);
 * assert.deepEqual(tasks.map((t) => t.questions.length), [20, 10]);
 * ```
 */
export async function openTasks(list: string, seed: number): Promise<Task[]> {
  return await Promise.all(
    list.split(/\s+/).filter(Boolean).map((word) => {
      const [, spec, items] = /^(.*?)(?::(\d+))?$/.exec(word)!;
      return openTask(spec, { seed, ...(items ? { items: Number(items) } : {}) });
    }),
  );
}

/** One model's answers to one task. */
export interface ModelScore {
  readonly model: string;
  /** Null for the float model. */
  readonly recipe: Recipe | null;
  /** SPEC that `owq score --model` takes. */
  readonly spec: string;
  readonly task: Task;
  readonly answers: readonly Answer[];
  readonly score: TaskScore;
}

/**
 * Puts every task to the float model and to the packed model of every row; answers given before are read back from out/scores.
 *
 * @param spec of the float model. @param rows finished experiments, whose packed models still lie in out/runs.
 * @returns one score a task and model, tasks slowest.
 * @throws LabError as resolveModel and scoreTask.
 */
export async function scoreModels(spec: string, rows: readonly Row[], tasks: readonly Task[]): Promise<ModelScore[]> {
  const packed = await packedFolders(rows.map((r) => r.recipe)), scores: ModelScore[] = [];
  const models = [{ label: "float", spec, recipe: null }, ...rows.map((r, i) => ({ ...r, spec: packed[i] }))];
  const bar = progress("questions", { total: 0, unit: "blocks" }), total = tasks.length * models.length;
  try {
    for (const task of tasks) {
      for (const m of models) {
        const done = scores.length;
        const answers = await answersOf(m.spec, task, (p) =>
          bar.onProgress({
            what: `${m.label} on ${task.name}`,
            done: done + p.done / Math.max(1, p.total),
            total,
            unit: "sets",
          }));
        const score = summarize(task.questions, answers);
        scores.push({ model: m.label, recipe: m.recipe, spec: shortPath(m.spec), task, answers, score });
      }
    }
    bar.onProgress({ what: "questions", done: total, total, unit: "sets" });
  } finally {
    await bar.finish();
  }
  return scores;
}

/** A model's answers, from disk where exactly this model was asked exactly this before. */
async function answersOf(
  spec: string,
  task: Task,
  onProgress: (p: { done: number; total: number }) => void,
): Promise<Answer[]> {
  const files = await resolveModel(spec);
  try {
    const key = [await labVersion(), await files.source.sha256(), task.sha256].join(" ");
    const file = join(labPaths().out, "scores", `${sha256Hex(key).slice(0, 16)}.json`);
    const known = await Deno.readTextFile(file).then((t) => JSON.parse(t) as { key: string; answers: Answer[] }).catch(
      () => null, // not there, or not whole: asked again
    );
    if (known?.key === key && known.answers.length === task.questions.length) return known.answers;
    const tokenizer = await files.tokenizer(), model = await openLanguageModel(files);
    if (!tokenizer) {
      throw new LabError("input", files.label, "has no tokenizer", "Put its tokenizer.json into the folder.");
    }
    try {
      const { answers } = await scoreTask(model, tokenizer, task, { onProgress });
      await Deno.mkdir(join(file, ".."), { recursive: true });
      await atomicWriteText(file, JSON.stringify({ key, answers }));
      return answers;
    } finally {
      model.close();
    }
  } finally {
    files.source.close();
  }
}

/** The line that makes a row again: quantize, then score. */
export function scoreCommand(s: ModelScore): string {
  const [task, seed = "0"] = s.task.name.split(", seed "), out = "out/packed";
  const quantize = s.recipe ? `${recipeCommand(s.recipe)} --out ${out} && ` : "";
  return `${quantize}deno task owq score --model ${
    s.recipe ? out : s.spec
  } --task ${task} --items ${s.task.rows.length}` +
    (seed === "0" ? "" : ` --seed ${seed}`);
}
