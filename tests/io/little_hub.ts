// A hub on the loopback address that serves files from memory; for tests of what stands on lib/io/hub.ts.
import { createHash } from "node:crypto";
import type { HubOptions } from "../../lib/io/hub.ts";

export const LITTLE_COMMIT = "89abcdef0123456789abcdef0123456789abcdef";

/**
 * Serves `files` ("org/name/path" for models, "datasets/org/name/path" for data sets) at any revision while `body` runs.
 * `requests` lists what was asked for.
 */
export async function withLittleHub(
  files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
  body: (options: HubOptions & { cacheDir: string }, requests: string[]) => Promise<void>,
): Promise<void> {
  const cacheDir = await Deno.makeTempDir(), requests: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { pathname } = new URL(request.url);
    requests.push(`${request.method} ${pathname}`);
    const [, repo, path] = /^\/(.+)\/resolve\/[^/]+\/(.+)$/.exec(pathname) ?? [];
    const headers: Record<string, string> = { "x-repo-commit": LITTLE_COMMIT };
    const found = Object.hasOwn(files, `${repo}/${path}`) ? files[`${repo}/${path}`] : null;
    if (!found) {
      const known = Object.keys(files).some((name) => name.startsWith(`${repo}/`));
      return new Response(null, {
        status: 404,
        headers: known ? { ...headers, "x-error-code": "EntryNotFound" } : { "x-error-code": "RepoNotFound" },
      });
    }
    headers.etag = `"${createHash("sha1").update(`blob ${found.length}\0`).update(found).digest("hex")}"`;
    headers["content-length"] = String(found.length);
    return new Response(request.method === "HEAD" ? null : found, { headers });
  });
  try {
    await body({ cacheDir, endpoint: `http://127.0.0.1:${server.addr.port}`, attempts: 1 }, requests);
  } finally {
    await server.shutdown();
    await Deno.remove(cacheDir, { recursive: true });
  }
}
