// Multiple-choice questions that the kit makes from its own held-out text, with a seed: what can be scored without a download.
import { book, type BookName } from "../../io/books.ts";
import { LabError } from "../../io/errors.ts";
import { rng } from "../../io/rng.ts";
import { lookupTask } from "./lookup_task.ts";

/** A row of a task file in the plain form. */
export interface TaskRow {
  readonly query: string;
  readonly choices: readonly string[];
  readonly gold: number;
}

export interface OwnTaskOptions {
  readonly book?: BookName;
  readonly items?: number;
  readonly choices?: number;
  readonly seed?: number;
  /** Words before the seam. */
  readonly contextWords?: number;
  /** Words of a choice. */
  readonly choiceWords?: number;
}

/** Tasks by name, with what is asked. */
export const OWN_TASKS = {
  "next-fragment": "which of four fragments of the text goes on here; the others are from elsewhere in it",
  "word-order": "which order of the next words is the text's; the others hold the same words, shuffled",
  "swapped-words": "the same, harder: the others have one pair of neighbouring words swapped",
  "lookup": "what a person has, said a few words before; the others are what other people have",
} as const;

export type OwnTaskName = keyof typeof OWN_TASKS;

/**
 * Makes a task: seams in the middle of sentences of a book's held-out part, the words before each as the query, the words after
 * it among the choices. No item's query or right choice overlaps another's.
 *
 * @param name which one. @param o 300 items of 4 choices, 16 and 8 words, from "sotu" with seed 0 unless told.
 * @returns rows that the harness's tasks take as they are: query, choices, gold.
 * @throws LabError "input" where the text has no room for so many items.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ownTask } from "./own_tasks.ts";
 * const rows = ownTask("word-order", { items: 3 });
 * const words = (s: string) => s.split(" ").sort();
 * assert.deepEqual(words(rows[0].choices[0]), words(rows[0].choices[3]));
 * ```
 */
export function ownTask(name: OwnTaskName, o: OwnTaskOptions = {}): TaskRow[] {
  if (name === "lookup") {
    return lookupTask({
      seed: o.seed ?? 0,
      people: o.choices ?? 4,
      ...(o.items === undefined ? {} : { items: o.items }),
    });
  }
  const { items = 300, choices = 4, contextWords = 16, choiceWords = 8, seed = 0 } = o, source = o.book ?? "sotu";
  const words = book(source).heldOut.trim().split(/\s+/), random = rng(seed, `task ${name} ${source}`);
  const span = contextWords + choiceWords, taken: number[] = [];
  const seams = words.flatMap((w, i) => {
    const inside = i >= contextWords && i + choiceWords <= words.length;
    return inside && /^[a-z]/.test(w) && /[a-z,]$/.test(words[i - 1]) ? [i] : [];
  });
  const near = new Set<number>();
  for (const k of random.permutation(seams.length)) {
    if (taken.length === items) break;
    if (near.has(seams[k])) continue;
    taken.push(seams[k]);
    for (let d = -span + 1; d < span; d++) near.add(seams[k] + d);
  }
  if (taken.length < items || seams.length < choices) {
    const hint = `Ask for at most ${taken.length}, or fewer words each.`;
    throw new LabError(
      "input",
      `the task ${name}`,
      `${items} items do not fit into the held-out part of ${source}`,
      hint,
    );
  }
  const fragment = (at: number) => words.slice(at, at + choiceWords);
  const others: Record<Exclude<OwnTaskName, "lookup">, (at: number) => string> = {
    "next-fragment": (at) => {
      const other = seams[random.int(seams.length)];
      return fragment(Math.abs(other - at) < span ? at : other).join(" "); // what overlaps does not count, and is drawn again
    },
    "word-order": (at) => {
      const right = fragment(at);
      return [...random.permutation(right.length)].map((i) => right[i]).join(" ");
    },
    "swapped-words": (at) => {
      const order = fragment(at), i = random.int(order.length - 1);
      [order[i], order[i + 1]] = [order[i + 1], order[i]];
      return order.join(" ");
    },
  };
  return taken.map((at) => {
    const right = fragment(at).join(" "), all = new Set([right]);
    for (let tries = 0; all.size < choices; tries++) {
      if (tries > 1000) {
        throw new LabError("input", `the task ${name}`, `"${right}" has no ${choices} different choices`);
      }
      all.add(others[name](at));
    }
    const order = random.permutation(choices), shuffled = [...order].map((i) => [...all][i]);
    return { query: words.slice(at - contextWords, at).join(" "), choices: shuffled, gold: order.indexOf(0) };
  });
}
