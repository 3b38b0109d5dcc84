// Whether two measures put things in the same order: rank correlations. npm has no kept library with both and ties.
import { LabError } from "../../io/errors.ts";

/** Ranks from 1, equal values their mean rank. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]), out = values.map(() => 0);
  for (let from = 0; from < order.length;) {
    let to = from;
    while (to < order.length && values[order[to]] === values[order[from]]) to++;
    for (let k = from; k < to; k++) out[order[k]] = (from + to + 1) / 2;
    from = to;
  }
  return out;
}

/**
 * Spearman's ρ: Pearson's correlation of the ranks. −1 to 1; 0 where one of the two does not vary.
 *
 * @throws LabError "input" for lists of other lengths or fewer than two values. Source: Spearman 1904, mean ranks for ties.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { spearman } from "./correlation.ts";
 * assert.equal(spearman([1, 2, 3], [10, 40, 90]), 1);
 * assert.equal(spearman([1, 2, 3, 4], [2, 1, 4, 3]), 0.6);
 * ```
 */
export function spearman(a: readonly number[], b: readonly number[]): number {
  check(a, b);
  const x = ranks(a), y = ranks(b), mean = (a.length + 1) / 2;
  let xy = 0, xx = 0, yy = 0;
  for (let i = 0; i < x.length; i++) {
    const [p, q] = [x[i] - mean, y[i] - mean];
    [xy, xx, yy] = [xy + p * q, xx + p * p, yy + q * q];
  }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : 0;
}

/**
 * Kendall's τ-b: (pairs in the same order − pairs in the other) / √((pairs − ties of a)(pairs − ties of b)).
 *
 * @throws as {@link spearman}. Source: Kendall 1945, as scipy's kendalltau has it.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { kendall } from "./correlation.ts";
 * assert.equal(kendall([1, 2, 3], [3, 2, 1]), -1);
 * assert.equal(kendall([1, 2, 3, 4], [1, 2, 4, 3]), 2 / 3);
 * ```
 */
export function kendall(a: readonly number[], b: readonly number[]): number {
  check(a, b);
  let sum = 0, inA = 0, inB = 0;
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j < i; j++) {
      const x = Math.sign(a[i] - a[j]), y = Math.sign(b[i] - b[j]);
      [sum, inA, inB] = [sum + x * y, inA + x * x, inB + y * y];
    }
  }
  return inA > 0 && inB > 0 ? sum / Math.sqrt(inA * inB) : 0;
}

function check(a: readonly number[], b: readonly number[]): void {
  if (a.length === b.length && a.length >= 2 && !a.some(Number.isNaN) && !b.some(Number.isNaN)) return;
  throw new LabError("input", "a rank correlation", `of ${a.length} and ${b.length} numbers`, "Two or more pairs.");
}
