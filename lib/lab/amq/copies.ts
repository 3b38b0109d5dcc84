// HQQ copies of a model at several widths, made once and kept in the cache: what AMQ judges configurations by, because a
// configuration is then a choice among copies and nothing is quantized again.
import { join } from "node:path";
import { atomicWriteText } from "../../io/atomic.ts";
import { labCache } from "../../io/cache.ts";
import { sha256Hex } from "../../io/digest.ts";
import { LabError } from "../../io/errors.ts";
import type { OnProgress } from "../../io/progress.ts";
import { type TensorToWrite, writeSafetensors } from "../../io/safetensors_write.ts";
import type { Matrix } from "../../io/tensor.ts";
import { openKernels } from "../../kernels/kernels.ts";
import { findMethod } from "../../methods/table.ts";
import type { LanguageModel } from "../../model/language_model.ts";
import { dequantize } from "../../quant/dequantize.ts";
import { blockFile, type PackedEntry, packedEntry, packedTensors } from "../packed.ts";
import { openPackedLayers, type PackedLayers } from "../packed_layers.ts";
import { tensorName } from "../quantize.ts";

/** Dequantized copies that are kept in memory; beyond, a copy is dequantized whenever it is asked for. */
const KEPT_BYTES = 1.5e9;

/** Part of the cache's key: raised when copies of the same name would be made differently. */
const FORMAT = 1;

/** Copies of all linears, each at several widths. */
export interface Copies {
  /** Ŵ (out, in) of a linear at `bits`, dequantized. @throws LabError "input" for a width that there is no copy of. */
  weight(block: number, linear: string, bits: number): Promise<Matrix>;
  close(): void;
}

/** Which copies. */
export interface CopiesOptions {
  readonly bits: readonly number[];
  /** Columns that share a scale and a zero point of 16 bits each. */
  readonly groupSize: number;
  /** Where copies are kept; the lab's cache by default. */
  readonly folder?: string;
  readonly onProgress?: OnProgress;
}

/**
 * Opens the copies of a model, and makes those that are not in the cache yet; two processes that want the same wait for each other.
 *
 * @param model the float model, open. @param sha256 of its source: copies are known by it.
 * @throws LabError "storage" where the cache cannot be written, and as the method hqq.
 * Source: AMQ's proxy, dlwns147/amq@1909fec: HQQ by its default solver, groups of 128, scales and zero points of 16 bits.
 */
export async function openCopies(model: LanguageModel, sha256: string, o: CopiesOptions): Promise<Copies> {
  const opened = new Map<number, PackedLayers>(), kept = new Map<string, Promise<Matrix>>();
  for (const bits of o.bits) opened.set(bits, await openCopy(model, sha256, bits, o));
  let bytes = 0;
  const read = async (layers: PackedLayers, tensor: string) => dequantize(await layers.layer(tensor));
  return {
    weight(block, linear, bits) {
      const layers = opened.get(bits), tensor = tensorName(model, block, linear), key = `${bits} ${tensor}`;
      if (!layers) {
        throw new LabError(
          "input",
          `${block}.${linear}`,
          `has no copy at ${bits} bits`,
          `There are ${o.bits.join(", ")}.`,
        );
      }
      const known = kept.get(key);
      if (known) return known;
      const made = read(layers, tensor), info = model.linears(block).find((l) => l.name === linear);
      if (info) bytes += info.out * info.in * 4;
      if (bytes <= KEPT_BYTES) kept.set(key, made);
      return made;
    },
    close: () => opened.forEach((layers) => layers.close()),
  };
}

async function openCopy(model: LanguageModel, sha256: string, bits: number, o: CopiesOptions): Promise<PackedLayers> {
  const method = findMethod("hqq"), options = { ...method.defaults, codeBits: bits, groupSize: o.groupSize };
  const key = sha256Hex(JSON.stringify({ FORMAT, sha256, bits, options })).slice(0, 32);
  const folder = join(o.folder ?? join(labCache(), "hqq"), key), index = join(folder, "copies.json");
  await Deno.mkdir(folder, { recursive: true });
  using lock = await Deno.open(join(folder, "lock"), { create: true, write: true });
  await lock.lock(true);
  const known = await readIndex(index);
  if (known) return openPackedLayers(folder, known);
  const kernels = await openKernels("cpu"), layers: Record<string, PackedEntry> = {};
  try {
    for (let b = 0; b < model.blocks; b++) {
      o.onProgress?.({ what: `HQQ copy at ${bits} bits`, done: b, total: model.blocks, unit: "blocks" });
      const block = await model.openBlock(b), tensors: TensorToWrite[] = [];
      try {
        for (const { name } of model.linears(b)) {
          const problem = {
            name: `${b}.${name}`,
            weight: block.weight(name),
            hessian: null,
            inputs: null,
            gradient: null,
          };
          const layer = await method.quantizeLayer({ ...problem, seed: 0 }, options, bits, 0, { kernels });
          tensors.push(...packedTensors(tensorName(model, b, name), layer));
          layers[tensorName(model, b, name)] = packedEntry(blockFile(b), layer);
        }
      } finally {
        block.close();
      }
      await Deno.mkdir(join(folder, "blocks"), { recursive: true });
      await writeSafetensors(join(folder, blockFile(b)), tensors, { owq_lab: "hqq copy" });
    }
  } finally {
    kernels.close();
  }
  await atomicWriteText(index, JSON.stringify({ bits, layers }));
  return openPackedLayers(folder, layers);
}

/** The index of a whole copy; null where it is not there or not whole. */
async function readIndex(path: string): Promise<Record<string, PackedEntry> | null> {
  try {
    return (JSON.parse(await Deno.readTextFile(path)) as { layers: Record<string, PackedEntry> }).layers;
  } catch {
    return null;
  }
}
