// --model SPEC for everything the lab can load: the files of lib/io, checkpoints of GPTQ and compressed-tensors, and folders
// that the lab itself packed.
import { basename, join } from "node:path";
import { LabError } from "../io/errors.ts";
import { companionTexts, folderTokenizer, readConfig } from "../io/model_folder.ts";
import { type ModelFiles, openModel } from "../io/open_model.ts";
import { openSafetensors, type SafetensorsFile } from "../io/safetensors.ts";
import type { TensorInfo, TensorSource } from "../io/source.ts";
import { dequantize } from "../quant/dequantize.ts";
import { openCheckpoint } from "./checkpoint_read.ts";
import { PACKED_FORMAT, PACKED_INDEX, type PackedEntry } from "./packed.ts";
import { openPackedLayers } from "./packed_layers.ts";
import { sha256Hex } from "../io/digest.ts";

/** owq_lab.json, as read. */
export interface PackedIndex {
  readonly format: string;
  readonly version: string;
  readonly model: string;
  readonly note: string;
  readonly recipe: unknown;
  readonly layers: Readonly<Record<string, PackedEntry>>;
}

/**
 * Opens a model by its SPEC; the linears of a folder with owq_lab.json (a packed model) and of GPTQ and compressed-tensors
 * checkpoints are dequantized as they are read.
 *
 * @param spec fixture, a folder, a .gguf file, hf:owner/name[@revision], smollm2, or a folder that the lab packed.
 * @throws LabError as openModel and openCheckpoint, and "format" where a packed folder is of another version or not whole.
 */
export async function resolveModel(spec: string, o: Parameters<typeof openModel>[1] = {}): Promise<ModelFiles> {
  const index = join(spec, PACKED_INDEX);
  const isPacked = await Deno.stat(index).then((s) => s.isFile, () => false);
  if (isPacked) return await openPacked(spec);
  const files = await openModel(spec, { ...o, quantized: true });
  if (!files.config.quantization_config) return files;
  try {
    return (await openCheckpoint(files)).files;
  } catch (e) {
    files.source.close();
    throw e;
  }
}

/** owq_lab.json of a folder, checked. */
export async function readPackedIndex(folder: string): Promise<PackedIndex> {
  const path = join(folder, PACKED_INDEX);
  const index = JSON.parse(await Deno.readTextFile(path)) as PackedIndex;
  if (index.format !== PACKED_FORMAT) {
    throw new LabError("format", path, `format "${index.format}", this version reads "${PACKED_FORMAT}"`);
  }
  return index;
}

async function openPacked(folder: string): Promise<ModelFiles> {
  const index = await readPackedIndex(folder), rest = openSafetensors(join(folder, "rest.safetensors"));
  const { method, bits, linearBits } = index.recipe as { method: string; bits: number; linearBits?: unknown };
  return {
    spec: folder,
    label: `${index.model} ${method} ${bits}`,
    config: await readConfig(folder),
    source: packedSource(folder, index, rest),
    tokenizer: () => folderTokenizer(folder),
    companions: () => companionTexts(folder),
    folder,
    note: [index.note, `quantized by ${method} at ${bits} bits${linearBits ? ", by linear" : ""}`].filter(Boolean).join(
      "; ",
    ),
  };
}

/** A source whose linears are dequantized on reading; block files are opened once each. */
function packedSource(folder: string, index: PackedIndex, rest: SafetensorsFile): TensorSource {
  const packed = openPackedLayers(folder, index.layers), tensors = new Map<string, TensorInfo>(rest.tensors);
  for (const [tensor, e] of Object.entries(index.layers)) {
    const name = `${tensor}.weight`;
    tensors.set(name, { name, dtype: "F32", shape: [e.rows, e.cols], bytes: e.rows * e.cols * 4 });
  }
  const read = async (name: string) => {
    const tensor = name.replace(/\.weight$/, "");
    if (rest.tensors.has(name) || !index.layers[tensor]) return await rest.read(name);
    const w = dequantize(await packed.layer(tensor));
    return { data: w.data, shape: [w.rows, w.cols] };
  };
  return {
    label: basename(folder),
    tensors,
    read,
    readBytes: async (name) =>
      rest.tensors.has(name) ? await rest.readBytes(name) : new Uint8Array((await read(name)).data.buffer),
    sha256: async () => sha256Hex([await rest.sha256(), ...await packed.sums()].join("\n")),
    close: () => {
      rest.close();
      packed.close();
    },
  };
}
