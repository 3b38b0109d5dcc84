// How unevenly a sum is spread over its terms: the Lorenz curve and the numbers one reads off it.
import { LabError } from "../io/errors.ts";

/** A curve of concentration; both arrays (n + 1), in shares from 0 to 1. */
export interface Lorenz {
  /** i / n: the share of the columns, those with the largest values first. */
  readonly columns: Float64Array;
  /** What they carry together. */
  readonly carried: Float64Array;
}

/**
 * What share of a sum its largest terms carry: carried_i = Σ of the i largest / Σ of all. With equal terms it is the diagonal.
 *
 * @param values (n), none negative.
 * @throws LabError "numeric" when a value is negative or not finite, or all are zero.
 * Source: M. O. Lorenz, "Methods of measuring the concentration of wealth" (1905), here from the top.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lorenz } from "./concentration.ts";
 * assert.deepEqual([...lorenz([0, 3, 1]).carried], [0, 0.75, 1, 1]);
 * ```
 */
export function lorenz(values: ArrayLike<number>): Lorenz {
  const sorted = Float64Array.from(values).sort().reverse(), n = sorted.length;
  const bad = Array.prototype.findIndex.call(values, (v: number) => !(v >= 0 && v < Infinity));
  if (bad >= 0) throw new LabError("numeric", `column ${bad}`, `${values[bad]} cannot be part of a share`);
  const total = sorted.reduce((a, b) => a + b, 0);
  if (total === 0) throw new LabError("numeric", "Lorenz curve", `all ${n} values are zero`);
  const columns = Float64Array.from({ length: n + 1 }, (_, i) => i / n), carried = new Float64Array(n + 1);
  for (let i = 0, sum = 0; i < n; i++) carried[i + 1] = (sum += sorted[i]) / total;
  carried[n] = 1;
  return { columns, carried };
}

/**
 * The Gini coefficient: twice the area between the Lorenz curve and the diagonal. 0: all equal; 1 − 1/n: one has it all.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { gini } from "./concentration.ts";
 * assert.equal(gini([0, 0, 0, 8]), 0.75);
 * ```
 */
export function gini(values: ArrayLike<number>): number {
  const { carried } = lorenz(values), n = carried.length - 1;
  let area = 0;
  for (let i = 0; i < n; i++) area += (carried[i] + carried[i + 1]) / 2 / n;
  return 2 * area - 1;
}

/** What the largest ceil(share · n) values carry of the sum, 0 … 1. */
export function topShare(values: ArrayLike<number>, share: number): number {
  const { carried } = lorenz(values);
  return carried[Math.min(carried.length - 1, Math.ceil(share * (carried.length - 1)))];
}

/** How many of the largest values it takes to carry a share of the sum. */
export function columnsCarrying(values: ArrayLike<number>, share: number): number {
  return lorenz(values).carried.findIndex((c) => c >= share - 1e-12);
}

/**
 * How many columns two choices have in common, as a share of the smaller one; 1 for two empty ones.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { overlap } from "./concentration.ts";
 * assert.equal(overlap([1, 2, 3, 4], [4, 9]), 0.5);
 * ```
 */
export function overlap(a: readonly number[], b: readonly number[]): number {
  const smaller = Math.min(a.length, b.length), other = new Set(b);
  return smaller === 0 ? 1 : a.filter((j) => other.has(j)).length / smaller;
}
