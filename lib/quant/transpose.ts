// Other formats lie the other way round: what is a row here is a column there.

/**
 * The transpose of a dense row-major array.
 *
 * @param a (rows, cols); not written to.
 * @returns (cols, rows), a new array of the same kind.
 * @throws RangeError where the length is not rows · cols.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { transpose } from "./transpose.ts";
 * assert.deepEqual(transpose(Uint8Array.of(1, 2, 3, 4, 5, 6), 2, 3), Uint8Array.of(1, 4, 2, 5, 3, 6));
 * ```
 */
export function transpose<T extends Uint8Array | Uint32Array | Int32Array | Float32Array>(
  a: T,
  rows: number,
  cols: number,
): T {
  if (a.length !== rows * cols) throw new RangeError(`${a.length} values are no (${rows}, ${cols})`);
  const out = a.slice() as T;
  for (let r = 0, i = 0; r < rows; r++) {
    for (let c = 0, o = r; c < cols; c++, i++, o += rows) out[o] = a[i];
  }
  return out;
}
