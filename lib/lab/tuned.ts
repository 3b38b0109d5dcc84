// Tuned values apart from their base: one small safetensors file a task, so that one packed model serves many tasks. A tensor
// NAME of the model's own files (without ".weight") gives
//   wct   NAME.weak F16 (out, k) and NAME.weak_ids I32 (k)   the weak columns, whole: they take the place of the base's
//   lora  NAME.lora_a F16 (r, in) and NAME.lora_b F16 (out, r)   Ŵ + α/r · B·A
//   full  the tensor under its own name, F16
// and the metadata "tuned" says on which base, on what and how. The weak columns of the base itself are not part of what a
// wct file is bound to: a base with another task's columns merged in is the same base.
import { join } from "node:path";
import { createHash } from "node:crypto";
import { atomicWriteText, ensureWritableFolder } from "../io/atomic.ts";
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { ModelFiles } from "../io/open_model.ts";
import { openSafetensors, type SafetensorsFile } from "../io/safetensors.ts";
import { type TensorToWrite, writeSafetensors } from "../io/safetensors_write.ts";
import type { Floats, Tensor } from "../io/tensor.ts";
import type { TuneRecipe } from "../model/tune.ts";
import { differentBases } from "../model/tune_checkpoint.ts";
import type { Trainable, TuneLeaf } from "../model/tune_leaves.ts";
import { F16_MAX } from "../quant/f16.ts";
import { readPackedIndex } from "./open.ts";
import { PACKED_INDEX, type PackedEntry } from "./packed.ts";

/** The name and version of the format. */
export const TUNED_FORMAT = "owq-lab-tuned-1";

/** What a tuned file says of itself. */
export interface TunedInfo {
  readonly format: typeof TUNED_FORMAT;
  readonly method: "wct" | "lora" | "full";
  /** α of a LoRA; null otherwise. */
  readonly alpha: number | null;
  /** The base for people, and what its frozen part hashes to ({@link baseFingerprint}). */
  readonly base: string;
  readonly baseSha256: string;
  /** The text it was tuned on, for people. */
  readonly task: string;
  readonly recipe: TuneRecipe;
  readonly steps: number;
}

/** A tuned file, open. */
export interface Tuned {
  readonly path: string;
  readonly info: TunedInfo;
  /** Trained values stored. */
  readonly values: number;
  readonly file: SafetensorsFile;
  close(): void;
}

/**
 * SHA-256 of what stays as it is when a base is tuned. For "wct" that is every tensor of a packed folder but the weak
 * columns' values (codes, grids, ids, norms, embedding); otherwise all of them.
 *
 * @param files the base, packed or plain. @param method the way to tune.
 */
export async function baseFingerprint(files: ModelFiles, method: string): Promise<string> {
  if (method !== "wct" || !await isPacked(files)) return await files.source.sha256();
  const folder = files.folder!, { layers } = await readPackedIndex(folder), hash = createHash("sha256");
  const skipped = new Set(Object.entries(layers).flatMap(([tensor, e]) => weakTensor(tensor, e) ?? []));
  for (const name of ["rest.safetensors", ...new Set(Object.values(layers).map((e) => e.file))]) {
    const file = openSafetensors(join(folder, name));
    try {
      for (const [tensor, { dtype, shape }] of [...file.tensors].sort(([a], [b]) => a < b ? -1 : 1)) {
        if (skipped.has(tensor)) continue;
        hash.update(`${tensor} ${dtype} ${shape}\n`).update(await file.readBytes(tensor));
      }
    } finally {
      file.close();
    }
  }
  return hash.digest("hex");
}

async function isPacked(files: ModelFiles): Promise<boolean> {
  return files.folder !== null && await Deno.stat(join(files.folder, PACKED_INDEX)).then((s) => s.isFile, () => false);
}

/** The tensor that holds a packed linear's weak columns; null where it has none that could be replaced. */
function weakTensor(tensor: string, e: PackedEntry): string | null {
  if (!("stores" in e)) return `${tensor}.weak`;
  const last = e.stores.length - 1;
  return e.stores[last]?.kind === "columns" ? `${tensor}.${last}.values` : null;
}

/**
 * The weak columns of each linear of a packed model, by tensor name.
 *
 * @throws LabError "input" for a model that is not packed.
 */
export async function packedWeakIds(files: ModelFiles): Promise<Map<string, Int32Array>> {
  if (!await isPacked(files)) {
    const hint = "Quantize it first: owq quantize --method owq --bits 3 --rank 8 --out DIR, then --model DIR.";
    throw new LabError("input", files.label, "is no packed model, so it has no weak columns to tune", hint);
  }
  const { layers } = await readPackedIndex(files.folder!);
  return new Map(Object.entries(layers).map(([tensor, e]) => [tensor, Int32Array.from(e.weakIds)]));
}

/**
 * Writes tuned values, rounded to 16 bits as the packed format keeps weak columns.
 *
 * @throws LabError "numeric" for a value beyond 16 bits; "storage" as writeSafetensors.
 */
export async function saveTuned(
  path: string,
  t: Trainable,
  leaves: readonly TuneLeaf[],
  values: readonly Floats[],
  info: TunedInfo,
): Promise<void> {
  const tensors = leaves.flatMap(({ name, shape }, i): TensorToWrite[] => {
    const bad = values[i].findIndex((x) => !(Math.abs(x) < F16_MAX));
    if (bad >= 0) {
      throw new LabError(
        "numeric",
        name,
        `its tuned value ${values[i][bad]} does not fit 16 bits`,
        "Tune more gently.",
      );
    }
    const linear = name.replace(/\.side_(in|out)$/, ""), own = { dtype: "F16", shape, data: values[i] };
    if (t.method !== "wct") return [{ ...own, name: storedName(name) }];
    const ids = t.ids.get(linear)!;
    return [{ ...own, name: `${linear}.weak` }, {
      name: `${linear}.weak_ids`,
      dtype: "I32",
      shape: [ids.length],
      data: ids,
    }];
  });
  await writeSafetensors(path, tensors, { tuned: JSON.stringify(info) });
}

const storedName = (leaf: string) => leaf.replace(/\.side_in$/, ".lora_a").replace(/\.side_out$/, ".lora_b");

/**
 * Opens a tuned file for a base.
 *
 * @param path the file. @param files the base it shall be used with.
 * @throws LabError "format" where it is no tuned file or does not fit; "resume" where it was tuned on another base, with both.
 */
export async function openTuned(path: string, files: ModelFiles): Promise<Tuned> {
  const file = openSafetensors(path);
  try {
    const info = JSON.parse(file.metadata.get("tuned") ?? "null") as TunedInfo | null;
    if (info?.format !== TUNED_FORMAT) {
      throw new LabError("format", path, `is no file of tuned values (${TUNED_FORMAT})`);
    }
    const base = { base: files.label, baseSha256: await baseFingerprint(files, info.method) };
    if (info.baseSha256 !== base.baseSha256) {
      const hint = "Open it with the base it was tuned on, or tune again on this one.";
      throw new LabError("resume", path, differentBases(info, base), hint);
    }
    const floats = [...file.tensors.values()].filter((t) => t.dtype === "F16");
    const values = floats.reduce((sum, t) => sum + t.shape.reduce((a, b) => a * b, 1), 0);
    return { path, info, values, file, close: () => file.close() };
  } catch (e) {
    file.close();
    throw e;
  }
}

/**
 * The values of a tuned file as a model that is open for tuning takes them: the fastest way to change from task to task.
 *
 * @param leaves of the model, opened on the same base for the same way.
 * @throws LabError "format" where the file has not what a leaf needs.
 */
export async function tunedValues(tuned: Tuned, leaves: readonly TuneLeaf[]): Promise<Floats[]> {
  const { file, info } = tuned, values: Floats[] = [];
  for (const { name, shape } of leaves) {
    const stored = info.method === "wct" ? name.replace(/\.side_out$/, ".weak") : storedName(name);
    const { data, shape: is } = await file.read(stored);
    if (is.join() !== shape.join()) {
      throw new LabError("format", `${tuned.path}: ${stored}`, `shape [${is.join(", ")}], not [${shape.join(", ")}]`);
    }
    values.push(data);
  }
  return values;
}

/**
 * The base with a task's tuned values in place: a view, nothing is copied. Another task is another view of the same base.
 *
 * @param files the base, open. @param tuned a file opened for it.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { withTuned } from "./tuned.ts";
 * assert.equal(typeof withTuned, "function"); // openLanguageModel(withTuned(files, await openTuned("task.safetensors", files)))
 * ```
 */
export function withTuned(files: ModelFiles, tuned: Tuned): ModelFiles {
  const { info, file } = tuned, { source } = files;
  const read = async (name: string): Promise<Tensor> => {
    const linear = name.replace(/\.weight$/, "");
    if (info.method === "full") return file.tensors.has(name) ? await file.read(name) : await source.read(name);
    const w = await source.read(name);
    if (info.method === "wct") {
      if (!file.tensors.has(`${linear}.weak`)) return w;
      const data = w.data.slice(), { data: weak } = await file.read(`${linear}.weak`), [rows, width] = w.shape;
      const ids = file.readInts(`${linear}.weak_ids`).data, k = ids.length;
      for (let r = 0; r < rows; r++) for (let i = 0; i < k; i++) data[r * width + ids[i]] = weak[r * k + i];
      return { data, shape: w.shape };
    }
    if (!file.tensors.has(`${linear}.lora_a`)) return w;
    const a = await file.read(`${linear}.lora_a`), b = await file.read(`${linear}.lora_b`);
    return { data: addProduct(w, b, a, info.alpha! / a.shape[0]), shape: w.shape };
  };
  return {
    ...files,
    label: `${files.label} tuned on ${info.task}`,
    note: [files.note, `${info.method} on ${info.task}, ${info.steps} steps`].filter(Boolean).join("; "),
    source: {
      label: source.label,
      tensors: source.tensors,
      read,
      readBytes: async (name) => new Uint8Array((await read(name)).data.buffer),
      sha256: async () => sha256Hex(`${await source.sha256()} ${await file.sha256()}`),
      close: () => source.close(),
    },
  };
}

/** W + scale · B·A. */
function addProduct(w: Tensor, b: Tensor, a: Tensor, scale: number): Floats {
  const [rows, width] = w.shape, rank = a.shape[0], data = w.data.slice(), sum = new Float64Array(width);
  for (let r = 0; r < rows; r++) {
    sum.fill(0);
    for (let i = 0; i < rank; i++) {
      const x = scale * b.data[r * rank + i];
      for (let j = 0; j < width; j++) sum[j] += x * a.data[i * width + j];
    }
    for (let j = 0; j < width; j++) data[r * width + j] += sum[j];
  }
  return data;
}

/**
 * Writes a packed model with a task's tuned columns in the place of the base's; codes, grids and everything else are copied
 * byte by byte.
 *
 * @param files the packed base. @param tuned a wct file opened for it. @param out the new folder.
 * @throws LabError "input" where the values are no weak columns or have no place in the folder; "storage".
 */
export async function mergeTuned(files: ModelFiles, tuned: Tuned, out: string): Promise<void> {
  const { info, file, path } = tuned, folder = files.folder;
  if (info.method !== "wct") {
    const hint = "Keep it beside the base, or train weak columns: --method wct.";
    throw new LabError("input", path, `holds ${info.method} values, which have no place in packed codes`, hint);
  }
  if (folder === null || !await isPacked(files)) throw new LabError("input", files.label, "is no packed model");
  if (await Deno.stat(join(out, PACKED_INDEX)).catch(() => null)) {
    throw new LabError("storage", out, "holds a packed model already", "Choose another folder.");
  }
  const index = await readPackedIndex(folder), places = new Map<string, string>();
  for (const [tensor, e] of Object.entries(index.layers)) {
    if (!file.tensors.has(`${tensor}.weak`)) continue;
    const place = weakTensor(tensor, e);
    if (place === null) throw new LabError("input", tensor, "keeps no weak columns that could be replaced");
    places.set(place, `${tensor}.weak`);
  }
  await ensureWritableFolder(join(out, "blocks"));
  for (const name of ["rest.safetensors", ...new Set(Object.values(index.layers).map((e) => e.file))]) {
    const from = openSafetensors(join(folder, name));
    try {
      const tensors = [...from.tensors.values()].map(({ name, dtype, shape }): TensorToWrite => {
        const place = places.get(name);
        if (place === undefined) return { name, dtype, shape, bytes: () => from.readBytes(name) };
        return { name, dtype, shape, data: async () => (await file.read(place)).data };
      });
      await writeSafetensors(join(out, name), tensors, Object.fromEntries(from.metadata));
    } finally {
      from.close();
    }
  }
  for (const [name, text] of Object.entries(await files.companions())) await atomicWriteText(join(out, name), text);
  const note = [index.note, `weak columns tuned on ${info.task}, ${info.steps} steps`].filter(Boolean).join("; ");
  await atomicWriteText(join(out, PACKED_INDEX), JSON.stringify({ ...index, note, tuned: info }, null, 1) + "\n");
}
