// Models on disk: what a packed folder holds besides its blocks, and the ordinary folder that any tool loads.
import { join } from "node:path";
import { atomicWriteText, ensureWritableFolder } from "../io/atomic.ts";
import { DTYPES } from "../io/dtype.ts";
import type { ModelFiles } from "../io/open_model.ts";
import { type TensorToWrite, writeSafetensors } from "../io/safetensors_write.ts";
import type { TensorSource } from "../io/source.ts";
import { resolveModel } from "./open.ts";

/**
 * Writes what a packed model keeps as it is: `rest.safetensors` with every tensor but the quantized ones, config.json
 * and the tokenizer's files.
 *
 * @param folder the packed model's folder. @param files the model it was made from.
 * @param quantized names of the tensors that are stored packed elsewhere.
 * @throws LabError "storage" where the folder cannot be written.
 */
export async function writeRest(folder: string, files: ModelFiles, quantized: ReadonlySet<string>): Promise<void> {
  await ensureWritableFolder(folder);
  const names = [...files.source.tensors.keys()].filter((name) => !quantized.has(name));
  await writeSafetensors(join(folder, "rest.safetensors"), names.map((name) => asStored(files.source, name)));
  await writeCompanions(folder, files);
}

/**
 * Writes an ordinary Hugging Face folder with dequantized weights in float32, which transformers and others load.
 *
 * @param spec the model, such as a packed folder. @param folder where to.
 * @throws LabError as resolveModel and writeSafetensors.
 */
export async function saveFolder(spec: string, folder: string): Promise<void> {
  const files = await resolveModel(spec);
  try {
    await ensureWritableFolder(folder);
    const names = [...files.source.tensors.keys()];
    await writeSafetensors(join(folder, "model.safetensors"), names.map((n) => asStored(files.source, n)), {
      format: "pt",
    });
    await writeCompanions(folder, files);
  } finally {
    files.source.close();
  }
}

/** A tensor in its own type where safetensors has it, in float32 where it was quantized in its file. */
function asStored(source: TensorSource, name: string): TensorToWrite {
  const { dtype, shape } = source.tensors.get(name)!;
  return DTYPES.has(dtype)
    ? { name, dtype, shape, bytes: () => source.readBytes(name) }
    : { name, dtype: "F32", shape, data: async () => (await source.read(name)).data };
}

/** config.json, tokenizer.json and their like. */
async function writeCompanions(folder: string, files: ModelFiles): Promise<void> {
  for (const [name, text] of Object.entries(await files.companions())) await atomicWriteText(join(folder, name), text);
}
