// Linears that read the same input as one linear, where their stored forms allow it.
import type { Floats, Matrix } from "../io/tensor.ts";
import type { PackedMatrix } from "./packed_matrix.ts";

function joined(parts: readonly Floats[]): Floats {
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

function same(a: ArrayLike<number> | null, b: ArrayLike<number> | null): boolean {
  if (a === null || b === null) return a === b;
  return a.length === b.length && Array.prototype.every.call(a, (x, i) => x === b[i]);
}

/**
 * One packed matrix whose rows are those of `parts`, one after another.
 *
 * @param parts each (rows, cols) of the same inputs.
 * @returns (Σ rows, cols); null where bits, groups or weak columns differ, since those belong to a whole matrix.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { stackPacked } from "./stack_rows.ts";
 * const part = { rows: 1, cols: 2, bits: 4, codes: Uint32Array.of(0x21), groupOf: null, scale: Float32Array.of(1),
 *   zero: Float32Array.of(0), weakIds: new Int32Array(0), weak: new Float32Array(0) } as const;
 * assert.deepEqual([...stackPacked([part, part])!.codes], [0x21, 0x21]);
 * assert.equal(stackPacked([part, { ...part, weakIds: Int32Array.of(1), weak: Float32Array.of(7) }]), null);
 * ```
 */
export function stackPacked(parts: readonly PackedMatrix[]): PackedMatrix | null {
  const [first] = parts, groups = first.scale.length / first.rows;
  for (const p of parts) {
    if (p.bits !== first.bits || p.cols !== first.cols || p.scale.length / p.rows !== groups) return null;
    if (!same(p.groupOf, first.groupOf) || !same(p.weakIds, first.weakIds)) return null;
  }
  const codes = new Uint32Array(parts.reduce((n, p) => n + p.codes.length, 0));
  let at = 0;
  for (const p of parts) {
    codes.set(p.codes, at);
    at += p.codes.length;
  }
  return {
    ...first,
    rows: parts.reduce((n, p) => n + p.rows, 0),
    codes,
    scale: joined(parts.map((p) => p.scale)),
    zero: joined(parts.map((p) => p.zero)),
    weak: joined(parts.map((p) => p.weak)),
  };
}

/**
 * One dense matrix whose rows are those of `parts`, one after another.
 *
 * @param parts each (rows, cols) of the same inputs.
 * @returns (Σ rows, cols).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { stackDense } from "./stack_rows.ts";
 * const row = { data: Float32Array.of(1, 2), rows: 1, cols: 2 };
 * assert.deepEqual([...stackDense([row, row]).data], [1, 2, 1, 2]);
 * ```
 */
export function stackDense(parts: readonly Matrix[]): Matrix {
  return { data: joined(parts.map((p) => p.data)), rows: parts.reduce((n, p) => n + p.rows, 0), cols: parts[0].cols };
}
