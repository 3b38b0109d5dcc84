// A folder as `save_pretrained` leaves it: config.json, weights, tokenizer.
import { basename, join } from "node:path";
import { atomicWriteText, ensureWritableFolder, storageError } from "./atomic.ts";
import { LabError } from "./errors.ts";
import { decodeUtf8 } from "./rows.ts";
import { openShardedSafetensors } from "./safetensors_index.ts";
import type { TensorSource } from "./source.ts";
import { fromTokenizerJson, type TextTokenizer } from "./text_tokenizer.ts";

/** Text files that belong to a model besides its weights; any may be missing but the first. */
export const COMPANIONS = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
] as const;

/** Names a folder that the lab packed itself (lib/lab/packed.ts). */
const PACKED_MARK = "owq_lab.json";

/** Where older GPTQ checkpoints keep what newer ones say in config.json under quantization_config. */
export const QUANTIZE_CONFIG = "quantize_config.json";

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

/** A JSON file of an object; null where there is no such file. */
async function readObject(path: string): Promise<Record<string, unknown> | null> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return null;
    throw storageError(path, "cannot read", cause);
  }
  let json: unknown;
  try {
    json = JSON.parse(decodeUtf8(path, bytes));
  } catch (cause) {
    if (cause instanceof LabError) throw cause;
    throw new LabError("format", path, `is not JSON (${cause instanceof Error ? cause.message : cause})`, "", {
      cause,
    });
  }
  if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new LabError("format", path, "is not a JSON object");
}

/**
 * config.json of a folder. What quantize_config.json of an older GPTQ checkpoint says is put where newer ones have it:
 * under quantization_config.
 *
 * @param o.quantized the caller reads quantized weights (lib/lab/checkpoint_read.ts); otherwise they are refused.
 * @throws LabError "storage" where there is none, "format" where it is not a JSON object, "input" where the weights are
 *   quantized and the caller reads only plain ones.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readConfig } from "./model_folder.ts";
 * await assert.rejects(readConfig("no/such/folder"), /no\/such\/folder: has no config\.json/);
 * ```
 */
export async function readConfig(
  folder: string,
  o: { readonly quantized?: boolean } = {},
): Promise<Record<string, unknown>> {
  const config = await readObject(join(folder, "config.json"));
  if (!config) {
    throw new LabError("storage", folder, "has no config.json", "A model's folder holds config.json and its weights.");
  }
  if (!config.quantization_config) {
    const older = await readObject(join(folder, QUANTIZE_CONFIG));
    if (older) config.quantization_config = { quant_method: "gptq", ...older };
  }
  const quantized = config.quantization_config as { quant_method?: unknown } | undefined;
  if (quantized && !o.quantized) {
    const problem = `its weights are already quantized (${quantized.quant_method ?? "quantization_config"})`;
    throw new LabError("input", folder, problem, "Give the model it was made from.");
  }
  return config;
}

/**
 * The weights of a folder: model.safetensors, or the shards of its index.
 *
 * @throws LabError "storage" where there are none, "format" where they break the format's rules.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { folderWeights } from "./model_folder.ts";
 * await assert.rejects(folderWeights("no/such/folder"), /no\/such\/folder: has no model\.safetensors/);
 * ```
 */
export async function folderWeights(folder: string): Promise<TensorSource> {
  const has = (name: string) => exists(join(folder, name));
  if (await has("model.safetensors") || await has("model.safetensors.index.json")) {
    return openShardedSafetensors(folder);
  }
  if (await has(PACKED_MARK)) return packedElsewhere(folder);
  const old = await has("pytorch_model.bin") || await has("pytorch_model.bin.index.json");
  const hint = old
    ? "Its pytorch_model.bin is a pickle, which the lab does not open: convert it (transformers' save_pretrained)."
    : "A model's folder holds its weights as safetensors.";
  throw new LabError("storage", folder, "has no model.safetensors", hint);
}

/** A packed folder's weights are read by lib/lab/open.ts, which needs only the rest of the folder from here. */
function packedElsewhere(folder: string): TensorSource {
  const refuse = () =>
    Promise.reject(new LabError("input", folder, "holds packed weights", "Open it with resolveModel."));
  return { label: basename(folder), tensors: new Map(), read: refuse, readBytes: refuse, sha256: refuse, close() {} };
}

/**
 * The tokenizer of a folder; null where it has no tokenizer.json.
 *
 * @throws LabError "format" where its files are damaged.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { folderTokenizer } from "./model_folder.ts";
 * assert.equal(await folderTokenizer("no/such/folder"), null);
 * ```
 */
export async function folderTokenizer(folder: string): Promise<TextTokenizer | null> {
  const path = join(folder, "tokenizer.json"), json = await readObject(path);
  return json && fromTokenizerJson(json, await readObject(join(folder, "tokenizer_config.json")) ?? {}, path);
}

/**
 * The folder's text files that belong beside saved weights, by name.
 *
 * @throws LabError "storage" where one cannot be read, "format" where one is not UTF-8.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { companionTexts } from "./model_folder.ts";
 * assert.deepEqual(await companionTexts("no/such/folder"), {});
 * ```
 */
export async function companionTexts(folder: string): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const name of COMPANIONS) {
    const path = join(folder, name);
    try {
      texts[name] = decodeUtf8(path, await Deno.readFile(path));
    } catch (cause) {
      if (!(cause instanceof Deno.errors.NotFound)) throw storageError(path, "cannot read", cause);
    }
  }
  return texts;
}

/**
 * Copies config.json and the tokenizer's files of `folder` into `dest`, each whole or not at all.
 *
 * @returns the names of the files that were there to copy.
 * @throws LabError "storage" where `dest` cannot be written.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { copyModelFiles } from "./model_folder.ts";
 * const dest = await Deno.makeTempDir();
 * assert.deepEqual(await copyModelFiles("no/such/folder", dest), []);
 * await Deno.remove(dest);
 * ```
 */
export async function copyModelFiles(folder: string, dest: string): Promise<string[]> {
  const texts = await companionTexts(folder);
  await ensureWritableFolder(dest);
  for (const [name, text] of Object.entries(texts)) await atomicWriteText(join(dest, name), text);
  return Object.keys(texts);
}
