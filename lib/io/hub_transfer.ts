// The wire side of lib/io/hub.ts: what the hub says about a file, and its bytes, across redirects, broken connections and restarts.
import { createHash, type Hash } from "node:crypto";
import { storageError, writeAll } from "./atomic.ts";
import { LabError } from "./errors.ts";
import type { OnProgress } from "./progress.ts";

/** A file of a repository. */
export interface HubFile {
  readonly repo: { readonly type: "model" | "dataset"; readonly name: string };
  /** A branch, a tag, `refs/…`, or a commit of 40 hexadecimal digits; "main" where it is left out. */
  readonly revision?: string | undefined;
  readonly path: string;
}

/** No answer, time and again: the network is down or the server is. */
export class HubUnreachable extends LabError {}

/** The part of `fetch` that is used here. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** {@link HubOptions} with every default filled in. */
export interface HubAccess {
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly attempts: number;
  readonly stallMs: number;
  readonly pauseMs: number;
  readonly fetch: Fetch;
  readonly onProgress: OnProgress | undefined;
}

/** What the hub says about a file. */
export interface RemoteFile {
  readonly url: string;
  readonly commit: string;
  /** SHA-256 (64 digits), git's blob SHA-1 (40 digits), or another server's own mark. */
  readonly etag: string;
  readonly size: number | null;
}

/**
 * A file's name for messages.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { describe } from "./hub_transfer.ts";
 * const repo = { type: "model", name: "org/name" } as const;
 * assert.equal(describe({ repo, revision: "v1", path: "config.json" }), "org/name@v1: config.json");
 * ```
 */
export function describe(file: HubFile): string {
  return `${file.repo.name}${file.revision && file.revision !== "main" ? `@${file.revision}` : ""}: ${file.path}`;
}

const REDIRECTS = [301, 302, 303, 307, 308], MAX_REDIRECTS = 10;

/** Statuses after which the same request may work a moment later. */
function passing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/** One request under a watchdog; `touch` puts the moment off at which the connection counts as stalled. */
async function request(
  url: string,
  headers: Record<string, string>,
  method: string,
  access: HubAccess,
): Promise<{ response: Response; touch: () => void; done: () => void }> {
  const abort = new AbortController();
  const stalled = () => abort.abort(new Error(`no byte for ${access.stallMs / 1000} s`));
  let timer = setTimeout(stalled, access.stallMs);
  const touch = () => {
    clearTimeout(timer);
    timer = setTimeout(stalled, access.stallMs);
  };
  const own = new URL(url).origin === new URL(access.endpoint).origin; // the token is for the hub, not for whom it sends us to
  const all = { ...headers, "Accept-Encoding": "identity", "User-Agent": "owq-lab" };
  try {
    const response = await access.fetch(url, {
      method,
      redirect: "manual",
      signal: abort.signal,
      headers: own && access.token ? { ...all, Authorization: `Bearer ${access.token}` } : all,
    });
    return { response, touch, done: () => clearTimeout(timer) };
  } catch (cause) {
    clearTimeout(timer);
    throw cause;
  }
}

/** Runs `body` until it succeeds, throws a LabError, or has failed `attempts` times in a row without progress. */
async function withRetries<T>(
  file: HubFile,
  access: HubAccess,
  body: (reached: (bytes: number) => void) => Promise<T>,
): Promise<T> {
  let farthest = 0; // a server that starts over again and again makes no progress
  for (let failures = 0, pause = access.pauseMs;;) {
    try {
      return await body((bytes) => {
        if (bytes <= farthest) return;
        farthest = bytes;
        failures = 0;
        pause = access.pauseMs;
      });
    } catch (cause) {
      if (cause instanceof LabError) throw cause;
      if (++failures >= access.attempts) {
        const reason = [cause, (cause as Error).cause].filter((e) => e instanceof Error).map((e) => e.message).join(
          ": ",
        );
        const hint = "Check the connection (HF_ENDPOINT names a mirror) and run again: what has come is kept.";
        const problem = `cannot be reached at ${access.endpoint} (${reason}; ${failures} attempts)`;
        throw new HubUnreachable("network", describe(file), problem, hint, { cause });
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause *= 2;
    }
  }
}

/**
 * Asks the hub for the commit, hash and size of a file.
 *
 * @returns `missing` (the commit, or "") where the repository and revision exist and the file does not.
 * @throws LabError "network" for every other refusal and when the hub cannot be reached.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fetchHead } from "./hub_transfer.ts";
 * const headers = { "x-repo-commit": "0".repeat(40), etag: '"abc"', "content-length": "2" };
 * const fetch = () => Promise.resolve(new Response(null, { headers }));
 * const access = { endpoint: "http://hub", token: undefined, attempts: 1, stallMs: 1000, pauseMs: 1, onProgress: undefined };
 * const remote = await fetchHead({ repo: { type: "model", name: "org/name" }, path: "a" }, "main", { ...access, fetch });
 * assert.deepEqual(remote, { url: "http://hub/org/name/resolve/main/a", commit: "0".repeat(40), etag: "abc", size: 2 });
 * ```
 */
export function fetchHead(
  file: HubFile,
  revision: string,
  access: HubAccess,
): Promise<RemoteFile | { missing: string }> {
  const kind = file.repo.type === "model" ? "" : `${file.repo.type}s/`;
  const path = file.path.split("/").map(encodeURIComponent).join("/");
  const start = `${access.endpoint}/${kind}${file.repo.name}/resolve/${encodeURIComponent(revision)}/${path}`;
  return withRetries(file, access, async () => {
    let url = start;
    for (let hop = 0; hop < MAX_REDIRECTS; hop++) {
      const { response, done } = await request(url, {}, "HEAD", access);
      done();
      await response.body?.cancel();
      const { status, headers } = response;
      const location = headers.get("location");
      if (REDIRECTS.includes(status) && location && !headers.has("x-linked-etag")) {
        const next = new URL(location, url);
        if (next.origin === new URL(url).origin) { // the repository was renamed; elsewhere lie only bytes
          url = next.href;
          continue;
        }
      }
      if (status === 404 && headers.get("x-error-code") === "EntryNotFound") {
        return { missing: headers.get("x-repo-commit") ?? "" };
      }
      if (passing(status)) throw new Error(`HTTP ${status}`);
      if (status >= 400) throw refusal(file, revision, response, access);
      const etag = headers.get("x-linked-etag") ?? headers.get("etag"), commit = headers.get("x-repo-commit");
      const mark = etag?.replace(/^W\//, "").replaceAll('"', "") ?? "";
      if (!/^[\w.-]{1,200}$/.test(mark) || !/^[0-9a-f]{40}$/.test(commit ?? "")) {
        const problem = `${access.endpoint} does not answer like a Hugging Face hub (no commit or no ETag)`;
        throw new LabError("network", describe(file), problem, "Check HF_ENDPOINT.");
      }
      const length = headers.get("x-linked-size") ??
        (REDIRECTS.includes(status) ? null : headers.get("content-length"));
      return { url, commit: commit!, etag: mark, size: length && /^\d+$/.test(length) ? Number(length) : null };
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects`);
  });
}

function refusal(file: HubFile, revision: string, response: Response, access: HubAccess): LabError {
  const code = response.headers.get("x-error-code"), { status } = response;
  const error = (problem: string, hint: string) => new LabError("network", describe(file), problem, hint);
  if (code === "RevisionNotFound") return error(`the hub has no revision "${revision}"`, "Check its spelling.");
  if (code === "GatedRepo" || status === 403) {
    return error(
      `access is restricted (HTTP ${status})`,
      "Accept the terms on the repository's page, and set HF_TOKEN.",
    );
  }
  if (status === 401 || code === "RepoNotFound") {
    const hint = access.token
      ? "Check the id, and that HF_TOKEN may read it."
      : "Check the id; for a private one set HF_TOKEN.";
    return error(`there is no such repository, or it is private (HTTP ${status})`, hint);
  }
  if (status === 404) return error("the hub has no such repository or file (HTTP 404)", "Check the id.");
  return error(`the hub refused with HTTP ${status}`, "Try again later.");
}

/**
 * Downloads the bytes of `remote` to `blob`, by way of `blob.incomplete`, whose bytes of an earlier try are kept.
 *
 * @throws LabError "network", "format" (wrong hash or size; nothing is left), "storage".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fetchInto } from "./hub_transfer.ts";
 * const blob = await Deno.makeTempFile(), fetch = () => Promise.resolve(new Response("hi"));
 * const access = { endpoint: "http://hub", token: undefined, attempts: 1, stallMs: 1000, pauseMs: 1, onProgress: undefined };
 * const remote = { url: "http://hub/a", commit: "0".repeat(40), etag: "abc", size: 2 };
 * await fetchInto(blob, { repo: { type: "model", name: "org/name" }, path: "a" }, remote, { ...access, fetch });
 * assert.equal(await Deno.readTextFile(blob), "hi");
 * await Deno.remove(blob);
 * ```
 */
export async function fetchInto(blob: string, file: HubFile, remote: RemoteFile, access: HubAccess): Promise<void> {
  const partial = `${blob}.incomplete`;
  const resumed = (await Deno.stat(partial).catch(() => null))?.size ?? 0;
  for (const fresh of resumed > 0 ? [false, true] : [true]) { // bytes of an earlier run may be stale: then once more from the start
    if (fresh) await Deno.remove(partial).catch(() => {});
    await withRetries(file, access, (reached) => fetchRest(partial, file, remote, access, reached));
    const wrong = await check(partial, remote);
    if (wrong === null) {
      return await Deno.rename(partial, blob).catch((cause) => {
        throw storageError(blob, "cannot write", cause);
      });
    }
    if (!fresh) continue;
    await Deno.remove(partial).catch(() => {});
    throw new LabError(
      "format",
      describe(file),
      wrong,
      "The download was damaged on the way and is deleted: try again.",
    );
  }
}

/** One connection: from the end of `partial` to the end of the file. Throws a plain Error where another try may help. */
async function fetchRest(
  partial: string,
  file: HubFile,
  remote: RemoteFile,
  access: HubAccess,
  reached: (bytes: number) => void,
): Promise<void> {
  using out = await Deno.open(partial, { create: true, write: true }).catch((cause) => {
    throw storageError(partial, "cannot write", cause);
  });
  let at = await out.seek(0, Deno.SeekMode.End);
  if (remote.size !== null && at > remote.size) at = await restart(out);
  if (at === remote.size) return; // whole already: only the last step was missing
  const { response, touch, done } = await follow(remote.url, at, access);
  try {
    const { status } = response;
    if (status === 416) {
      await restart(out);
      throw new Error("HTTP 416");
    }
    if (status !== 200 && status !== 206) {
      if (passing(status)) throw new Error(`HTTP ${status}`);
      throw new LabError("network", describe(file), `the download was refused with HTTP ${status}`, "Try again later.");
    }
    const from = status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1]) : 0;
    if (from !== at) at = await restart(out); // the server ignores Range (200) or means another one
    if (from !== 0 && at === 0) throw new Error("the server sent another range than it was asked for");
    for await (const piece of response.body ?? []) {
      touch();
      if (remote.size !== null && at + piece.length > remote.size) {
        await restart(out);
        throw new LabError(
          "format",
          describe(file),
          `more than the ${remote.size} bytes it should have came`,
          "Try again.",
        );
      }
      await writeAll(out, piece).catch((cause) => {
        throw storageError(partial, "cannot write", cause);
      });
      at += piece.length;
      reached(at);
      access.onProgress?.({ what: `downloading ${file.path}`, done: at, total: remote.size ?? 0, unit: "bytes" });
    }
    if (remote.size !== null && at < remote.size) {
      throw new Error(`the connection ended after ${at} of ${remote.size} bytes`);
    }
    await out.sync();
  } finally {
    done();
    await response.body?.cancel().catch(() => {}); // does nothing where it was read to its end
  }
}

/** GET from byte `at`, across redirects to whatever store holds the bytes. */
async function follow(url: string, at: number, access: HubAccess): Promise<Awaited<ReturnType<typeof request>>> {
  for (let hop = 0; hop < MAX_REDIRECTS; hop++) {
    const got = await request(url, at > 0 ? { Range: `bytes=${at}-` } : {}, "GET", access);
    const location = got.response.headers.get("location");
    if (!REDIRECTS.includes(got.response.status) || !location) return got;
    got.done();
    await got.response.body?.cancel();
    url = new URL(location, url).href;
  }
  throw new Error(`more than ${MAX_REDIRECTS} redirects`);
}

async function restart(out: Deno.FsFile): Promise<number> {
  await out.truncate(0);
  return await out.seek(0, Deno.SeekMode.Start);
}

/** Null when the file is what its ETag says; else what is wrong, in words. An ETag that is no hash proves nothing. */
async function check(path: string, remote: RemoteFile): Promise<string | null> {
  const { size } = await Deno.stat(path);
  if (remote.size !== null && size !== remote.size) return `has ${size} bytes instead of ${remote.size}`;
  const kind = /^[0-9a-f]{64}$/.test(remote.etag) ? "sha256" : /^[0-9a-f]{40}$/.test(remote.etag) ? "sha1" : null;
  if (kind === null) return null;
  const hash: Hash = createHash(kind);
  if (kind === "sha1") hash.update(`blob ${size}\0`); // git's name of a file
  using file = await Deno.open(path);
  const piece = new Uint8Array(1 << 20);
  for (let n = await file.read(piece); n !== null; n = await file.read(piece)) hash.update(piece.subarray(0, n));
  const sum = hash.digest("hex");
  return sum === remote.etag
    ? null
    : `has ${kind === "sha256" ? "SHA-256" : "git SHA-1"} ${sum} instead of ${remote.etag}`;
}
