// The lab's own format: a folder with packed codes, grids and weak columns, that any tool can read with a safetensors
// library and this page. For a linear called NAME (its name in the model's own files, without ".weight"):
//   NAME.codes     I32 (out, ceil(in · bits / 32))  each row one least-significant-first stream of codes, see pack.ts
//   NAME.scale     F32 or F16 (out, groups)
//   NAME.zero      I32 (words)  the stream of all zero points, row by row, `bits` wide each
//   NAME.weak      F16 (out, k) and NAME.weak_ids I32 (k), ascending
//   NAME.group_of  I32 (in)     only with act-order and groups: the group of each column
// Layers that are stored in another way are lists of stores: packed_stores.ts.
// owq_lab.json lists the linears with their shapes; what is not quantized lies in rest.safetensors under its own name.
import { join } from "node:path";
import { LabError } from "../io/errors.ts";
import type { SafetensorsFile } from "../io/safetensors.ts";
import type { TensorToWrite } from "../io/safetensors_write.ts";
import { groupsOf, storedBits } from "../quant/budget.ts";
import type { AnyLayer, LayerReport, QuantizedLayer } from "../quant/layer.ts";
import { packDense, packRows, unpackDense, unpackRows } from "../quant/pack.ts";
import { readStores, type StoresEntry, storesEntry, storesTensors } from "./packed_stores.ts";

/** The name and version of the format, in owq_lab.json. */
export const PACKED_FORMAT = "owq-lab-packed-1";

/** The file that makes a folder a packed model; written last, so that a folder with it is whole. */
export const PACKED_INDEX = "owq_lab.json";

/** What owq_lab.json says of one linear. */
export type PackedEntry = GridEntry | StoresEntry;

/** A linear that is codes on a grid and weak columns. */
export interface GridEntry {
  readonly file: string;
  readonly name: string;
  readonly method: string;
  readonly rows: number;
  readonly cols: number;
  readonly bits: number;
  readonly groupSize: number;
  readonly scaleBits: 16 | 32;
  readonly weakColumns: number;
  /** Ids of the weak columns, ascending. */
  readonly weakIds: readonly number[];
  /** Stored bits a weight, to the last scale and index. */
  readonly storedBits: number;
  readonly report: LayerReport;
}

/**
 * The tensors of one quantized linear.
 *
 * @param tensor its name in the model's files, without ".weight". @param layer (out, in).
 * @returns what to hand to writeSafetensors.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { NO_REPORT } from "../quant/layer.ts";
 * import { packedTensors } from "./packed.ts";
 * const t = packedTensors("fc", { name: "fc", method: "rtn", rows: 1, cols: 3, bits: 2, groupSize: 0, scaleBits: 32,
 *   groupOf: null, report: NO_REPORT, codes: Uint8Array.of(3, 1, 0), scale: Float32Array.of(1), zero: Float32Array.of(2),
 *   weakIds: new Int32Array(0), weak: new Float32Array(0) });
 * assert.deepEqual(t.map((x) => x.name), ["fc.codes", "fc.scale", "fc.zero", "fc.weak", "fc.weak_ids"]);
 * ```
 */
export function packedTensors(tensor: string, layer: AnyLayer): TensorToWrite[] {
  if ("stores" in layer) return storesTensors(tensor, layer);
  const { rows, cols, bits } = layer, k = layer.weakIds.length, groups = layer.scale.length / rows;
  const codes = packRows(layer.codes, rows, cols, bits), zero = packDense(Uint8Array.from(layer.zero), bits);
  const i32 = (words: Uint32Array<ArrayBuffer>) => new Int32Array(words.buffer);
  const scaleType = layer.scaleBits === 16 ? "F16" : "F32";
  const tensors: TensorToWrite[] = [
    { name: `${tensor}.codes`, dtype: "I32", shape: [rows, codes.length / rows], data: i32(codes) },
    { name: `${tensor}.scale`, dtype: scaleType, shape: [rows, groups], data: layer.scale },
    { name: `${tensor}.zero`, dtype: "I32", shape: [zero.length], data: i32(zero) },
    { name: `${tensor}.weak`, dtype: "F16", shape: [rows, k], data: layer.weak },
    { name: `${tensor}.weak_ids`, dtype: "I32", shape: [k], data: layer.weakIds },
  ];
  if (layer.groupOf) tensors.push({ name: `${tensor}.group_of`, dtype: "I32", shape: [cols], data: layer.groupOf });
  return tensors;
}

/** The entry of owq_lab.json for a linear stored in `file`. */
export function packedEntry(file: string, layer: QuantizedLayer): GridEntry;
export function packedEntry(file: string, layer: AnyLayer): PackedEntry;
export function packedEntry(file: string, layer: AnyLayer): PackedEntry {
  if ("stores" in layer) return storesEntry(file, layer);
  const { name, method, rows, cols, bits, groupSize, scaleBits, report } = layer;
  const weakIds = [...layer.weakIds], weakColumns = weakIds.length;
  const shape = { file, name, method, rows, cols, bits, groupSize, scaleBits, weakColumns, weakIds };
  return { ...shape, storedBits: storedBits(layer).perWeight, report };
}

/**
 * Reads one linear back.
 *
 * @param file an open file of the folder. @param tensor the linear's name. @param e its entry.
 * @returns the layer as it was written, bit by bit.
 * @throws LabError "format" where a tensor does not fit its entry.
 */
export function readPacked(file: SafetensorsFile, tensor: string, e: GridEntry): Promise<QuantizedLayer>;
export function readPacked(file: SafetensorsFile, tensor: string, e: PackedEntry): Promise<AnyLayer>;
export async function readPacked(file: SafetensorsFile, tensor: string, e: PackedEntry): Promise<AnyLayer> {
  if ("stores" in e) return await readStores(file, tensor, e);
  const groups = groupsOf(e.cols - e.weakColumns, e.groupSize);
  const need = (what: string, shape: readonly number[], length: number) => {
    const n = shape.reduce((a, b) => a * b, 1);
    if (n !== length) throw new LabError("format", `${file.label}: ${tensor}.${what}`, `${n} values, not ${length}`);
  };
  const words = (name: string, length: number) => {
    const t = file.readInts(`${tensor}.${name}`);
    need(name, t.shape, length);
    return t.data;
  };
  const unsigned = (w: Int32Array<ArrayBuffer>) => new Uint32Array(w.buffer, w.byteOffset, w.length);
  const width = Math.ceil(e.cols * e.bits / 32), zeroCount = e.rows * groups;
  const codes = unpackRows(unsigned(words("codes", e.rows * width)), e.rows, e.cols, e.bits);
  const zero = unpackDense(unsigned(words("zero", Math.ceil(zeroCount * e.bits / 32))), e.bits, zeroCount);
  const scale = await file.read(`${tensor}.scale`), weak = await file.read(`${tensor}.weak`);
  need("scale", scale.shape, zeroCount);
  need("weak", weak.shape, e.rows * e.weakColumns);
  const groupOf = file.tensors.has(`${tensor}.group_of`) ? words("group_of", e.cols) : null;
  const weakIds = words("weak_ids", e.weakColumns);
  for (const id of weakIds) {
    if (id < 0 || id >= e.cols) {
      throw new LabError("format", `${file.label}: ${tensor}.weak_ids`, `column ${id} of ${e.cols}`);
    }
  }
  const { name, method, rows, cols, bits, groupSize, scaleBits, report } = e;
  return {
    name,
    method,
    rows,
    cols,
    bits,
    groupSize,
    scaleBits,
    report,
    codes,
    zero: Float32Array.from(zero),
    scale: scale.data,
    weak: weak.data,
    weakIds,
    groupOf,
  };
}

/** The file of a block's linears inside the folder. */
export function blockFile(block: number): string {
  return join("blocks", `block-${String(block).padStart(3, "0")}.safetensors`);
}
