// The space of a model's configurations, and points of it as text: a digit a linear.
import { LabError } from "../../io/errors.ts";
import type { LanguageModel } from "../../model/language_model.ts";
import { averageBits, bitBounds, choiceColumns, type MixedSpace, planOf } from "../../quant/mixed_bits.ts";

/** Groups that every linear is cut into without a rest, where one of these does so. */
const GROUPS = [128, 64, 32];

/**
 * The space of a model: its linears, the bits they may have, the group that scales and zero points are shared by.
 *
 * @param model whose blocks are alike. @param bits ascending, each below 10. @param groupSize 0: the largest of 128, 64, 32
 * that cuts all linears evenly, else 128.
 * @throws LabError "input" for bits that are not whole numbers from 2 to 8, ascending, two or more.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import type { LanguageModel } from "../../model/language_model.ts";
 * import { modelSpace } from "./space.ts";
 * const model = { blocks: 2, linears: () => [{ name: "q", out: 64, in: 192 }] } as unknown as LanguageModel;
 * assert.equal(modelSpace(model, [2, 3, 4]).groupSize, 64);
 * ```
 */
export function modelSpace(model: LanguageModel, bits: readonly number[], groupSize = 0): MixedSpace {
  const rising = bits.every((b, i) => Number.isInteger(b) && b >= 2 && b <= 8 && (i === 0 || b > bits[i - 1]));
  if (!rising || bits.length < 2) {
    throw new LabError(
      "input",
      "bits to choose from",
      bits.join(", "),
      "Two or more whole numbers, ascending, 2 to 8.",
    );
  }
  const linears = model.linears(0).map((l) => ({ name: l.name, rows: l.out, cols: l.in }));
  const fits = GROUPS.find((g) => linears.every((l) => l.cols % g === 0)) ?? GROUPS[0];
  return { linears, blocks: model.blocks, bits, groupSize: groupSize > 0 ? groupSize : fits, pinned: [] };
}

/**
 * A choice (indices into the bits) as text.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { choiceText, textChoice } from "./space.ts";
 * const space = { linears: [{ name: "q", rows: 1, cols: 1 }], blocks: 3, bits: [2, 3, 4], groupSize: 0, pinned: [] };
 * assert.equal(choiceText(space, [0, 2, 1]), "243");
 * assert.deepEqual(textChoice(space, "243"), [0, 2, 1]);
 * assert.throws(() => textChoice(space, "245"), /1\.q has|2\.q has 5 bits/);
 * ```
 */
export function choiceText(space: MixedSpace, choice: readonly number[]): string {
  return choice.map((c) => space.bits[c]).join("");
}

/** A text as a choice. @throws LabError "input" for another length or other bits. */
export function textChoice(space: MixedSpace, text: string): number[] {
  const names = choiceColumns(space);
  if (text.length !== names.length) {
    throw new LabError(
      "input",
      `configuration ${text}`,
      `has ${text.length} digits, the model ${names.length} linears`,
    );
  }
  return [...text].map((digit, i) => {
    const at = space.bits.indexOf(Number(digit));
    if (at >= 0) return at;
    const problem = `${names[i]} has ${digit} bits`;
    throw new LabError("input", `configuration ${text}`, problem, `They may be ${space.bits.join(", ")}.`);
  });
}

/** Average bits of a configuration's text. */
export function textBits(space: MixedSpace, text: string): number {
  return averageBits(space, textChoice(space, text));
}

/** A configuration's text as linear → bits. */
export function textPlan(space: MixedSpace, text: string): Map<string, number> {
  return new Map(planOf(space, textChoice(space, text)));
}

/**
 * The choice with all linears at one place of the bits, the pinned ones at the last.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { uniformChoice } from "./space.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 3, 4], groupSize: 64, pinned: ["1.q"] };
 * assert.deepEqual(uniformChoice(space, 0), [0, 2, 0]);
 * ```
 */
export function uniformChoice(space: MixedSpace, at: number): number[] {
  return choiceColumns(space).map((name) => space.pinned.includes(name) ? space.bits.length - 1 : at);
}

/**
 * Whether average bits can be reached at all.
 *
 * @param bits average, scales and zero points included. @param tolerance bits to either side.
 * @throws LabError "input" that says between what averages configurations lie.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { checkReachable } from "./space.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 3, 4], groupSize: 64, pinned: ["1.q"] };
 * checkReachable(space, 3.5);
 * assert.throws(() => checkReachable(space, 2.5), /3\.1667 to 4\.5000 bits with 1 linears pinned/);
 * ```
 */
export function checkReachable(space: MixedSpace, bits: number, tolerance = 0): void {
  const { leastPinned, most } = bitBounds(space);
  if (bits >= leastPinned - tolerance && bits <= most + tolerance) return;
  const overhead = `${(most - space.bits[space.bits.length - 1]).toFixed(2)} of them scales and zero points`;
  const pinned = space.pinned.length > 0 ? ` with ${space.pinned.length} linears pinned` : "";
  const problem = `no configuration has it: they have ${leastPinned.toFixed(4)} to ${most.toFixed(4)} bits${pinned}`;
  throw new LabError("input", `an average of ${bits} bits`, `${problem}, ${overhead}`, "Ask for one between.");
}
