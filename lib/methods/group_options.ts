// The grid by groups that a method's options ask for, and the bits of one that goes with a scale for each input column.
import { plannedBits, type StoredBits } from "../quant/budget.ts";
import { type GroupGridOptions, groupGridPlan } from "../quant/group_grid.ts";
import { planColumnScale } from "../quant/stores/columns.ts";
import { planGrid } from "../quant/stores/grid.ts";
import type { LinearShape, Options } from "./method.ts";

/**
 * Groups along the rows as the options groupSize (0: the whole row) and scaleBits (32, else 16) say.
 *
 * @param bits of a code. @param rule how a group's grid is found.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { groupOptions } from "./group_options.ts";
 * const grid = groupOptions({ groupSize: 64, scaleBits: 16 }, 3, "range");
 * assert.deepEqual([grid.bits, grid.groupSize, grid.axis, grid.scaleBits], [3, 64, "in", 16]);
 * ```
 */
export function groupOptions(o: Options, bits: number, rule: GroupGridOptions["rule"]): GroupGridOptions {
  return { bits, groupSize: Number(o.groupSize), axis: "in", rule, scaleBits: o.scaleBits === 32 ? 32 : 16 };
}

/**
 * Stored bits of a grid by groups beside one 16-bit scale for each input column.
 *
 * @param shape out and in of a linear.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { groupOptions, scaledGridBits } from "./group_options.ts";
 * const grid = groupOptions({ groupSize: 64, scaleBits: 16 }, 3, "range");
 * assert.equal(scaledGridBits({ rows: 64, cols: 64 }, grid).perWeight, 3 + (16 + 3) / 64 + 16 / 64);
 * ```
 */
export function scaledGridBits(shape: LinearShape, grid: GroupGridOptions): StoredBits {
  const { rows, cols } = shape;
  return plannedBits([planGrid(groupGridPlan({ rows, cols }, grid)), planColumnScale(cols)], rows * cols);
}
