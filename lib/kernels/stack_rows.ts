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

/** Sets the code at a column of every row. */
function setCodes(m: PackedMatrix, codes: Uint32Array, column: number, codeOf: (row: number) => number): void {
  const words = m.codes.length / m.rows, bit = column * m.bits, shift = bit & 31, mask = 2 ** m.bits - 1;
  for (let r = 0; r < m.rows; r++) {
    const at = r * words + (bit >>> 5), code = codeOf(r);
    codes[at] = (codes[at] & ~(mask << shift)) | (code << shift);
    if (shift + m.bits > 32) {
      codes[at + 1] = (codes[at + 1] & ~(mask >>> (32 - shift))) | (code >>> (32 - shift));
    }
  }
}

/** The same values with more weak columns: what was a code becomes the float it stands for, the code the zero point. */
function withWeak(m: PackedMatrix, ids: Int32Array<ArrayBuffer>): PackedMatrix {
  const k = m.weakIds.length, groups = m.scale.length / m.rows, codes = m.codes.slice();
  const weak = new Float32Array(m.rows * ids.length), words = m.codes.length / m.rows, mask = 2 ** m.bits - 1;
  const own = new Map([...m.weakIds].map((id, i) => [id, i]));
  ids.forEach((id, i) => {
    const known = own.get(id), g = m.groupOf ? m.groupOf[id] : 0, bit = id * m.bits, shift = bit & 31;
    for (let r = 0; r < m.rows; r++) {
      if (known !== undefined) {
        weak[r * ids.length + i] = m.weak[r * k + known];
        continue;
      }
      const at = r * words + (bit >>> 5), over = shift + m.bits > 32 ? m.codes[at + 1] << (32 - shift) : 0;
      const code = ((m.codes[at] >>> shift) | over) & mask;
      weak[r * ids.length + i] = m.scale[r * groups + g] * (code - m.zero[r * groups + g]);
    }
    if (known === undefined) setCodes(m, codes, id, (r) => Math.round(m.zero[r * groups + g]));
  });
  return { ...m, codes, weakIds: ids, weak };
}

/**
 * One packed matrix whose rows are those of `parts`, one after another. Weak columns belong to a whole matrix: where the
 * parts have different ones, the stack keeps all of them, in 32 bits, if that costs little.
 *
 * @param parts each (rows, cols) of the same inputs. @param most bytes that weak columns may take more than in the parts,
 * as a share of the bytes of the codes.
 * @returns (Σ rows, cols) of the same values; null where bits or groups differ, or it would take too much.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { stackPacked } from "./stack_rows.ts";
 * const part = { rows: 1, cols: 2, bits: 4, codes: Uint32Array.of(0x21), groupOf: null, scale: Float32Array.of(1),
 *   zero: Float32Array.of(0), weakIds: new Int32Array(0), weak: new Float32Array(0) } as const;
 * const other = { ...part, weakIds: Int32Array.of(1), weak: Float32Array.of(7) };
 * assert.deepEqual([...stackPacked([part, part], 0)!.codes], [0x21, 0x21]);
 * assert.equal(stackPacked([part, other], 0), null);
 * assert.deepEqual([...stackPacked([part, other], 9)!.weak], [2, 7]);
 * ```
 */
export function stackPacked(parts: readonly PackedMatrix[], most: number): PackedMatrix | null {
  const [first] = parts, groups = first.scale.length / first.rows;
  for (const p of parts) {
    if (p.bits !== first.bits || p.cols !== first.cols || p.scale.length / p.rows !== groups) return null;
    if (!same(p.groupOf, first.groupOf)) return null;
  }
  const rows = parts.reduce((n, p) => n + p.rows, 0);
  let members = parts;
  if (parts.some((p) => !same(p.weakIds, first.weakIds))) {
    const ids = Int32Array.from(new Set(parts.flatMap((p) => [...p.weakIds]))).sort();
    const now = parts.reduce((n, p) => n + 2 * p.weak.length, 0);
    const codeBytes = parts.reduce((n, p) => n + 4 * p.codes.length, 0);
    if (4 * rows * ids.length - now > most * codeBytes) return null;
    members = parts.map((p) => withWeak(p, ids));
  }
  const codes = new Uint32Array(members.reduce((n, p) => n + p.codes.length, 0));
  let at = 0;
  for (const p of members) {
    codes.set(p.codes, at);
    at += p.codes.length;
  }
  return {
    ...members[0],
    rows,
    codes,
    scale: joined(members.map((p) => p.scale)),
    zero: joined(members.map((p) => p.zero)),
    weak: joined(members.map((p) => p.weak)),
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
