// From a GPTQ or compressed-tensors checkpoint to the lab's packed folder: the codes, grids and group maps as they were.
import { join } from "node:path";
import { atomicWriteText, ensureWritableFolder } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import { openModel, type OpenModelOptions } from "../io/open_model.ts";
import { type TensorToWrite, writeSafetensors } from "../io/safetensors_write.ts";
import { openCheckpoint } from "./checkpoint_read.ts";
import { refusePacked } from "./checkpoint_export.ts";
import { blockFile, PACKED_FORMAT, PACKED_INDEX, type PackedEntry, packedEntry, packedTensors } from "./packed.ts";
import { writeRest } from "./save.ts";
import { labVersion } from "./version.ts";

/** What an import did. */
export interface ImportReport {
  readonly format: string;
  readonly out: string;
  readonly linears: number;
  /** Stored bits a weight over all quantized linears. */
  readonly storedBits: number;
}

/**
 * Turns a checkpoint into a packed folder, block by block; dequantized, both give the same bits.
 *
 * @param spec SPEC of the checkpoint. @param out the packed folder to make.
 * @returns what was written.
 * @throws LabError "input" where it is no such checkpoint or `out` is a packed folder already; else as openCheckpoint.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { importCheckpoint } from "./checkpoint_import.ts";
 * await assert.rejects(importCheckpoint("fixture", "no/such/folder"), /fixture: is a model with plain weights/);
 * ```
 */
export async function importCheckpoint(
  spec: string,
  out: string,
  o: OpenModelOptions & { readonly onBlock?: (done: number, total: number) => void } = {},
): Promise<ImportReport> {
  await refusePacked(out);
  const raw = await openModel(spec, { ...o, quantized: true });
  try {
    if (!raw.config.quantization_config) {
      throw new LabError("input", spec, "is a model with plain weights", "`owq quantize` makes a packed folder of it.");
    }
    const { files, scheme, linears, layer } = await openCheckpoint(raw), layers: Record<string, PackedEntry> = {};
    const byFile = Map.groupBy(linears, fileOf);
    let done = 0;
    await ensureWritableFolder(join(out, "blocks"));
    for (const [file, names] of byFile) {
      const tensors: TensorToWrite[] = [];
      for (const name of names) {
        const read = { ...await layer(name), name: nameOf(name) };
        tensors.push(...packedTensors(name, read));
        layers[name] = packedEntry(file, read);
      }
      await writeSafetensors(join(out, file), tensors, { owq_lab: "block" });
      o.onBlock?.(++done, byFile.size);
    }
    await writeRest(out, files, new Set(linears.map((n) => `${n}.weight`)));
    const bits = [...new Set(linears.map((n) => scheme.schemeOf(n).bits))].sort((a, b) => a - b);
    const index = {
      format: PACKED_FORMAT,
      version: await labVersion(),
      model: files.label,
      note: files.note,
      recipe: {
        model: spec,
        method: scheme.format,
        bits: bits.length === 1 ? bits[0] : bits,
        imported: scheme.producer,
      },
      layers,
    };
    await atomicWriteText(join(out, PACKED_INDEX), JSON.stringify(index, null, 1) + "\n");
    const weights = (e: PackedEntry) => e.rows * e.cols, all = Object.values(layers);
    const total = all.reduce((sum, e) => sum + e.storedBits * weights(e), 0),
      n = all.reduce((sum, e) => sum + weights(e), 0);
    return { format: scheme.format, out, linears: linears.length, storedBits: total / n };
  } finally {
    raw.source.close();
  }
}

/** The file of a linear: its block's, or one for the few outside the blocks. */
function fileOf(name: string): string {
  const block = /\.(\d+)\./.exec(name)?.[1];
  return block === undefined ? join("blocks", "outside.safetensors") : blockFile(Number(block));
}

/** "0.self_attn.q_proj" of "model.layers.0.self_attn.q_proj", as the lab calls a layer. */
function nameOf(tensor: string): string {
  return /(?:^|\.)(\d+\..+)$/.exec(tensor)?.[1] ?? tensor;
}
