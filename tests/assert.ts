// Bounds for numeric tests. node:assert/strict covers the rest. NaN is always a failure.
import assert from "node:assert/strict";

/** The largest |a - b| and where it sits; NaN anywhere counts as infinite. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): { value: number; index: number } {
  assert.equal(a.length, b.length, `lengths differ: ${a.length} and ${b.length}`);
  let value = 0, index = -1;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i] - b[i]);
    if (!(d <= value)) {
      value = Number.isNaN(d) ? Infinity : d;
      index = i;
      if (value === Infinity) break;
    }
  }
  return { value, index };
}

/** Fails unless |actual - expected| <= bound(i) everywhere; reports the first and the worst index with both values. */
export function assertWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: number | ((index: number) => number),
  what = "values",
): void {
  assert.equal(actual.length, expected.length, `${what}: lengths ${actual.length} and ${expected.length}`);
  let first = -1, worst = -1, worstExcess = 0;
  for (let i = 0; i < actual.length; i++) {
    const limit = typeof bound === "number" ? bound : bound(i);
    const d = Math.abs(actual[i] - expected[i]);
    if (d <= limit) continue;
    const excess = Number.isNaN(d) ? Infinity : d / limit;
    if (first < 0) first = i;
    if (excess > worstExcess || worst < 0) [worst, worstExcess] = [i, excess];
  }
  if (first >= 0) {
    const show = (i: number) => `[${i}] ${actual[i]} against ${expected[i]}`;
    assert.fail(
      `${what}: first outside the bound ${show(first)}; worst ${show(worst)}, ${worstExcess} times the bound`,
    );
  }
}

/** Fails unless |actual - expected| <= tolerance * |expected|. */
export function assertRelative(actual: number, expected: number, tolerance: number, what = "value"): void {
  const d = Math.abs(actual - expected);
  if (!(d <= tolerance * Math.abs(expected))) {
    assert.fail(`${what}: ${actual} against ${expected}, relative ${d / Math.abs(expected)} > ${tolerance}`);
  }
}

/** Fails on the first element that is NaN or infinite. */
export function assertFinite(values: ArrayLike<number>, what = "values"): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) assert.fail(`${what}: ${values[i]} at index ${i}`);
  }
}
