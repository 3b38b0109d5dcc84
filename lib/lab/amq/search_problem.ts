// Bounds on a candidate's average bits, as AMQ's search has them.

/**
 * How far average bits lie outside their bounds, relative to each: feasible where both are at most 0.
 *
 * @param bits average bits. @param bounds those of all linears at the least and at the most bits.
 * @returns 1 − bits/least, bits/most − 1. Source: dlwns147/amq, search/problem.py.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { boundViolations } from "./search_problem.ts";
 * assert.deepEqual(boundViolations(5, { least: 2.5, most: 4 }), [-1, 0.25]);
 * ```
 */
export function boundViolations(bits: number, bounds: { readonly least: number; readonly most: number }): number[] {
  return [1 - bits / bounds.least, bits / bounds.most - 1];
}
