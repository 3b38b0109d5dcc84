// A folder of weights as Hugging Face lays it out: model.safetensors, or shards named by model.safetensors.index.json.
import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { storageError } from "./atomic.ts";
import { LabError } from "./errors.ts";
import { JsonProblem, parseStrictJson, type StrictJson } from "./json.ts";
import { missingTensor, openSafetensors, type SafetensorsFile } from "./safetensors.ts";
import type { TensorInfo } from "./source.ts";

const INDEX = "model.safetensors.index.json", SINGLE = "model.safetensors";
const MAX_INDEX = 100_000_000; // bytes; the largest real one known has 60 MB
const MAX_SHARDS = 10_000;

/**
 * Opens the weights of a folder: the index and its shards where there is one, else the single file.
 * Every tensor of the index must lie in the shard that the index names and in no other.
 *
 * @param folder as a hub repository or `save_pretrained` leaves it.
 * @throws LabError("format") for an index that is not strict JSON, a shard name that leaves the folder, a tensor that is
 *   missing, twice there or unlisted; LabError("storage") for a shard that is missing.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openShardedSafetensors } from "./safetensors_index.ts";
 * import { writeSafetensors } from "./safetensors_write.ts";
 * const folder = await Deno.makeTempDir();
 * await writeSafetensors(`${folder}/a.safetensors`, [{ name: "x", dtype: "F32", shape: [1], data: [1] }]);
 * await writeSafetensors(`${folder}/b.safetensors`, [{ name: "y", dtype: "F32", shape: [1], data: [2] }]);
 * const index = { metadata: { total_size: 8 }, weight_map: { x: "a.safetensors", y: "b.safetensors" } };
 * await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, JSON.stringify(index));
 * const model = openShardedSafetensors(folder);
 * assert.deepEqual((await model.read("y")).data, Float32Array.of(2));
 * model.close();
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export function openShardedSafetensors(folder: string): SafetensorsFile {
  const path = join(folder, INDEX);
  let size: number;
  try {
    size = Deno.statSync(path).size;
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw storageError(path, "cannot read", cause);
    return openSingle(folder);
  }
  const label = basename(folder);
  if (size > MAX_INDEX) throw new LabError("format", path, `is ${size} bytes long, more than the ${MAX_INDEX} allowed`);
  const shardOf = parseIndex(path);
  const shards = new Map<string, SafetensorsFile>();
  const close = () => shards.forEach((shard) => shard.close());
  try {
    for (const name of [...new Set(shardOf.values())].sort()) shards.set(name, openSafetensors(join(folder, name)));
    const tensors = allTensors(label, shardOf, shards);
    return combine(label, tensors, shardOf, shards, close);
  } catch (error) {
    close();
    throw error;
  }
}

function openSingle(folder: string): SafetensorsFile {
  const path = join(folder, SINGLE);
  try {
    Deno.statSync(path);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw storageError(path, "cannot read", cause);
    throw new LabError(
      "storage",
      folder,
      `holds neither ${SINGLE} nor ${INDEX}`,
      "Name a folder of a Hugging Face model whose weights are stored as safetensors.",
      { cause },
    );
  }
  return openSafetensors(path);
}

function parseIndex(path: string): Map<string, string> {
  const fail = (problem: string, cause?: unknown): never => {
    throw new LabError("format", path, problem, "Fetch the index again.", cause === undefined ? undefined : { cause });
  };
  let json: StrictJson = null;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Deno.readFileSync(path));
    json = parseStrictJson(text);
  } catch (cause) {
    if (cause instanceof JsonProblem) fail(`is not strict JSON: ${cause.message}`, cause);
    if (cause instanceof TypeError) fail("is not UTF-8", cause);
    throw storageError(path, "cannot read", cause);
  }
  const map = json instanceof Map ? json.get("weight_map") : undefined;
  if (!(map instanceof Map)) return fail("has no weight_map object");
  const shardOf = new Map<string, string>();
  for (const [name, shard] of map) {
    if (typeof shard !== "string") return fail(`the shard of ${JSON.stringify(name)} is not a string`);
    const problem = shardNameProblem(shard);
    if (problem) return fail(`the shard name ${JSON.stringify(shard)} ${problem}`);
    shardOf.set(name, shard);
  }
  if (shardOf.size === 0) fail("names no tensor");
  const count = new Set(shardOf.values()).size;
  if (count > MAX_SHARDS) fail(`names ${count} shards, more than the ${MAX_SHARDS} allowed`);
  return shardOf;
}

/** Why a shard's name may not be joined to the folder; null where it may: a plain file name, nothing that could lead elsewhere. */
function shardNameProblem(name: string): string | null {
  if (name === "") return "is empty";
  if (name.includes("\0")) return "holds a NUL";
  if (name.includes("\\")) return "holds a backslash";
  if (name.includes("://")) return "is an address";
  if (name.startsWith("/") || /^[A-Za-z]:/.test(name)) return "is an absolute path";
  if (name.split("/").some((part) => part === "..")) return "leaves the folder";
  if (!name.endsWith(".safetensors")) return "does not end in .safetensors";
  return null;
}

/** All tensors by name, each held to lie in its shard and nowhere else. */
function allTensors(
  label: string,
  shardOf: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  for (const [file, shard] of shards) {
    for (const [name, info] of shard.tensors) {
      const expected = shardOf.get(name);
      const problem = expected === undefined
        ? `shard ${file} holds tensor "${name}", which the index does not list`
        : tensors.has(name) || expected !== file
        ? `tensor "${name}" lies in shard ${file}, the index says ${expected}`
        : null;
      if (problem) throw new LabError("format", label, problem, "Fetch the folder again, all files of one revision.");
      tensors.set(name, info);
    }
  }
  for (const [name, file] of shardOf) {
    if (tensors.has(name)) continue;
    throw new LabError(
      "format",
      label,
      `shard ${file} lacks tensor "${name}", which the index lists there`,
      "Fetch the folder again, all files of one revision.",
    );
  }
  return tensors;
}

function combine(
  label: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  shardOf: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
  close: () => void,
): SafetensorsFile {
  const shard = (name: string): SafetensorsFile => {
    const file = shardOf.get(name);
    if (file === undefined) throw missingTensor(label, name, tensors.keys());
    return shards.get(file)!;
  };
  let sum: Promise<string> | undefined;
  const hashAll = async () => {
    const hash = createHash("sha256");
    for (const [name, file] of shards) hash.update(`${name} ${await file.sha256()}\n`);
    return hash.digest("hex");
  };
  return {
    label,
    tensors,
    metadata: new Map([...shards.values()].flatMap((file) => [...file.metadata])),
    // async, so that a missing name rejects the promise instead of throwing
    read: async (name) => await shard(name).read(name),
    readBytes: async (name) => await shard(name).readBytes(name),
    readInts: (name) => shard(name).readInts(name),
    sha256: () => sum ??= hashAll(),
    close,
  };
}
