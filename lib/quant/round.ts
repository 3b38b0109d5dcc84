/**
 * Rounds to the nearest integer, halves to the even one, as IEEE 754, torch.round and WGSL's round() do.
 * `Math.round` sends 2.5 to 3 and −1.5 to −1: another grid cell on every tie.
 *
 * @param x any number; NaN and infinities come back as they are.
 * @returns an integer of the same magnitude.
 * Source: IEEE 754-2019, section 4.3.1 (roundTiesToEven).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { roundHalfEven } from "./round.ts";
 * assert.deepEqual([0.5, 1.5, 2.5, -1.5, -2.5, 2.4].map(roundHalfEven), [0, 2, 2, -2, -2, 2]);
 * ```
 */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x), rest = x - floor;
  if (rest < 0.5) return floor + 0; // + 0 turns −0 into 0
  if (rest > 0.5) return floor + 1;
  if (rest === 0.5) return (floor % 2 === 0 ? floor : floor + 1) + 0;
  return x; // NaN, ±Infinity
}
