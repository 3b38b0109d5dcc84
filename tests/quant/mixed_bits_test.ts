import assert from "node:assert/strict";
import {
  averageBits,
  bitBounds,
  choiceColumns,
  choiceOf,
  freeColumns,
  type MixedSpace,
  planOf,
} from "../../lib/quant/mixed_bits.ts";
import { assertRelative } from "../assert.ts";

const space: MixedSpace = {
  linears: [{ name: "q", rows: 8, cols: 32 }, { name: "down", rows: 4, cols: 128 }],
  blocks: 3,
  bits: [2, 3, 4],
  groupSize: 32,
  pinned: ["1.down"],
};

Deno.test("averageBits() weighs linears by their size and counts a scale and a zero point a group", () => {
  // q: 3 × 256 weights, down: 3 × 512
  assertRelative(averageBits(space, [0, 0, 0, 2, 2, 2]), (256 * 3 + 512 * 5) / 768, 1e-15);
  assertRelative(averageBits(space, [0, 0, 0, 2, 2, 2], -1), (256 * 3 + 512 * 4.25) / 768, 1e-15);
  assert.equal(averageBits({ ...space, bits: [16] }, [0, 0, 0, 0, 0, 0]), 16);
  assertRelative(averageBits({ ...space, weights: 768 }, [0, 0, 0, 0, 0, 0]), 9, 1e-15);
});

Deno.test("freeColumns() leaves out the pinned ones of a linear-major order", () => {
  assert.deepEqual(choiceColumns(space), ["0.q", "1.q", "2.q", "0.down", "1.down", "2.down"]);
  assert.deepEqual(freeColumns(space), [0, 1, 2, 3, 5]);
  assert.throws(() => freeColumns({ ...space, pinned: ["7.q"] }), /7\.q/);
});

Deno.test("choiceOf() undoes planOf() and refuses plans that do not fit", () => {
  const choice = [0, 1, 2, 2, 1, 0], plan = planOf(space, choice);
  assert.equal(plan.get("2.down"), 2);
  assert.deepEqual(choiceOf(space, new Map([...plan].reverse())), choice);
  assert.throws(() => choiceOf(space, new Map([...plan, ["0.q", 8]])), /0\.q.*8 bits/);
  assert.throws(() => choiceOf(space, new Map([...plan].slice(1))), /0\.q.*no bits/);
  assert.throws(() => choiceOf(space, new Map([...plan, ["9.q", 2]])), /9\.q/);
  assert.throws(() => planOf(space, [0, 1]), /2 entries, not 6/);
  assert.throws(() => averageBits(space, [0, 1, 2, 3, 0, 0]), /entry 3 is 3/);
});

Deno.test("bitBounds() are those of uniform bits, and with pinned linears at the most", () => {
  assert.deepEqual(bitBounds(space), { least: 3, most: 5, leastPinned: (768 * 3 * 3 + 512 * 2) / (768 * 3) });
});
