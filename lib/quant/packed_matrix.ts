// From what a method gives to what the packed kernels take.
import { LabError } from "../io/errors.ts";
import type { PackedBits, PackedMatrix } from "../kernels/packed_matrix.ts";
import { columnGroups } from "./dequantize.ts";
import type { QuantizedLayer } from "./layer.ts";
import { packRows } from "./pack.ts";

/**
 * A quantized layer as a packed matrix: the same values, the codes packed.
 *
 * @param layer of 2, 3, 4 or 8 bits, (out, in); scales, zeros and weak columns are shared, not copied.
 * @returns (out, in) in stored form.
 * @throws LabError of kind "input" on another width.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { NO_REPORT } from "./layer.ts";
 * import { toPackedMatrix } from "./packed_matrix.ts";
 * const m = toPackedMatrix({
 *   name: "doc", method: "owq", rows: 1, cols: 3, bits: 2, groupSize: 0, scaleBits: 32, groupOf: null, report: NO_REPORT,
 *   codes: Uint8Array.of(3, 1, 0), scale: Float32Array.of(0.5), zero: Float32Array.of(1),
 *   weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 * assert.deepEqual([...m.codes], [0b000111]);
 * ```
 */
export function toPackedMatrix(layer: QuantizedLayer): PackedMatrix {
  const { rows, cols, scale, zero, weakIds, weak } = layer;
  if (![2, 3, 4, 8].includes(layer.bits)) {
    throw new LabError("input", layer.name, `${layer.bits} bits a code`, "Packed kernels know 2, 3, 4 and 8 bits.");
  }
  const bits = layer.bits as PackedBits;
  const groupOf = scale.length > rows ? columnGroups(layer) : null;
  return { rows, cols, bits, codes: packRows(layer.codes, rows, cols, bits), scale, zero, groupOf, weakIds, weak };
}
