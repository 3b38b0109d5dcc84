// compressed-tensors, format "pack-quantized": our own packing, with signed codes.
//   weight_packed      I32 (out, ceil(in · b / 32))   code − 2^(b−1) is the signed code; packed with 2^(b−1) added: our stream
//   weight_scale       float (out, groups)
//   weight_zero_point  I32 (ceil(out · b / 32), groups)  asymmetric only: the same offset, one stream down each column
//   weight_shape       I64 (2): out, in
//   weight_g_idx       I32 (in)                       act-order with groups (readers before 0.19)
//   ŵ = scale · (signed code − signed zero point) = scale · (code − zero)
// Since 0.18 a code may cross the border of a word. Before, a word held floor(32 / b) codes: for 3 bits ten and two idle
// bits, which is another file; for 2, 4 and 8 bits the same. At every multiple of 32 (and at every width from 160 on) the
// number of words tells which it is; elsewhere it may not, and dense packing is taken.
// Source: the code of compressed-tensors 0.8.1 to 0.20.0 (compressors/pack_quantized).
import { LabError } from "../io/errors.ts";
import type { Floats } from "../io/tensor.ts";
import { groupsOf } from "./budget.ts";
import type { QuantizedLayer } from "./layer.ts";
import { checkForeign, foreignLayer, isSymmetric, type LayoutShape } from "./layout.ts";
import { packRows, unpackRows } from "./pack.ts";
import { transpose } from "./transpose.ts";

/** The tensors of one linear, words as I32 of the same bits. */
export interface CompressedTensors {
  /** (out, words a row) */
  readonly packed: Int32Array<ArrayBuffer>;
  /** (out, groups) */
  readonly scale: Floats;
  /** (words, groups) packed along the outputs, or null where all are 2^(b−1) and none are stored. */
  readonly zeroPoint: Int32Array<ArrayBuffer> | null;
  /** (in) or null. */
  readonly gIdx: Int32Array<ArrayBuffer> | null;
}

const words = (a: Int32Array<ArrayBuffer>) => new Uint32Array(a.buffer, a.byteOffset, a.length);
const ints = (a: Uint32Array<ArrayBuffer>) => new Int32Array(a.buffer, a.byteOffset, a.length);

/**
 * A quantized layer as compressed-tensors stores it.
 *
 * @param layer (out, in) without weak columns, any shape. @param symmetric leave the zero points out; all must be 2^(b−1).
 * @throws LabError "input" where the layer has weak columns or its last group is not whole.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { toCompressed } from "./compressed_layout.ts";
 * import { NO_REPORT } from "./layer.ts";
 * const layer = { name: "fc", method: "rtn", rows: 2, cols: 3, bits: 4, groupSize: 0, scaleBits: 16 as const, groupOf: null,
 *   report: NO_REPORT, codes: Uint8Array.of(1, 2, 3, 4, 5, 6), scale: Float32Array.of(1, 1), zero: Float32Array.of(8, 7),
 *   weakIds: new Int32Array(0), weak: new Float32Array(0) };
 * const t = toCompressed(layer, false);
 * assert.deepEqual([...t.packed], [0x321, 0x654]);
 * assert.deepEqual([...t.zeroPoint!], [0x78]);
 * ```
 */
export function toCompressed(layer: QuantizedLayer, symmetric: boolean): CompressedTensors {
  checkForeign(layer);
  const { name, rows, cols, bits, codes, scale, zero } = layer, groups = scale.length / rows;
  if (symmetric && !isSymmetric(layer)) throw new LabError("input", name, "has zero points other than the middle one");
  const stored = Uint8Array.from(transpose(zero, rows, groups));
  return {
    packed: ints(packRows(codes, rows, cols, bits)),
    scale,
    zeroPoint: symmetric
      ? null
      : ints(transpose(packRows(stored, groups, rows, bits), groups, Math.ceil(rows * bits / 32))),
    gIdx: layer.groupOf,
  };
}

/**
 * A layer out of a compressed-tensors checkpoint; the inverse of {@link toCompressed}, and of the packing before 0.18.
 *
 * @param t the tensors. @param s what the checkpoint says of the linear. @param scaleBits 16 where scales were f16.
 * @throws LabError "format" where lengths do not fit, zero points are missing or uncalled for, or the map of groups is
 *   no map; "numeric" where a scale is not finite.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fromCompressed } from "./compressed_layout.ts";
 * import { dequantize } from "./dequantize.ts";
 * const t = { packed: Int32Array.of(0x987), scale: Float32Array.of(0.5), zeroPoint: null, gIdx: null };
 * const layer = fromCompressed(t, { name: "fc", rows: 1, cols: 3, bits: 4, groupSize: 0, symmetric: true }, 16);
 * assert.deepEqual([...dequantize(layer).data], [-0.5, 0, 0.5]);
 * ```
 */
export function fromCompressed(t: CompressedTensors, s: LayoutShape, scaleBits: 16 | 32): QuantizedLayer {
  const { name, rows, cols, bits, groupSize } = s, groups = groupsOf(cols, groupSize);
  if (t.scale.length !== rows * groups) {
    const hint = "The configuration's group size does not belong to these weights.";
    throw new LabError("format", `${name}.weight_scale`, `${t.scale.length} values, not ${rows * groups}`, hint);
  }
  return foreignLayer(s, "compressed-tensors", {
    codes: unpackAny(`${name}.weight_packed`, words(t.packed), rows, cols, bits),
    scale: t.scale,
    zero: zeroPoints(t, s, groups),
    groupOf: t.gIdx,
  }, scaleBits);
}

function zeroPoints(t: CompressedTensors, s: LayoutShape, groups: number): Floats {
  const { name, rows, bits, symmetric } = s, thing = `${name}.weight_zero_point`, half = 2 ** (bits - 1);
  if (!t.zeroPoint) {
    if (!symmetric) throw new LabError("format", thing, "is missing, though the grid is called asymmetric");
    return new Float32Array(rows * groups).fill(half);
  }
  const width = t.zeroPoint.length / groups;
  if (!Number.isInteger(width)) throw new LabError("format", thing, `${t.zeroPoint.length} words for ${groups} groups`);
  const codes = unpackAny(thing, transpose(words(t.zeroPoint), width, groups), groups, rows, bits);
  return transpose(Float32Array.from(codes), groups, rows);
}

/** (rows, cols) codes, dense or (before 0.18) with floor(32 / bits) whole codes a word; the length says which. */
function unpackAny(thing: string, w: Uint32Array, rows: number, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const dense = rows * Math.ceil(cols * bits / 32), perWord = Math.floor(32 / bits), width = Math.ceil(cols / perWord);
  if (w.length === dense) return unpackRows(w, rows, cols, bits);
  if (w.length !== rows * width) {
    const hint = "The configuration's bits do not belong to these weights, or the file is damaged.";
    throw new LabError("format", thing, `${w.length} words, not ${dense}`, hint);
  }
  const codes = new Uint8Array(rows * cols), mask = 2 ** bits - 1;
  for (let r = 0, at = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      codes[at++] = (w[r * width + Math.floor(c / perWord)] >>> (bits * (c % perWord))) & mask;
    }
  }
  return codes;
}
