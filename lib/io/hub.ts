// One file of a repository on the Hugging Face hub, in the cache that Python's huggingface_hub uses. The npm client gives us the
// hub's address and the names of folders; the download is ours because that client neither checks hashes nor resumes.
//
//   hub/models--org--name/refs/main               the commit that "main" meant last time
//   hub/models--org--name/snapshots/COMMIT/FILE   a link to
//   hub/models--org--name/blobs/ETAG              the bytes (ETAG: SHA-256 for large files, git's SHA-1 for small ones)
//   hub/models--org--name/blobs/ETAG.incomplete   the part that has come so far
//   hub/models--org--name/.no_exist/COMMIT/FILE   the hub said there is none
//   hub/.locks/models--org--name/ETAG.lock        held while one process downloads
import { dirname, join, relative } from "node:path";
import { getRepoFolderName, HUB_URL, REGEX_COMMIT_HASH } from "@huggingface/hub";
import { atomicWriteText, ensureWritableFolder, storageError } from "./atomic.ts";
import { hubCache } from "./cache.ts";
import { LabError } from "./errors.ts";
import {
  describe,
  type Fetch,
  fetchHead,
  fetchInto,
  type HubAccess,
  type HubFile,
  HubUnreachable,
  type RemoteFile,
} from "./hub_transfer.ts";
import type { OnProgress } from "./progress.ts";

export type { HubFile };

/** How to reach the hub; every field has a default. */
export interface HubOptions {
  readonly onProgress?: OnProgress | undefined;
  /** Use the cache or fail. Also set by HF_HUB_OFFLINE=1. */
  readonly offline?: boolean | undefined;
  readonly cacheDir?: string | undefined;
  /** HF_ENDPOINT, else the public hub. */
  readonly endpoint?: string | undefined;
  /** HF_TOKEN; sent to the endpoint's own origin only. */
  readonly token?: string | undefined;
  /** Times a broken connection is taken up again without a byte of progress (5). */
  readonly attempts?: number | undefined;
  /** Milliseconds without a byte after which a connection counts as broken (30,000). */
  readonly stallMs?: number | undefined;
  /** Milliseconds before the first new attempt; doubles with each (500). */
  readonly pauseMs?: number | undefined;
  readonly fetch?: Fetch | undefined;
}

/**
 * The path of a hub file in the cache, downloaded where it is not there yet.
 *
 * A commit that is cached is used without a request; a branch is asked for its commit first. Bytes arrive in `.incomplete`, resume by
 * HTTP Range after a broken connection (also one of an earlier run), and get their final name only once size and hash are right.
 *
 * @returns the path inside `snapshots/COMMIT`, so that files of one revision lie together.
 * @throws LabError "network" when offline and not cached, when there is no such repository, revision or file, when access is refused,
 *   or when the connection keeps breaking (what has come is kept); "format" when the hash differs; "storage".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { hubFile } from "./hub.ts";
 * const cacheDir = await Deno.makeTempDir();
 * const file = { repo: { type: "model", name: "org/name" }, path: "config.json" } as const;
 * await assert.rejects(hubFile(file, { cacheDir, offline: true }), /config.json: is not in the cache/);
 * await Deno.remove(cacheDir, { recursive: true });
 * ```
 */
export async function hubFile(file: HubFile, o: HubOptions = {}): Promise<string> {
  const path = await hubFileIfAny(file, o);
  if (path !== null) return path;
  throw new LabError("network", describe(file), "the hub has no such file", "Look at the repository's list of files.");
}

/**
 * As {@link hubFile}, but null where the repository exists and the file does not.
 *
 * @throws LabError as hubFile does for everything else.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { hubFileIfAny } from "./hub.ts";
 * const file = { repo: { type: "model", name: "org/name" }, path: "../../escape" } as const;
 * await assert.rejects(hubFileIfAny(file), /leaves the repository/);
 * ```
 */
export async function hubFileIfAny(file: HubFile, o: HubOptions = {}): Promise<string | null> {
  checkNames(file);
  const revision = file.revision ?? "main", cacheDir = o.cacheDir ?? hubCache();
  const folder = join(cacheDir, getRepoFolderName(file.repo)), pinned = REGEX_COMMIT_HASH.test(revision);
  if (pinned) {
    const cached = await lookUp(folder, revision, file.path);
    if (cached !== undefined) return cached;
  }
  if (o.offline || /^(1|true|yes|on)$/i.test(Deno.env.get("HF_HUB_OFFLINE") ?? "")) {
    return await fromCacheAlone(folder, revision, file);
  }
  const access: HubAccess = {
    endpoint: (o.endpoint ?? Deno.env.get("HF_ENDPOINT")?.trim() ?? "").replace(/\/+$/, "") || HUB_URL,
    token: o.token ?? (Deno.env.get("HF_TOKEN")?.trim() || undefined),
    attempts: o.attempts ?? 5,
    stallMs: o.stallMs ?? 30_000,
    pauseMs: o.pauseMs ?? 500,
    fetch: o.fetch ?? fetch,
    onProgress: o.onProgress,
  };
  let remote: RemoteFile | { missing: string };
  try {
    remote = await fetchHead(file, revision, access);
  } catch (error) {
    // The hub is out of reach: what the revision meant last time is better than nothing, and Python does the same.
    if (!(error instanceof HubUnreachable)) throw error;
    const cached = await fromCacheAlone(folder, revision, file).catch(() => undefined);
    if (cached === undefined) throw error;
    return cached;
  }
  const commit = "missing" in remote ? remote.missing : remote.commit;
  if (!pinned && commit) await writeIfNew(join(folder, "refs", ...revision.split("/")), commit);
  if ("missing" in remote) {
    if (commit) await writeIfNew(join(folder, ".no_exist", commit, ...file.path.split("/")), "");
    return null;
  }
  return await lookUp(folder, commit, file.path) ?? await download(file, remote, cacheDir, folder, access);
}

async function download(
  file: HubFile,
  remote: RemoteFile,
  cacheDir: string,
  folder: string,
  access: HubAccess,
): Promise<string> {
  const blob = join(folder, "blobs", remote.etag), pointer = pointerOf(folder, remote.commit, file.path);
  const locks = join(cacheDir, ".locks", getRepoFolderName(file.repo));
  for (const needed of [dirname(blob), dirname(pointer), locks]) await ensureWritableFolder(needed);
  const lock = await Deno.open(join(locks, `${remote.etag}.lock`), { create: true, write: true }).catch((cause) => {
    throw storageError(locks, "cannot write", cause);
  });
  try {
    await lock.lock(true); // another process may be fetching the same file: wait, then find it done
    if (!await exists(blob)) await fetchInto(blob, file, remote, access);
    await link(blob, pointer);
  } finally {
    lock.close();
  }
  return pointer;
}

/** Path when cached, null when known to be absent, undefined when unknown. */
async function lookUp(folder: string, commit: string, path: string): Promise<string | null | undefined> {
  const pointer = pointerOf(folder, commit, path);
  if (await exists(pointer)) return pointer;
  return await exists(join(folder, ".no_exist", commit, ...path.split("/"))) ? null : undefined;
}

async function fromCacheAlone(folder: string, revision: string, file: HubFile): Promise<string | null> {
  const pinned = REGEX_COMMIT_HASH.test(revision);
  const ref = pinned ? revision : await Deno.readTextFile(join(folder, "refs", ...revision.split("/"))).catch(() => "");
  const commit = ref.trim();
  if (REGEX_COMMIT_HASH.test(commit)) {
    const cached = await lookUp(folder, commit, file.path);
    if (cached !== undefined) return cached;
  }
  const hint = `Run once with the network (and without HF_HUB_OFFLINE). Looked in ${folder}.`;
  throw new LabError("network", describe(file), "is not in the cache and the network is not to be used", hint);
}

function pointerOf(folder: string, commit: string, path: string): string {
  return join(folder, "snapshots", commit, ...path.split("/"));
}

/** Follows links, so that a link to a blob that was cleaned away counts as absent. */
async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function writeIfNew(path: string, text: string): Promise<void> {
  if (await Deno.readTextFile(path).catch(() => null) === text) return;
  await ensureWritableFolder(dirname(path));
  await atomicWriteText(path, text);
}

/** A relative link as Python makes it; where links are not allowed (Windows without rights) the blob itself moves there. */
async function link(blob: string, pointer: string): Promise<void> {
  await Deno.remove(pointer).catch(() => {}); // a dangling link
  try {
    await Deno.symlink(relative(dirname(pointer), blob), pointer);
  } catch {
    await Deno.rename(blob, pointer).catch((cause) => {
      throw storageError(pointer, "cannot write", cause);
    });
  }
}

/** Names become parts of paths: nothing may climb out of the cache. */
function checkNames(file: HubFile): void {
  const bad = (text: string) => text.split("/").some((part) => part === "" || part === "." || part === "..");
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(file.repo.name) || file.repo.name.includes("..")) {
    throw new LabError("input", file.repo.name, "is not a hub id", `A hub id is "owner/name".`);
  }
  for (const text of [file.path, file.revision ?? "main"]) {
    if (bad(text) || /[\\:\p{Cc}]/u.test(text)) {
      throw new LabError("input", describe(file), `"${text}" leaves the repository or is not a name`);
    }
  }
}
