// Questions whose answer stands in the question: who has what? A fact that a model must copy, not know.
import { LabError } from "../../io/errors.ts";
import { rng } from "../../io/rng.ts";
import type { TaskRow } from "./own_tasks.ts";

const NAMES = ["Anna", "Peter", "Mary", "John", "Robert", "Susan", "David", "Laura"];
const THINGS = ["book", "fish", "gun", "horse", "boat", "letter", "rope", "knife", "lamp", "map", "bell", "hat"];

/**
 * Makes a task: a few sentences "Anna has the rope.", then one of them again without its end. The choices are the things that were
 * named, so that only the name tells the right one.
 *
 * @param o.items 300 unless told. @param o.people sentences and choices, 4 unless told. @param o.seed of everything.
 * @throws LabError "input" for fewer than two people, or more than there are names.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lookupTask } from "./lookup_task.ts";
 * const [{ query, choices, gold }] = lookupTask({ items: 1 });
 * const asked = query.split(". ").at(-1)!; // "Anna has the"
 * assert.ok(query.includes(`${asked} ${choices[gold]}.`));
 * ```
 */
export function lookupTask(
  o: { readonly items?: number; readonly people?: number; readonly seed?: number } = {},
): TaskRow[] {
  const { items = 300, people = 4, seed = 0 } = o, random = rng(seed, "task lookup");
  if (!(Number.isInteger(people) && people >= 2 && people <= NAMES.length)) {
    throw new LabError("input", `${people} people`, `are not between 2 and ${NAMES.length}`);
  }
  const draw = (from: readonly string[]) => [...random.permutation(from.length)].slice(0, people).map((i) => from[i]);
  return Array.from({ length: items }, () => {
    const names = draw(NAMES), things = draw(THINGS), gold = random.int(people);
    const told = names.map((n, i) => `${n} has the ${things[i]}.`).join(" ");
    return { query: `${told} ${names[gold]} has the`, choices: things, gold };
  });
}
