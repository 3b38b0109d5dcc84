// Instructions whose answers a program can check, made by the kit with a seed: what a tuned model must have learnt to do. The
// paper asks a judge (GPT-4) which of two answers is better; here an answer is right or it is not.
import { LabError } from "../../io/errors.ts";
import { type Rng, rng } from "../../io/rng.ts";

/** One instruction. */
export interface Instruction {
  readonly kind: InstructionKind;
  /** Ends before the answer's space: "Words: sea, ship, whale. The second word is". */
  readonly prompt: string;
  /** Begins with a space. */
  readonly answer: string;
}

/** Kinds of instruction, with what is asked. */
export const INSTRUCTION_KINDS = {
  pick: "the first, second or third of three words",
  last: "the last word of a list of three to five",
  larger: "the larger of two numbers below 100",
  reverse: "three words in the opposite order",
  before: "which of two words comes first in the alphabet",
} as const;

export type InstructionKind = keyof typeof INSTRUCTION_KINDS;

/** Words that both of the lab's models know, all of letters a–z. */
const WORDS =
  ("sea ship whale man boat hand head eye water day night time house land war peace law state people power work money " +
    "world year country nation king captain sailor wind storm fire light dark life death heart soul mind word book name voice sound " +
    "line rope iron wood stone gold blood bone oil fish bird horse dog child mother father brother friend").split(" ");

const ORDINALS = ["first", "second", "third"];

const MAKERS: Record<InstructionKind, (random: Rng) => Pick<Instruction, "prompt" | "answer">> = {
  pick(random) {
    const words = draw(random, 3), i = random.int(3);
    return { prompt: `Words: ${words.join(", ")}. The ${ORDINALS[i]} word is`, answer: ` ${words[i]}` };
  },
  last(random) {
    const words = draw(random, 3 + random.int(3));
    return { prompt: `List: ${words.join(", ")}. The last of the list is`, answer: ` ${words.at(-1)}` };
  },
  larger(random) {
    const a = random.int(100), b = (a + 1 + random.int(99)) % 100;
    return { prompt: `Numbers: ${a}, ${b}. The larger is`, answer: ` ${Math.max(a, b)}` };
  },
  reverse(random) {
    const words = draw(random, 3);
    return { prompt: `Reverse: ${words.join(" ")}. Reversed:`, answer: ` ${words.toReversed().join(" ")}` };
  },
  before(random) {
    const words = draw(random, 2);
    return { prompt: `Sort: ${words.join(", ")}. First comes`, answer: ` ${words.toSorted()[0]}` };
  },
};

/** Different words. */
function draw(random: Rng, count: number): string[] {
  return [...random.permutation(WORDS.length).subarray(0, count)].map((i) => WORDS[i]);
}

/**
 * Makes instructions: all kinds equally often, no prompt twice, none of the test among those to learn from.
 *
 * @param o 2,000 to learn from and 500 to test with of all kinds, seed 0, unless told.
 * @throws LabError "input" where a kind has not so many different ones.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { instructions } from "./instructions.ts";
 * const { train, test } = instructions({ train: 20, test: 10, kinds: ["larger"] });
 * const [, a, b] = /Numbers: (\d+), (\d+)/.exec(test[0].prompt)!;
 * assert.equal(test[0].answer, ` ${Math.max(Number(a), Number(b))}`);
 * assert.equal(new Set([...train, ...test].map((x) => x.prompt)).size, 30);
 * ```
 */
export function instructions(
  o: { train?: number; test?: number; seed?: number; kinds?: readonly InstructionKind[] } = {},
): { train: Instruction[]; test: Instruction[] } {
  const { train = 2000, test = 500, seed = 0, kinds = Object.keys(INSTRUCTION_KINDS) as InstructionKind[] } = o;
  const seen = new Set<string>(), random = rng(seed, `instructions ${kinds}`);
  const make = (count: number) =>
    Array.from({ length: count }, (_, i): Instruction => {
      const kind = kinds[i % kinds.length];
      for (let tries = 0; tries < 1000; tries++) {
        const made = MAKERS[kind](random);
        if (seen.has(made.prompt)) continue;
        seen.add(made.prompt);
        return { kind, ...made };
      }
      throw new LabError("input", `instructions of the kind ${kind}`, `no new one after ${i}`, "Ask for fewer.");
    });
  return { train: make(train), test: make(test) };
}
