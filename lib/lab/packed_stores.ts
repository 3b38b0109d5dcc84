// Layers made of stores in the lab's packed folder: array A of store number i of a linear NAME is the tensor NAME.i.A,
//   integers  I32 (words)  one least-significant-first stream, `bits` wide each
//   floats    F16 or F32, in the array's shape
//   trits     U8 (bytes)   five in a byte, the first the least
// owq_lab.json holds each store's kind, settings and arrays; lib/quant/store.ts says what they mean.
import { LabError } from "../io/errors.ts";
import type { SafetensorsFile } from "../io/safetensors.ts";
import type { TensorToWrite } from "../io/safetensors_write.ts";
import { readStream, readTrits, writeStream, writeTrits } from "../quant/bitstream.ts";
import { storedBits } from "../quant/budget.ts";
import { type LayerReport, type StoredLayer, weakIdsOf } from "../quant/layer.ts";
import { type ArraySpec, countOf, fillStore, type Store, type StoredArray, type StorePlan } from "../quant/store.ts";

/** What owq_lab.json says of a linear that is a list of stores. */
export interface StoresEntry {
  readonly file: string;
  readonly name: string;
  readonly method: string;
  readonly rows: number;
  readonly cols: number;
  /** Ids of the columns kept in 16 bits, ascending. */
  readonly weakIds: readonly number[];
  /** Stored bits a weight, to the last scale and index. */
  readonly storedBits: number;
  readonly stores: readonly StorePlan[];
  readonly report: LayerReport;
}

/** The tensors of one linear. */
export function storesTensors(tensor: string, layer: StoredLayer): TensorToWrite[] {
  return layer.stores.flatMap((store, i) =>
    Object.entries(store.arrays).map(([name, a]) => tensorOf(`${tensor}.${i}.${name}`, a))
  );
}

function tensorOf(name: string, a: StoredArray): TensorToWrite {
  if (a.type === "float") return { name, dtype: a.bits === 16 ? "F16" : "F32", shape: a.shape, data: a.values };
  if (a.type === "trit") {
    const data = writeTrits(a.values);
    return { name, dtype: "U8", shape: [data.length], data };
  }
  const data = new Int32Array(writeStream(a.values, a.bits).buffer);
  return { name, dtype: "I32", shape: [data.length], data };
}

/** The entry of owq_lab.json for a linear stored in `file`. */
export function storesEntry(file: string, layer: StoredLayer): StoresEntry {
  const { name, method, rows, cols, report } = layer, weakIds = [...weakIdsOf(layer)];
  const stores = layer.stores.map(({ kind, settings, arrays }) => ({
    kind,
    settings,
    arrays: Object.fromEntries(Object.entries(arrays).map(([key, { values: _, ...spec }]) => [key, spec])),
  }));
  return { file, name, method, rows, cols, weakIds, storedBits: storedBits(layer).perWeight, stores, report };
}

/**
 * Reads one linear back, as it was written, bit by bit.
 *
 * @throws LabError "format" where a tensor is missing or does not fit its entry.
 */
export async function readStores(file: SafetensorsFile, tensor: string, e: StoresEntry): Promise<StoredLayer> {
  const stores: Store[] = [];
  for (const [i, plan] of e.stores.entries()) {
    const values: Record<string, ArrayLike<number>> = {};
    for (const [name, spec] of Object.entries(plan.arrays)) {
      values[name] = await readArray(file, `${tensor}.${i}.${name}`, spec);
    }
    stores.push(fillStore(plan, values));
  }
  const { name, method, rows, cols, report } = e;
  return { name, method, rows, cols, stores, report };
}

async function readArray(file: SafetensorsFile, name: string, spec: ArraySpec): Promise<ArrayLike<number>> {
  const n = countOf(spec);
  if (spec.type === "float") {
    const { data } = await file.read(name);
    if (data.length !== n) throw new LabError("format", `${file.label}: ${name}`, `${data.length} values, not ${n}`);
    return data;
  }
  const { data } = file.readInts(name);
  if (spec.type === "trit") return readTrits(data, n);
  return readStream(new Uint32Array(data.buffer, data.byteOffset, data.length), spec.bits, n);
}
