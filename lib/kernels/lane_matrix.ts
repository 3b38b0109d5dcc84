// A matrix in the form wgsl/matvec_lane.wgsl reads: its columns in units of 128, its words row by row.
import { LabError } from "../io/errors.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { packDense, unpackDense } from "./pack.ts";
import { checkPackedMatrix, type PackedMatrix } from "./packed_matrix.ts";

type Words = Uint32Array<ArrayBuffer>;

/** Columns of a unit. */
export const UNIT = 128;

/** A matrix in the form the lane kernel reads, before it is uploaded. */
export interface LaneMatrix {
  readonly rows: number;
  readonly cols: number;
  /** Of a code; 16 and 32 are floats. */
  readonly bits: 2 | 3 | 4 | 8 | 16 | 32;
  /** Grids in a unit of columns; 0: one grid a row. */
  readonly slots: 0 | 1 | 2 | 4;
  readonly weakBits: 16 | 32;
  /** (units · 128) the column at each place, −1 at none. */
  readonly order: Int32Array<ArrayBuffer>;
  /** Ids of weak columns, filled up with −1 to a multiple of 8. */
  readonly weakIds: Int32Array<ArrayBuffer>;
  /** Words of unit u of row r into `out`: 4 · bits of codes, then its grids. */
  unit(r: number, u: number, out: Words): void;
  /** Weak columns 8 i … 8 i + 7 of row r into `out`: weakBits / 4 words. */
  weak(r: number, i: number, out: Words): void;
  /** Scale and zero of row r where there is one grid. */
  grid(r: number): readonly [number, number];
}

/**
 * The form of a packed matrix: codes stay where they are, but for groups, whose columns come together.
 *
 * @param m (out, in). @param weakBits how wide weak columns become.
 * @returns what gives the words of each row and unit; nothing is packed before it is asked for.
 * @throws LabError of kind "input" where the matrix is not whole; `weak` one of kind "numeric" where a value does not fit f16.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { packedLaneMatrix } from "./lane_matrix.ts";
 * const lane = packedLaneMatrix({
 *   rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *   zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) }, 16);
 * assert.deepEqual([...lane.order.subarray(0, 4)], [0, -1, 2, -1]);
 * ```
 */
export function packedLaneMatrix(m: PackedMatrix, weakBits: 16 | 32): LaneMatrix {
  const groups = checkPackedMatrix(m), { rows, cols, bits } = m, k = m.weakIds.length;
  const { order, slots, groupAt } = groups === 1 ? plainOrder(m) : groupedOrder(m, groups);
  const width = m.codes.length / rows, unitWords = 4 * bits, inPlace = groups === 1;
  const codes = new Uint8Array(UNIT);
  let unpacked = -1, row: Uint8Array = codes; // the row that was unpacked last: units come row by row
  const grids = new Float32Array(4 * Math.ceil(slots / 2)), gridWords = new Uint32Array(grids.buffer);
  const eight = new Float32Array(8);
  return {
    rows,
    cols,
    bits,
    slots,
    order,
    weakBits,
    weakIds: Int32Array.from({ length: Math.ceil(k / 8) * 8 }, (_, i) => i < k ? m.weakIds[i] : -1),
    unit(r, u, out) {
      if (inPlace) {
        out.fill(0);
        const first = r * width + u * unitWords;
        out.set(m.codes.subarray(first, Math.min(first + unitWords, (r + 1) * width)));
        return;
      }
      if (unpacked !== r) row = unpackDense(m.codes.subarray(r * width, (r + 1) * width), bits, cols);
      unpacked = r;
      for (let i = 0; i < UNIT; i++) codes[i] = order[u * UNIT + i] < 0 ? 0 : row[order[u * UNIT + i]];
      out.set(packDense(codes, bits));
      for (let s = 0; s < slots; s++) {
        const g = r * groups + groupAt[u * slots + s];
        grids[2 * s] = m.scale[g];
        grids[2 * s + 1] = m.zero[g];
      }
      out.set(gridWords, unitWords);
    },
    weak(r, i, out) {
      for (let j = 0; j < 8; j++) eight[j] = 8 * i + j < k ? m.weak[r * k + 8 * i + j] : 0;
      out.set(wordsOfFloats(eight, weakBits, "weak columns"));
    },
    grid: (r) => [m.scale[r * groups], m.zero[r * groups]],
  };
}

/**
 * The form of a dense matrix: floats for codes, no grid, no weak column.
 *
 * @param w (out, in). @param bits 32, or 16 for f16.
 * @returns what gives the words of each row and unit.
 * @throws LabError of kind "numeric", from `unit`, where a weight does not fit f16.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { denseLaneMatrix } from "./lane_matrix.ts";
 * const words = new Uint32Array(64);
 * denseLaneMatrix({ data: Float32Array.of(1, 2), rows: 1, cols: 2 }, 16).unit(0, 0, words);
 * assert.equal(words[0], 0x40003c00);
 * ```
 */
export function denseLaneMatrix(w: Matrix, bits: 16 | 32): LaneMatrix {
  const { rows, cols, data } = w, values = new Float32Array(UNIT);
  const order = Int32Array.from({ length: Math.ceil(cols / UNIT) * UNIT }, (_, c) => c < cols ? c : -1);
  return {
    rows,
    cols,
    bits,
    order,
    slots: 0,
    weakBits: 16,
    weakIds: new Int32Array(0),
    unit(r, u, out) {
      values.fill(0);
      values.set(data.subarray(r * cols + u * UNIT, r * cols + Math.min((u + 1) * UNIT, cols)));
      out.set(wordsOfFloats(values, bits, "weights"));
    },
    weak: () => {},
    grid: () => [1, 0],
  };
}

/** Floats as words: pairs of f16, or their bits. */
function wordsOfFloats(values: Floats, bits: 16 | 32, what: string): Words {
  if (bits === 32) return new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Float16Array(values);
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(halves[i])) continue;
    throw new LabError("numeric", what, `${values[i]} does not fit 16 bits`, "Keep them in 32 bits.");
  }
  return new Uint32Array(halves.buffer);
}

/** Columns as they come; the weak ones, which are computed apart, and those beyond the last count for nothing. */
function plainOrder(m: PackedMatrix) {
  const order = Int32Array.from({ length: Math.ceil(m.cols / UNIT) * UNIT }, (_, c) => c < m.cols ? c : -1);
  for (const c of m.weakIds) order[c] = -1;
  return { order, slots: 0 as const, groupAt: new Int32Array(0) };
}

/** Columns group by group, each group filled up to whole slots: of 128 columns, or fewer where that leaves less unused. */
function groupedOrder(m: PackedMatrix, groups: number) {
  const members: number[][] = Array.from({ length: groups }, () => []), weak = new Set(m.weakIds);
  for (let c = 0; c < m.cols; c++) if (!weak.has(c)) members[m.groupOf![c]].push(c);
  const unitsAt = (slots: number) =>
    Math.max(1, Math.ceil(members.reduce((n, g) => n + Math.ceil(g.length * slots / UNIT), 0) / slots));
  const slots = ([1, 2, 4] as const).reduce((a, b) => unitsAt(b) < unitsAt(a) ? b : a), size = UNIT / slots;
  const units = unitsAt(slots), order = new Int32Array(units * UNIT).fill(-1), groupAt = new Int32Array(units * slots);
  let slot = 0;
  members.forEach((columns, g) => {
    for (let i = 0; i < columns.length; i += size) {
      order.set(columns.slice(i, i + size), slot * size);
      groupAt[slot++] = g;
    }
  });
  return { order, slots, groupAt };
}
