// Packed folders of a tiny model in every kind that can leave the lab, made once for the tests of interchange.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rng } from "../../lib/io/rng.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { CHECKPOINT_FORMATS, type CheckpointFormat } from "../../lib/lab/checkpoint_config.ts";
import { exportCheckpoint } from "../../lib/lab/checkpoint_export.ts";
import { runExperiment } from "../../lib/lab/experiment.ts";
import { makeRecipe, type RecipeInput } from "../../lib/lab/recipe.ts";
import { saveFolder } from "../../lib/lab/save.ts";

/** A tiny LLaMA: width 64, inner width 160. */
export const TINY_MODEL = fileURLToPath(new URL("../../fixtures/golden/models/llama", import.meta.url));

/** What is quantized how; a symmetric grid has no zero point of 0, so that v1 can hold it. */
export const KINDS: Readonly<Record<string, RecipeInput & { readonly formats: readonly CheckpointFormat[] }>> = {
  "2 bits": { method: "rtn", bits: 2, options: { scaleBits: 16, symmetric: true }, formats: CHECKPOINT_FORMATS },
  "3 bits": { method: "rtn", bits: 3, options: { scaleBits: 16 }, formats: ["gptq-v2", "compressed-tensors"] },
  "3 bits, groups, act-order": {
    method: "optq",
    bits: 3,
    options: { scaleBits: 16, groupSize: 16, actOrder: true },
    formats: ["gptq-v2", "compressed-tensors"],
  },
  "4 bits, groups": { method: "rtn", bits: 4, options: { scaleBits: 16, groupSize: 32 }, formats: CHECKPOINT_FORMATS },
  "4 bits, symmetric, act-order": {
    method: "optq",
    bits: 4,
    options: { scaleBits: 16, groupSize: 32, actOrder: true, symmetric: true },
    formats: CHECKPOINT_FORMATS,
  },
  "8 bits, part of the model": {
    method: "rtn",
    bits: 8,
    layers: "mlp",
    options: { scaleBits: 16 },
    formats: CHECKPOINT_FORMATS,
  },
  "weak columns, groups, act-order": {
    method: "owq",
    bits: 3,
    rank: 3,
    options: { groupSize: 16, actOrder: true, scaleBits: 16 },
    formats: [],
  },
  "weak columns": { method: "owq", bits: 4.5, formats: [] },
  "weak columns, groups": { method: "owq", bits: 2, rank: 5, options: { groupSize: 16 }, formats: [] },
};

/** Quantizes the tiny model into `out`. */
export async function makePacked(out: string, kind: RecipeInput): Promise<void> {
  const stream = rng(3, "tokens"), text = join(out, "..", "tokens.safetensors");
  const data = Int32Array.from({ length: 4 * 40 }, () => stream.int(128));
  await writeSafetensors(text, [{ name: "input_ids", dtype: "I32", shape: [4, 40], data }]);
  const windows = { text, samples: 4, seqLen: 40 };
  const recipe = makeRecipe({ model: TINY_MODEL, calibration: windows, evaluation: windows, ...kind });
  await runExperiment(recipe, { out, device: "cpu", skipFloat: true });
}

/** Every kind, and every export of it: [folder, ordinary folder with the same weights in float32]. */
export async function makeEveryExport(folder: string): Promise<[string, string][]> {
  const pairs: [string, string][] = [];
  for (const [i, { formats, ...kind }] of Object.values(KINDS).entries()) {
    const packed = join(folder, `${i}-packed`), plain = join(folder, `${i}-plain`);
    await makePacked(packed, kind);
    await saveFolder(packed, plain);
    pairs.push([packed, plain]);
    for (const format of formats) {
      const out = join(folder, `${i}-${format}`);
      await exportCheckpoint(packed, { format, out });
      pairs.push([out, plain]);
    }
  }
  return pairs;
}
