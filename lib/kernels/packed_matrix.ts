// A linear as it is stored: packed codes, one grid a row or a group of columns, and the weak columns beside them.
import { LabError } from "../io/errors.ts";
import type { Floats } from "../io/tensor.ts";

/** Widths of a code for which there are packed kernels. */
export type PackedBits = 2 | 3 | 4 | 8;

/**
 * A linear's stored form, on the host: ŵ[r, c] = scale[r, g] · (code[r, c] − zero[r, g]) with g the group of column c;
 * at a weak column the code equals the zero point and weak[r, i] counts instead.
 */
export interface PackedMatrix {
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  readonly bits: PackedBits;
  /** (rows, ceil(cols · bits / 32)): each row one least-significant-bit-first stream that begins on a word (pack.ts). */
  readonly codes: Uint32Array<ArrayBuffer>;
  /** (rows, groups) */
  readonly scale: Floats;
  /** (rows, groups) */
  readonly zero: Floats;
  /** (cols) group of each column; null: one group. What stands at a weak column is never read. */
  readonly groupOf: Int32Array<ArrayBuffer> | null;
  /** (k), ascending. */
  readonly weakIds: Int32Array<ArrayBuffer>;
  /** (rows, k) */
  readonly weak: Floats;
}

/**
 * Whether a packed matrix is whole: the lengths fit its shape, weak ids ascend within it, groups exist, numbers are finite.
 *
 * @param m as described at {@link PackedMatrix}; nothing of it is written to.
 * @returns how many groups a row has.
 * @throws LabError of kind "input" that names the part that does not fit, "numeric" on NaN or infinity.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { checkPackedMatrix } from "./packed_matrix.ts";
 * const groups = checkPackedMatrix({
 *   rows: 1, cols: 4, bits: 2, codes: Uint32Array.of(0b11100100), groupOf: null,
 *   scale: Float32Array.of(0.5), zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 * assert.equal(groups, 1);
 * ```
 */
export function checkPackedMatrix(m: PackedMatrix): number {
  const { rows, cols, bits } = m, k = m.weakIds.length;
  const refuse = (what: string, hint = "") => {
    throw new LabError("input", `packed matrix (${rows}, ${cols})`, what, hint);
  };
  if (!(Number.isInteger(rows) && Number.isInteger(cols) && rows >= 1 && cols >= 1)) {
    refuse("rows and columns are not whole numbers of at least 1");
  }
  if (![2, 3, 4, 8].includes(bits)) refuse(`${bits} bits a code`, "There are kernels for 2, 3, 4 and 8 bits.");
  const words = rows * Math.ceil(cols * bits / 32);
  if (m.codes.length !== words) refuse(`${m.codes.length} words of codes, not ${words}`);
  const groups = m.scale.length / rows;
  if (!(Number.isInteger(groups) && groups >= 1)) refuse(`${m.scale.length} scales do not make whole rows`);
  if (m.zero.length !== m.scale.length) refuse(`${m.zero.length} zeros for ${m.scale.length} scales`);
  if (m.weak.length !== rows * k) refuse(`${m.weak.length} weak values for ${rows} × ${k}`);
  for (let i = 0; i < k; i++) {
    const id = m.weakIds[i];
    if (!(id > (i === 0 ? -1 : m.weakIds[i - 1]) && id < cols)) {
      refuse(`weak column ${id} at ${i}`, `Ids ascend within 0 … ${cols - 1}.`);
    }
  }
  if (m.groupOf === null) {
    if (groups !== 1) refuse(`${groups} groups, and no group of each column`, "Give groupOf.");
  } else {
    if (m.groupOf.length !== cols) refuse(`${m.groupOf.length} groups of columns`, `Give ${cols}.`);
    for (let c = 0, i = 0; c < cols; c++) {
      if (m.weakIds[i] === c) i++;
      else if (!(m.groupOf[c] >= 0 && m.groupOf[c] < groups)) {
        refuse(`column ${c} in group ${m.groupOf[c]} of ${groups}`);
      }
    }
  }
  for (const [name, values] of [["scale", m.scale], ["zero", m.zero], ["weak value", m.weak]] as const) {
    for (let i = 0; i < values.length; i++) {
      const x = values[i];
      if (x - x !== 0) throw new LabError("numeric", `packed matrix (${rows}, ${cols})`, `${name} ${i} is ${x}`);
    }
  }
  return groups;
}
