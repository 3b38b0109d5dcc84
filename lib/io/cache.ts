// Where downloads go. Hub files lie where Python's huggingface_hub keeps them, so both tools share one copy; the rest has a folder
// of its own under the user's cache. Never inside the repository: a clone stays as small as it was.
import { homedir } from "node:os";
import { join } from "node:path";

/** Reads one environment variable; undefined where it is unset. A blank value counts as unset. */
export type Environment = (name: string) => string | undefined;

const deno: Environment = (name) => Deno.env.get(name);

function read(env: Environment, name: string): string | undefined {
  const value = env(name)?.trim();
  return value ? value : undefined;
}

/** The user's cache folder: XDG_CACHE_HOME, or what the system uses. */
function userCache(env: Environment): string {
  const xdg = read(env, "XDG_CACHE_HOME");
  if (xdg) return xdg;
  const home = read(env, "HOME") ?? homedir();
  if (Deno.build.os === "windows") return read(env, "LOCALAPPDATA") ?? join(home, "AppData", "Local");
  return Deno.build.os === "darwin" ? join(home, "Library", "Caches") : join(home, ".cache");
}

/**
 * The lab's own cache folder (models taken from wheels): OWQ_LAB_CACHE, else `owq-lab` in the user's cache. It need not exist.
 *
 * @param env where variables come from; the process's own by default.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { labCache } from "./cache.ts";
 * assert.equal(labCache((name) => name === "OWQ_LAB_CACHE" ? "/data/lab" : undefined), "/data/lab");
 * ```
 */
export function labCache(env: Environment = deno): string {
  return read(env, "OWQ_LAB_CACHE") ?? join(userCache(env), "owq-lab");
}

/**
 * The folder of hub files, laid out as Python's huggingface_hub does: HF_HUB_CACHE, else HF_HOME/hub, else `hub` in OWQ_LAB_CACHE,
 * else ~/.cache/huggingface/hub (or XDG_CACHE_HOME/huggingface/hub) on every system, as Python has it.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { hubCache } from "./cache.ts";
 * assert.match(hubCache((name) => name === "HF_HOME" ? "/data/hf" : undefined), /^.data.hf.hub$/);
 * ```
 */
export function hubCache(env: Environment = deno): string {
  const direct = read(env, "HF_HUB_CACHE") ?? read(env, "HUGGINGFACE_HUB_CACHE");
  if (direct) return direct;
  const home = read(env, "HF_HOME");
  if (home) return join(home, "hub");
  const lab = read(env, "OWQ_LAB_CACHE");
  if (lab) return join(lab, "hub");
  return join(read(env, "XDG_CACHE_HOME") ?? join(read(env, "HOME") ?? homedir(), ".cache"), "huggingface", "hub");
}
