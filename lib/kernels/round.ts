/**
 * Rounds to the nearest integer, halves to the even one, as IEEE 754, torch.round and WGSL's round() do.
 * `Math.round` sends 2.5 to 3 and −1.5 to −1: another grid cell on every tie.
 *
 * @param x any number; from 2^51 on a double has next to no fraction and comes back as it is, as do NaN and infinities.
 * @returns an integer, or x.
 * Source: IEEE 754-2019, section 4.3.1 (roundTiesToEven).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { roundHalfEven } from "./round.ts";
 * assert.deepEqual([0.5, 1.5, 2.5, -1.5, -2.5, 2.4].map(roundHalfEven), [0, 2, 2, -2, -2, 2]);
 * ```
 */
export function roundHalfEven(x: number): number {
  // Adding 1.5 · 2^52 leaves no bit for the fraction: the addition itself rounds, halves to even.
  return x > -LARGE && x < LARGE ? (x + SHIFT) - SHIFT : x;
}

const LARGE = 2 ** 51, SHIFT = 1.5 * 2 ** 52;
