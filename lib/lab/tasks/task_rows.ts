// Rows of task files as questions: samples that lm-evaluation-harness logged, and the data sets' own rows in its prompts.
import { LabError } from "../../io/errors.ts";
import type { Question } from "../../model/multiple_choice.ts";

type Row = Readonly<Record<string, unknown>>;

/** One form that a row may have. */
interface Layout {
  readonly name: string;
  /** Fields that tell it from the others. */
  readonly fields: readonly string[];
  /** Returns null where a field is not of its kind. */
  readonly question: (row: Row) => Question | null;
}

const text = (v: unknown) => typeof v === "string" ? v : null;
const texts = (v: unknown) => Array.isArray(v) && v.length > 0 && v.every((x) => typeof x === "string") ? v : null;

/** 2, "2", or "C" among the choices' labels. */
function goldIndex(v: unknown, labels: readonly string[] = []): number | readonly number[] | null {
  if (Array.isArray(v)) return v.length > 0 && v.every(Number.isInteger) ? v : null;
  if (typeof v === "boolean") return Number(v);
  const at = labels.indexOf(String(v));
  if (at >= 0) return at;
  const n = typeof v === "number" || (typeof v === "string" && v.trim() !== "") ? Number(v) : NaN;
  return Number.isInteger(n) ? n : null;
}

/** One context, a space, each choice. */
function ask(
  context: string | null,
  choices: readonly string[] | null,
  gold: Question["gold"] | null,
): Question | null {
  if (context === null || choices === null || gold === null) return null;
  return { pairs: choices.map((c) => ({ context, continuation: ` ${c}` })), choices, gold };
}

const LETTERS = ["A", "B", "C", "D", "E", "F", "G", "H"];

/** In the order in which they are tried; prompts as the harness's task files (version 0.4) have them. */
const LAYOUTS: readonly Layout[] = [
  {
    name: "logged sample of the harness",
    fields: ["arguments", "target"],
    question: (row) => {
      const raw = row.arguments as unknown[] | Record<string, Record<string, unknown>>;
      const list = Array.isArray(raw) ? raw : Object.entries(raw ?? {})
        .sort(([a], [b]) => Number(a.split("_").at(-1)) - Number(b.split("_").at(-1)))
        .map(([, v]) => [v.arg_0, v.arg_1]);
      const pairs = list.flatMap((v) => {
        const [context, continuation] = Array.isArray(v) ? v.map(text) : [];
        return context != null && continuation != null ? [{ context, continuation }] : [];
      });
      if (pairs.length === 0 || pairs.length !== list.length) return null;
      const choices = pairs.map((p) => p.continuation.replace(/^ /, "")), cloze = pairs.length === 1;
      const gold = cloze ? 0 : goldIndex(row.target, choices);
      return gold === null ? null : { pairs, choices, gold };
    },
  },
  {
    name: "HellaSwag",
    fields: ["activity_label", "ctx_a", "ctx_b", "endings", "label"],
    question: (row) => {
      const [activity, a, b] = [row.activity_label, row.ctx_a, row.ctx_b].map(text), endings = texts(row.endings);
      if (activity === null || a === null || b === null) return null;
      const context = `${activity}: ${a} ${b.slice(0, 1).toUpperCase()}${b.slice(1).toLowerCase()}`;
      return ask(withoutTags(context), endings?.map(withoutTags) ?? null, goldIndex(row.label));
    },
  },
  {
    name: "PIQA",
    fields: ["goal", "sol1", "sol2", "label"],
    question: (row) => ask(`Question: ${row.goal}\nAnswer:`, texts([row.sol1, row.sol2]), goldIndex(row.label)),
  },
  {
    name: "Winogrande",
    fields: ["sentence", "option1", "option2", "answer"],
    question: (row) => {
      const sentence = text(row.sentence), options = texts([row.option1, row.option2]), number = goldIndex(row.answer);
      if (sentence === null || !options || typeof number !== "number" || !sentence.includes("_")) return null;
      const at = sentence.indexOf("_"), continuation = ` ${sentence.slice(at + 1).trim()}`;
      const pairs = options.map((option) => ({ context: sentence.slice(0, at) + option, continuation }));
      return { pairs, choices: options, gold: number - 1 };
    },
  },
  {
    name: "BoolQ",
    fields: ["passage", "question", "label"],
    question: (row) => ask(`${row.passage}\nQuestion: ${row.question}?\nAnswer:`, ["no", "yes"], goldIndex(row.label)),
  },
  {
    name: "ARC",
    fields: ["question", "choices", "answerKey"],
    question: (row) => lettered(`Question: ${row.question}\nAnswer:`, row),
  },
  {
    name: "OpenBookQA",
    fields: ["question_stem", "choices", "answerKey"],
    question: (row) => lettered(text(row.question_stem), row),
  },
  ...["query", "context", "question"].flatMap((prompt) =>
    ["gold", "label", "answer"].map((gold): Layout => ({
      name: `${prompt}, choices, ${gold}`,
      fields: [prompt, "choices", gold],
      question: (row) => ask(text(row[prompt]), texts(row.choices), goldIndex(row[gold], LETTERS)),
    }))
  ),
  {
    name: "cloze: context, continuation",
    fields: ["context", "continuation"],
    question: (row) => {
      const context = text(row.context), continuation = text(row.continuation);
      if (context === null || continuation === null) return null;
      return { pairs: [{ context, continuation }], choices: [continuation.trimStart()], gold: 0 };
    },
  },
  {
    name: "cloze: the last word of a text (LAMBADA)",
    fields: ["text"],
    question: (row) => {
      const words = text(row.text)?.split(" ") ?? [], last = words.at(-1);
      return words.length > 1 && last ? ask(words.slice(0, -1).join(" "), [last], 0) : null;
    },
  },
];

/** {text: [...], label: [...]} beside a key, as ARC and OpenBookQA have it. */
function lettered(context: string | null, row: Row): Question | null {
  const c = row.choices as { readonly text?: unknown; readonly label?: unknown } | null;
  return ask(context, texts(c?.text), goldIndex(row.answerKey, texts(c?.label) ?? []));
}

/** WikiHow's marks, as the harness takes them out of HellaSwag. */
function withoutTags(s: string): string {
  return s.trim().replaceAll(" [title]", ". ").replace(/\[.*?\]/g, "").replaceAll("  ", " ");
}

/**
 * A row of a task file as a question: a sample that the harness logged (`--log_samples`: any of its tasks, with its own prompts),
 * a row of HellaSwag, PIQA, Winogrande, BoolQ, ARC, OpenBookQA or LAMBADA, {query|context|question, choices, gold|label|answer},
 * or {context, continuation}.
 *
 * @param where the file and line, for messages. @throws LabError "format" for a row of no known form.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { questionOf } from "./task_rows.ts";
 * const q = questionOf({ query: "The sky is", choices: ["blue", "wet"], gold: 0 }, "line 1");
 * assert.deepEqual(q.pairs[1], { context: "The sky is", continuation: " wet" });
 * ```
 */
export function questionOf(row: unknown, where: string): Question {
  const fields = typeof row === "object" && row !== null && !Array.isArray(row) ? row as Row : {};
  const layout = LAYOUTS.find((l) => l.fields.every((f) => f in fields));
  if (!layout) {
    const hint = 'Such as a line {"query": …, "choices": [… , …], "gold": 0}, or a sample that lm_eval logged.';
    throw new LabError("format", where, `fields ${Object.keys(fields).join(", ") || "none"} make no question`, hint);
  }
  const question = layout.question(fields);
  if (!question) throw new LabError("format", where, `does not hold what a row of the form "${layout.name}" needs`);
  for (const g of [question.gold].flat()) {
    if (g >= 0 && g < question.choices.length) continue;
    throw new LabError("format", where, `its right answer is number ${g} of ${question.choices.length} choices`);
  }
  return question;
}
