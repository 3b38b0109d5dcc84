// Which linear gets which quantizer when all of them share one budget: the last step of Q-Palette, for any list of choices.
import { LabError } from "../io/errors.ts";

/** One way to store a linear. */
export interface Choice {
  /** Bits that it stores in all. */
  readonly bits: number;
  /** What it costs, in a unit that all linears share: such as a sensitivity times a distortion. */
  readonly loss: number;
}

/**
 * One choice a linear, the sum of losses as small as the budget allows.
 *
 * Walks along the lower convex hulls: beginning with the smallest choice of each linear, the step that saves the most loss
 * a bit is taken while it fits, over all linears at once. The result is the best there is for the bits that it uses; of a
 * budget that falls between two steps the rest goes to whatever smaller steps still fit.
 *
 * @param linears choices of each linear, in any order. @param budget bits for all.
 * @returns the index of the choice for each linear.
 * @throws LabError where even the smallest choices need more.
 * Source: reverse water-filling over discrete quantizers, Shoham and Gersho 1988; the problem of Q-Palette, arXiv
 * 2509.20214, section 4, which solves it as an integer program.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { allocate } from "./allocate.ts";
 * const at = (a: number) => [2, 3, 4].map((bits) => ({ bits, loss: a * 4 ** -bits })); // two linears of one weight each
 * assert.deepEqual(allocate([at(1), at(16)], 6), [0, 2]); // the one that matters 16 times as much gets two bits more
 * assert.deepEqual(allocate([at(1), at(1)], 6), [1, 1]);
 * ```
 */
export function allocate(linears: readonly (readonly Choice[])[], budget: number): number[] {
  const hulls = linears.map(lowerHull), at = hulls.map(() => 0);
  let left = hulls.reduce((rest, hull, l) => rest - linears[l][hull[0]].bits, budget);
  if (left < 0) {
    throw new LabError("input", "budget", `${budget} bits are ${-left} too few for the smallest choices`);
  }
  const slope = (l: number) => {
    const from = linears[l][hulls[l][at[l]]], to = linears[l][hulls[l][at[l] + 1]];
    return to.bits - from.bits > left + 1e-9 ? -1 : (from.loss - to.loss) / (to.bits - from.bits);
  };
  for (;;) {
    let best = -1, most = 0;
    for (let l = 0; l < linears.length; l++) {
      if (at[l] + 1 >= hulls[l].length) continue;
      const s = slope(l);
      if (s > most) [best, most] = [l, s];
    }
    if (best < 0) return hulls.map((hull, l) => hull[at[l]]);
    left += linears[best][hulls[best][at[best]]].bits - linears[best][hulls[best][at[best] + 1]].bits;
    at[best]++;
  }
}

/** Indices of the choices on the lower left convex hull, by bits. */
function lowerHull(choices: readonly Choice[]): number[] {
  const order = choices.map((_, i) => i).sort((a, b) =>
    choices[a].bits - choices[b].bits || choices[a].loss - choices[b].loss
  );
  const hull: number[] = [],
    gain = (a: number, b: number) => (choices[a].loss - choices[b].loss) / (choices[b].bits - choices[a].bits);
  for (const i of order) {
    if (hull.length > 0 && choices[i].loss >= choices[hull[hull.length - 1]].loss) continue; // larger and no better
    while (hull.length > 1 && gain(hull[hull.length - 2], hull[hull.length - 1]) <= gain(hull[hull.length - 1], i)) {
      hull.pop();
    }
    hull.push(i);
  }
  return hull;
}

/**
 * Bits a weight of each linear in closed form, where a bit more divides a loss by four: b_l = b̄ + ½ log2(a_l) − the mean of
 * the same over all weights.
 *
 * @param sensitivity a_l, the loss of linear l a unit of relative error and a weight. @param weights of each linear.
 * @param mean b̄. @returns bits, real numbers, below 0 where a linear hardly matters.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { waterFilling } from "./allocate.ts";
 * assert.deepEqual(waterFilling([1, 16], [10, 10], 3), [2, 4]);
 * ```
 */
export function waterFilling(sensitivity: readonly number[], weights: readonly number[], mean: number): number[] {
  const logs = sensitivity.map((a) => Math.log2(a) / 2), all = weights.reduce((a, b) => a + b, 0);
  const average = logs.reduce((s, v, l) => s + v * weights[l] / all, 0);
  return logs.map((v) => mean + v - average);
}
