// Which linear gets how many bits: a configuration as data, its average bits, and what a predictor of its quality reads.
import { LabError } from "../io/errors.ts";

/** The linears of a model and the bits that each may have. */
export interface MixedSpace {
  /** One kind of linear a block, W (rows, cols), in the order of the columns. */
  readonly linears: readonly { readonly name: string; readonly rows: number; readonly cols: number }[];
  readonly blocks: number;
  /** Bits to choose from, ascending. */
  readonly bits: readonly number[];
  /** Weights that share a scale and a zero point; below 1: a row does. */
  readonly groupSize: number;
  /** "block.linear" of those that always have the most bits. */
  readonly pinned: readonly string[];
  /** Weights that the average is over; all of the linears unless told. */
  readonly weights?: number;
}

/** Linear → bits, by "block.linear". */
export type BitPlan = ReadonlyMap<string, number>;

/** A scale and a zero point of 16 bits each for every group. */
const GROUP_BITS = 32;

/**
 * Names of a choice's columns: all blocks of the first linear, then all blocks of the second, …
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { choiceColumns } from "./mixed_bits.ts";
 * const linears = [{ name: "q", rows: 1, cols: 1 }, { name: "v", rows: 1, cols: 1 }];
 * assert.deepEqual(choiceColumns({ linears, blocks: 2 }), ["0.q", "1.q", "0.v", "1.v"]);
 * ```
 */
export function choiceColumns(space: Pick<MixedSpace, "linears" | "blocks">): string[] {
  return space.linears.flatMap(({ name }) => Array.from({ length: space.blocks }, (_, b) => `${b}.${name}`));
}

/**
 * Positions of the columns that a search may change: all but the pinned ones, ascending.
 *
 * @throws LabError "input" for a pinned name that no linear has.
 */
export function freeColumns(space: MixedSpace): number[] {
  const names = choiceColumns(space), unknown = space.pinned.find((p) => !names.includes(p));
  if (unknown !== undefined) {
    throw new LabError("input", `the pinned linear ${unknown}`, "is none of this model's", `Such as ${names[0]}.`);
  }
  return names.flatMap((name, i) => space.pinned.includes(name) ? [] : [i]);
}

/**
 * Average bits a weight: Σ out·(in·b + 32·⌈in/g⌉) / Σ out·in; 16 bits and more have no groups.
 *
 * @param choice index into `space.bits` per column (linears·blocks), linear-major.
 * @param groupSize another group size than the space's; below 1: the row.
 * @returns bits a weight, scales and zero points included.
 * @throws LabError "input" for another length or an index outside the bits.
 * Source: dlwns147/amq, utils/func.py (get_bits_usage).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { averageBits } from "./mixed_bits.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 2, bits: [2, 3, 4], groupSize: 64, pinned: [] };
 * assert.equal(averageBits(space, [0, 2]), 3.5);
 * ```
 */
export function averageBits(space: MixedSpace, choice: ArrayLike<number>, groupSize = space.groupSize): number {
  checkChoice(space, choice);
  let stored = 0, weights = 0;
  space.linears.forEach(({ rows, cols }, i) => {
    for (let b = 0; b < space.blocks; b++) {
      const bits = space.bits[choice[i * space.blocks + b]];
      const groups = bits >= 16 ? 0 : groupSize < 1 ? 1 : Math.ceil(cols / groupSize); // the last may be short
      stored += rows * (cols * bits + groups * GROUP_BITS);
      weights += rows * cols;
    }
  });
  return stored / (space.weights ?? weights);
}

function checkChoice(space: MixedSpace, choice: ArrayLike<number>): void {
  const n = space.linears.length * space.blocks;
  if (choice.length !== n) throw new LabError("input", "a choice of bits", `has ${choice.length} entries, not ${n}`);
  for (let i = 0; i < n; i++) {
    if (space.bits[choice[i]] !== undefined) continue;
    throw new LabError(
      "input",
      "a choice of bits",
      `entry ${i} is ${choice[i]}`,
      `It indexes ${space.bits.join(", ")}.`,
    );
  }
}

/**
 * The least and the most average bits that any choice has, and the least with the pinned linears at the most bits.
 *
 * @returns bits a weight, groups included: all linears at the first bits, all at the last.
 */
export function bitBounds(space: MixedSpace): { least: number; most: number; leastPinned: number } {
  const names = choiceColumns(space), top = space.bits.length - 1;
  return {
    least: averageBits(space, names.map(() => 0)),
    most: averageBits(space, names.map(() => top)),
    leastPinned: averageBits(space, names.map((name) => space.pinned.includes(name) ? top : 0)),
  };
}

/**
 * A choice as a plan.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { choiceOf, planOf } from "./mixed_bits.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 2, bits: [2, 3, 4], groupSize: 64, pinned: [] };
 * assert.deepEqual([...planOf(space, [0, 2])], [["0.q", 2], ["1.q", 4]]);
 * assert.deepEqual(choiceOf(space, planOf(space, [0, 2])), [0, 2]);
 * ```
 */
export function planOf(space: MixedSpace, choice: ArrayLike<number>): BitPlan {
  checkChoice(space, choice);
  return new Map(choiceColumns(space).map((name, i) => [name, space.bits[choice[i]]]));
}

/**
 * A plan as a choice, in the order of the columns.
 *
 * @throws LabError "input" where a linear is missing, has other bits than the space offers, or is unknown.
 */
export function choiceOf(space: MixedSpace, plan: BitPlan): number[] {
  const names = choiceColumns(space), extra = [...plan.keys()].find((name) => !names.includes(name));
  if (extra !== undefined) throw new LabError("input", `the plan's linear ${extra}`, "is none of this model's");
  return names.map((name) => {
    const bits = plan.get(name), at = space.bits.indexOf(bits ?? NaN);
    if (at >= 0) return at;
    const problem = bits === undefined ? "has no bits in the plan" : `has ${bits} bits`;
    throw new LabError("input", `the linear ${name}`, problem, `It takes ${space.bits.join(", ")}.`);
  });
}
