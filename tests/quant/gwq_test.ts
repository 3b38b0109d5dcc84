import assert from "node:assert/strict";
import { onGroupGrid } from "../../lib/quant/group_grid.ts";
import { largest, withoutMarked } from "../../lib/quant/gwq.ts";
import { randomMatrix } from "./problems.ts";

Deno.test("largest() marks as many as are asked for, the largest, ties by place", () => {
  const scores = randomMatrix(20, 30, 1).data.map(Math.abs), mask = largest(scores, 17);
  assert.equal(mask.reduce((a, b) => a + b, 0), 17);
  const least = Math.min(...scores.filter((_, i) => mask[i] === 1)),
    most = Math.max(...scores.filter((_, i) => mask[i] === 0));
  assert(least >= most);
  assert.deepEqual([...largest([1, 1, 1], 2)], [1, 1, 0]);
  assert.deepEqual([...largest([1, 2], 9)], [1, 1]);
  assert.deepEqual([...largest([1, 2], 0)], [0, 0]);
  assert.throws(() => largest([1, NaN], 1), RangeError);
});

Deno.test("withoutMarked() lets a grid fit the others as if the marked ones were not there", () => {
  const w = randomMatrix(4, 32, 2), mask = new Uint8Array(128), loud = { ...w, data: w.data.slice() };
  for (const i of [5, 40, 100]) [mask[i], loud.data[i]] = [1, 50];
  const o = { bits: 3, groupSize: 16, axis: "in", rule: "range" } as const;
  const q = onGroupGrid(withoutMarked(loud, mask, 16), o);
  for (let i = 0; i < 128; i++) if (!mask[i]) assert(Math.abs(q.data[i] - w.data[i]) < 0.5, `weight ${i}`);
  const all = withoutMarked(w, new Uint8Array(128).fill(1), 0);
  assert.deepEqual([...all.data], Array(128).fill(0));
});
