import assert from "node:assert/strict";
import { LabError } from "../../../lib/io/errors.ts";
import { type InstructionKind, instructions } from "../../../lib/lab/tasks/instructions.ts";

/** The answer, found from the prompt alone by other means than the maker's. */
function solve(kind: InstructionKind, prompt: string): string {
  const words = prompt.slice(prompt.indexOf(":") + 1, prompt.search(/\. /)).trim().split(/,? /);
  switch (kind) {
    case "pick":
      return words[["first", "second", "third"].findIndex((o) => prompt.includes(`The ${o} word`))];
    case "last":
      return words[words.length - 1];
    case "larger":
      return String(words.map(Number).reduce((a, b) => a > b ? a : b));
    case "reverse":
      return `${words[2]} ${words[1]} ${words[0]}`;
    case "before":
      return words[0].localeCompare(words[1], "en") < 0 ? words[0] : words[1];
  }
}

Deno.test("instructions() gives answers that another program finds too, and no prompt twice", () => {
  const { train, test } = instructions(), all = [...train, ...test];
  assert.deepEqual([train.length, test.length], [2000, 500]);
  for (const { kind, prompt, answer } of all) assert.equal(answer, ` ${solve(kind, prompt)}`, prompt);
  assert.equal(new Set(all.map((x) => x.prompt)).size, all.length);
  for (const kind of ["pick", "last", "larger", "reverse", "before"]) {
    assert.equal(test.filter((x) => x.kind === kind).length, 100, kind);
  }
  assert.deepEqual(instructions(), { train, test });
  assert.notDeepEqual(instructions({ seed: 1 }).test, test);
});

Deno.test("instructions() says when a kind has not so many", () => {
  const says = (e: unknown) =>
    e instanceof LabError && /of the kind larger: no new one after \d+\. Ask for fewer/.test(e.message);
  assert.throws(() => instructions({ train: 9901, test: 0, kinds: ["larger"] }), says);
});
