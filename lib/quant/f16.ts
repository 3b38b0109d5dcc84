import { LabError } from "../io/errors.ts";

/** The largest finite f16: a weak column or a scale beyond it would be stored as infinity. */
export const F16_MAX = 65504;

/**
 * The nearest f16 to x (halves to even), as a number.
 *
 * @throws LabError beyond ±65504 once rounded, where f16 has only infinity.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { f16round } from "./f16.ts";
 * assert.equal(f16round(2049), 2048);
 * ```
 */
export function f16round(x: number): number {
  const y = Math.f16round(x);
  if (!Number.isFinite(y)) throw new LabError("numeric", "f16", `${x} does not fit 16 bits (at most ${F16_MAX})`);
  return y;
}
