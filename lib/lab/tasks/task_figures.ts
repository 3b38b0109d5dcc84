// What a comparison of models on tasks looks like: accuracies with their intervals, paired differences, how many questions it takes.
import { barFigure, type Figure, lineFigure } from "../figure.ts";
import { exact, type RecordedNumber, relative } from "../record.ts";
import { type Table, table } from "../table.ts";
import { between, itemsToSee, itemsToSeeUnpaired, type PairedDifference, pairedDifference, points } from "./paired.ts";
import { type ModelScore, scoreCommand } from "./task_study.ts";

const unique = (values: readonly string[]) => [...new Set(values)];
const taskName = (s: ModelScore) => s.task.name.split(",")[0];
const right = (s: ModelScore) => s.answers.map((a) => a.acc);
/** The score of one model on one task; throws where it is not there. */
function find(scores: readonly ModelScore[], task: string, model: string): ModelScore {
  const s = scores.find((s) => taskName(s) === task && s.model === model);
  if (!s) throw new RangeError(`no score of ${model} on ${task}`);
  return s;
}

/**
 * One model against another on one task, or on all of them together.
 *
 * @param task a name, or null for the questions of all tasks. @param from, to labels of the models.
 */
export function pairOf(
  scores: readonly ModelScore[],
  task: string | null,
  from: string,
  to: string,
  seed: number,
): PairedDifference {
  const tasks = task === null ? unique(scores.map(taskName)) : [task];
  const answers = (model: string) => tasks.flatMap((t) => right(find(scores, t, model)));
  return pairedDifference(answers(from), answers(to), seed);
}

/** Accuracy of every model on every task, with 95 % intervals. */
export function accuracyFigure(scores: readonly ModelScore[]): Figure {
  const tasks = unique(scores.map(taskName)), models = unique(scores.map((s) => s.model));
  const chances = unique(scores.map((s) => String(s.score.chance)));
  const chance = chances.length === 1 ? scores[0].score.chance : null;
  return barFigure(
    {
      title: "Right answers",
      x: { name: "task" },
      y: { name: "acc", unit: "%", range: [0, 100] },
      ...(chance === null ? {} : { guides: [{ axis: "y" as const, at: 100 * chance, label: "chance" }] }),
      caption:
        "The line at each bar: 95 % confidence (half of Wilson's interval to either side), as if the questions were drawn anew.",
    },
    tasks,
    models.map((model) => {
      const own = tasks.map((t) => find(scores, t, model).score.acc);
      return { name: model, y: own.map((a) => 100 * a.mean), spread: own.map((a) => 50 * (a.high - a.low)) };
    }),
  );
}

/** Every quantized model against the float one, question by question. */
export function differenceFigure(scores: readonly ModelScore[], seed: number): Figure {
  const tasks = unique(scores.map(taskName)), models = unique(scores.map((s) => s.model)).filter((m) => m !== "float");
  return barFigure(
    {
      title: "What quantization changes",
      x: { name: "task" },
      y: { name: "acc less float's", unit: "percentage points" },
      guides: [{ axis: "y", at: 0 }],
      caption:
        "The line at each bar: 95 % confidence of the paired difference. Where it crosses zero, no difference was seen.",
    },
    tasks,
    models.map((model) => {
      const own = tasks.map((t) => pairOf(scores, t, "float", model, seed));
      return { name: model, y: own.map((d) => 100 * d.difference), spread: own.map((d) => 50 * (d.high - d.low)) };
    }),
  );
}

/** All scores as a table. */
export function scoreTable(scores: readonly ModelScore[], seed: number): Table {
  return table(
    ["task", "model", "acc (%)", "95 %", "acc_norm (%)", "acc less float's", "95 %", "gained, lost", "p"],
    scores.map((s) => {
      const { acc, accNorm } = s.score, shares = [taskName(s), s.model, points(acc.mean)] as const;
      const own = [...shares, between(acc.low, acc.high), accNorm ? points(accNorm.mean) : null];
      if (s.model === "float") return [...own, null, null, null, null];
      const d = pairOf(scores, taskName(s), "float", s.model, seed);
      return [
        ...own,
        points(d.difference),
        between(d.low, d.high),
        `${d.gained}, ${d.lost}`,
        d.p.toPrecision(2),
      ];
    }),
    `${
      unique(scores.map((s) => `${taskName(s)}: ${s.score.questions} questions`)).join("; ")
    }. Gained, lost: questions that ` +
      "only this model, and only the float one, has right.",
  );
}

/** Whether two models differ, in a sentence that says "no difference was seen" where there is none. */
export function differenceSentence(scores: readonly ModelScore[], from: string, to: string, seed: number): string {
  const tasks = unique(scores.map(taskName));
  const parts = tasks.map((t) => {
    const d = pairOf(scores, t, from, to, seed),
      size = `${points(d.difference)} points (${between(d.low, d.high)})`;
    const seen = d.p < 0.05 ? `${to} is ${d.difference < 0 ? "worse" : "better"}` : "no difference was seen";
    return `${t}: ${size}, ${seen}`;
  });
  return `${to} against ${from}: ${parts.join("; ")}.`;
}

/** How small a difference so many questions can show: with the same questions for both models, and with others for each. */
export function powerFigure(scores: readonly ModelScore[], from: string, to: string, seed: number): Figure {
  const d = pairOf(scores, null, from, to, seed),
    discordant = (d.gained + d.lost) / d.n,
    share = meanRight(scores, from);
  const sizes = [0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1].filter((x) => x <= discordant);
  return lineFigure(
    {
      title: "How many questions a difference takes",
      x: { name: "difference", unit: "percentage points" },
      y: { name: "questions", log: true },
      guides: [{ axis: "y", at: d.n, label: `${d.n} asked here` }],
      caption: `Seen four times out of five, at 5 %. ${to} and ${from} disagree on ${
        points(discordant)
      } % of the questions.`,
    },
    [
      {
        name: "the same questions for both",
        x: sizes.map((x) => 100 * x),
        y: sizes.map((x) => itemsToSee(x, discordant)),
      },
      {
        name: "other questions for each",
        x: sizes.map((x) => 100 * x),
        y: sizes.map((x) => itemsToSeeUnpaired(x, share)),
      },
    ],
  );
}

/** The same at two points, in a sentence. */
export function powerSentence(scores: readonly ModelScore[], from: string, to: string, seed: number): string {
  const d = pairOf(scores, null, from, to, seed), discordant = Math.max(0.02, (d.gained + d.lost) / d.n);
  return `${to} and ${from} disagree on ${
    d.gained + d.lost
  } of ${d.n} questions. To see a difference of 2 points between two ` +
    `such models takes about ${itemsToSee(0.02, discordant)} questions put to both, or ${
      itemsToSeeUnpaired(0.02, meanRight(scores, from))
    } put to each where the two get different ones.`;
}

function meanRight(scores: readonly ModelScore[], model: string): number {
  const all = scores.filter((s) => s.model === model).flatMap(right);
  return all.reduce((a, b) => a + b, 0) / all.length;
}

/** The one line that makes each row again. */
export function scoreCommandTable(scores: readonly ModelScore[]): Table {
  return table(
    ["task", "model", "the one command that makes it again"],
    scores.map((s) => [taskName(s), s.model, scoreCommand(s)]),
  );
}

/**
 * For a record. Intervals of differences stand as intervals of the model's accuracy, acc of the other plus the difference, since
 * a difference near zero has no relative error.
 *
 * @param from, to the two models that the paper's claim compares.
 */
export function taskNumbers(
  scores: readonly ModelScore[],
  from: string,
  to: string,
  seed: number,
): Record<string, RecordedNumber> {
  const numbers: Record<string, RecordedNumber> = {};
  for (const s of scores) {
    const row = `${taskName(s)}, ${s.model}`;
    numbers[`${row}/questions`] = exact(s.score.questions);
    // Three questions may fall the other way where codes do.
    const { acc, accNorm, questions } = s.score, close = Math.max(3e-2, 3 / (questions * acc.mean));
    numbers[`${row}/acc`] = relative(acc.mean, close);
    numbers[`${row}/acc low`] = relative(acc.low, 2 * close);
    numbers[`${row}/acc high`] = relative(acc.high, close);
    if (accNorm) numbers[`${row}/acc_norm`] = relative(accNorm.mean, close);
  }
  const base = meanRight(scores, from), d = pairOf(scores, null, from, to, seed);
  numbers["all tasks, plain/acc"] = relative(base, 3e-2);
  numbers["all tasks, owq/acc"] = relative(base + d.difference, 3e-2);
  numbers["all tasks, owq/paired low"] = relative(base + d.low, 5e-2);
  numbers["all tasks, owq/paired high"] = relative(base + d.high, 5e-2);
  numbers["all tasks, owq/disagreeing answers"] = relative((d.gained + d.lost) / d.n, 0.5);
  return numbers;
}
