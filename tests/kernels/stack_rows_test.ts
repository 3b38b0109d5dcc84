import assert from "node:assert/strict";
import { multiplyPacked } from "../../lib/kernels/matvec.ts";
import { packRows } from "../../lib/kernels/pack.ts";
import type { PackedBits, PackedMatrix } from "../../lib/kernels/packed_matrix.ts";
import { stackDense, stackPacked } from "../../lib/kernels/stack_rows.ts";
import { rng } from "../../lib/io/rng.ts";
import { assertWithin } from "../assert.ts";
import { normals, U } from "./bound_kernel_cases.ts";

/** A random packed matrix with these weak columns; columns in two groups where `grouped`. */
function randomPart(rows: number, cols: number, bits: PackedBits, weakIds: number[], grouped: boolean): PackedMatrix {
  const random = rng(3, `${rows} ${cols} ${bits} ${weakIds}`), groups = grouped ? 2 : 1;
  const codes = Uint8Array.from({ length: rows * cols }, () => random.int(2 ** bits));
  const zero = Float32Array.from({ length: rows * groups }, () => random.int(2 ** bits));
  const groupOf = grouped ? Int32Array.from({ length: cols }, (_, c) => c % 2) : null;
  for (const c of weakIds) for (let r = 0; r < rows; r++) codes[r * cols + c] = zero[r * groups + (groupOf?.[c] ?? 0)];
  return {
    rows,
    cols,
    bits,
    codes: packRows(codes, rows, cols, bits),
    scale: normals(rows * groups, "scale").map(Math.abs),
    zero,
    groupOf,
    weakIds: Int32Array.from(weakIds),
    weak: normals(rows * weakIds.length, "weak"),
  };
}

Deno.test("stackPacked() multiplies as its parts do, whatever their weak columns", () => {
  for (const bits of [2, 3, 4, 8] as const) {
    for (const cols of [33, 128, 257]) {
      for (const grouped of [false, true]) {
        const last = cols - 1, ids = [[0, 10, 21, last], [10, 11, 32], []];
        const parts = ids.map((weak, i) => randomPart(5 + i, cols, bits, weak, grouped)),
          before = structuredClone(parts);
        const stack = stackPacked(parts, 10)!, x = normals(2 * cols, "x");
        assert.deepEqual([...stack.weakIds], [...new Set(ids.flat())].sort((a, b) => a - b));
        const got = multiplyPacked(stack, x, 2), wants = parts.map((p) => multiplyPacked(p, x, 2));
        for (let v = 0; v < 2; v++) {
          const want = wants.flatMap((w, i) => [...w.y.subarray(v * parts[i].rows, (v + 1) * parts[i].rows)]);
          const size = wants.flatMap((w, i) => [...w.magnitude.subarray(v * parts[i].rows, (v + 1) * parts[i].rows)]);
          // What a code stands for is rounded to float32 where it becomes a weak value.
          assertWithin(got.y.subarray(v * stack.rows, (v + 1) * stack.rows), want, (i) => 2 * U * size[i]);
        }
        assert.deepEqual(parts, before, "the parts are left alone");
      }
    }
  }
});

Deno.test("stackPacked() sets the codes of new weak columns to the zero point", () => {
  const a = randomPart(4, 40, 3, [10], false),
    b = randomPart(6, 40, 3, [21, 31], false),
    stack = stackPacked([a, b], 9)!;
  const zeroed = multiplyPacked(
    { ...stack, weakIds: new Int32Array(0), weak: new Float32Array(0) },
    unit(40, [10, 21, 31]),
    1,
  );
  assert.deepEqual([...zeroed.y], new Array(10).fill(0));
});

function unit(cols: number, at: readonly number[]): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: cols }, (_, c) => at.includes(c) ? 1 : 0);
}

Deno.test("stackPacked() declines other bits, other groups, and weak columns that cost too much", () => {
  const a = randomPart(4, 64, 3, [1], false), many = Array.from({ length: 20 }, (_, i) => 3 * i);
  assert.equal(stackPacked([a, randomPart(4, 64, 4, [1], false)], 1), null);
  assert.equal(stackPacked([a, randomPart(4, 64, 3, [1], true)], 1), null);
  assert.equal(stackPacked([a, randomPart(4, 64, 3, many, false)], 0.1), null);
  const moved = randomPart(4, 64, 3, [1], true);
  assert.equal(stackPacked([moved, { ...moved, groupOf: moved.groupOf!.map((g) => 1 - g) }], 1), null);
});

Deno.test("stackDense() puts rows after rows", () => {
  const w = stackDense([{ data: Float32Array.of(1, 2, 3, 4), rows: 2, cols: 2 }, {
    data: Float32Array.of(5, 6),
    rows: 1,
    cols: 2,
  }]);
  assert.deepEqual([w.rows, w.cols, ...w.data], [3, 2, 1, 2, 3, 4, 5, 6]);
});
