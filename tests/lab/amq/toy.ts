// A problem that costs nothing: linears of one size, each with a weight of its own, and two that need each other.
import { averageBits, type MixedSpace } from "../../../lib/quant/mixed_bits.ts";
import type { Measured } from "../../../lib/lab/amq/rounds.ts";
import { textChoice } from "../../../lib/lab/amq/space.ts";

export const TOY: MixedSpace = {
  linears: ["q", "v", "down"].map((name) => ({ name, rows: 64, cols: 128 })),
  blocks: 4,
  bits: [2, 3, 4],
  groupSize: 128,
  pinned: [],
};

const MATTERS = [1, 2, 1, 3, 8, 1, 2, 1, 30, 5, 2, 6]; // 0.down stands out

/** Divergence Σ aᵢ 4^−bits, more where 1.q and 1.v are both at the least. */
export function toyMeasure(point: string): Measured {
  const choice = textChoice(TOY, point);
  const jsd = choice.reduce((sum, c, i) => sum + MATTERS[i] * 4 ** -TOY.bits[c], 0) / 10 +
    (choice[1] === 0 && choice[5] === 0 ? 0.04 : 0);
  return { bits: averageBits(TOY, choice), jsd, old: 2.1 * jsd };
}
