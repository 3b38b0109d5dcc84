import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type HubFile, hubFile, hubFileIfAny, type HubOptions } from "../../lib/io/hub.ts";
import { LabError } from "../../lib/io/errors.ts";
import type { Progress } from "../../lib/io/progress.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const weights = new Uint8Array(700_000).map((_, i) => (i * 2654435761) >>> 24);
const config = new TextEncoder().encode('{"model_type":"llama"}\n');
const sha256 = (b: Uint8Array) => createHash("sha256").update(b).digest("hex");
const gitSha1 = (b: Uint8Array) => createHash("sha1").update(`blob ${b.length}\0`).update(b).digest("hex");

/** By hash: the difference of two large arrays takes minutes to print. */
async function assertWeights(path: string): Promise<void> {
  assert.equal(sha256(await Deno.readFile(path)), sha256(weights));
}

/** What the stand-in hub does; a test changes what it needs. */
interface Behaviour {
  /** Bytes after which a GET breaks; taken in turn, then none breaks. */
  breaks: number[];
  ignoreRange: boolean;
  /** The bytes that a GET really sends. */
  sent: Uint8Array;
  /** Statuses that HEAD answers with first. */
  headStatuses: number[];
  /** A HEAD's refusal: status and X-Error-Code. */
  refuse: [number, string] | null;
  redirectRepo: boolean;
  hang: boolean;
}

interface Hub {
  readonly options: HubOptions;
  readonly cacheDir: string;
  readonly behaviour: Behaviour;
  /** "GET /path 100-" for each request, in order. */
  readonly log: string[];
  /** Authorization headers that the two servers saw. */
  readonly tokens: { hub: (string | null)[]; store: (string | null)[] };
  stop(): Promise<void>;
}

/** A hub and, on another origin, the store of large files that it redirects to; both on the loopback address. */
async function withHub(body: (hub: Hub) => Promise<void>): Promise<void> {
  const cacheDir = await Deno.makeTempDir();
  const behaviour: Behaviour = {
    breaks: [],
    ignoreRange: false,
    sent: weights,
    headStatuses: [],
    refuse: null,
    redirectRepo: false,
    hang: false,
  };
  const log: string[] = [], tokens = { hub: [] as (string | null)[], store: [] as (string | null)[] };
  const bytesOf = (request: Request, bytes: Uint8Array): Response => {
    const range = /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "");
    const at = range && !behaviour.ignoreRange ? Number(range[1]) : 0;
    if (at >= bytes.length && at > 0) return new Response(null, { status: 416 });
    const stop = behaviour.breaks.shift();
    let sent = at;
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        if (behaviour.hang) return new Promise(() => {});
        if (stop !== undefined && sent - at >= stop) return controller.error(new Error("broken on purpose"));
        if (sent >= bytes.length) return controller.close();
        const end = Math.min(sent + 50_000, bytes.length, stop === undefined ? Infinity : at + stop);
        controller.enqueue(bytes.slice(sent, end));
        sent = end;
      },
    });
    const headers: Record<string, string> = { "content-length": String(bytes.length - at) };
    if (at > 0) headers["content-range"] = `bytes ${at}-${bytes.length - 1}/${bytes.length}`;
    return new Response(stream, { status: at > 0 ? 206 : 200, headers });
  };
  const note = (request: Request) =>
    log.push(
      [request.method, new URL(request.url).pathname, request.headers.get("range")?.slice(6)].filter(Boolean).join(" "),
    );
  const quiet = { hostname: "127.0.0.1", port: 0, onListen() {}, onError: () => new Response(null, { status: 500 }) };
  const store = Deno.serve(quiet, (request) => {
    note(request);
    tokens.store.push(request.headers.get("authorization"));
    return bytesOf(request, behaviour.sent);
  });
  const hub = Deno.serve(quiet, (request) => {
    note(request);
    tokens.hub.push(request.headers.get("authorization"));
    const status = request.method === "HEAD" ? behaviour.headStatuses.shift() : undefined;
    if (status) return new Response(null, { status });
    if (behaviour.refuse) {
      return new Response(null, { status: behaviour.refuse[0], headers: { "x-error-code": behaviour.refuse[1] } });
    }
    const path = new URL(request.url).pathname;
    if (behaviour.redirectRepo && path.startsWith("/org/")) {
      return new Response(null, { status: 307, headers: { location: path.replace("/org/", "/moved/") } });
    }
    const commit = { "x-repo-commit": COMMIT };
    if (path.endsWith("/model.safetensors")) {
      const location = `http://127.0.0.1:${store.addr.port}/store/abc`;
      const headers = {
        ...commit,
        location,
        "x-linked-etag": `"${sha256(weights)}"`,
        "x-linked-size": `${weights.length}`,
      };
      return new Response(null, { status: 302, headers });
    }
    if (path.endsWith("/config.json")) {
      const headers = { ...commit, etag: `W/"${gitSha1(config)}"`, "content-length": String(config.length) };
      return request.method === "HEAD" ? new Response(null, { headers }) : new Response(config, { headers });
    }
    return new Response(null, { status: 404, headers: { ...commit, "x-error-code": "EntryNotFound" } });
  });
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    await Promise.all([hub.shutdown(), store.shutdown()]);
  };
  const endpoint = `http://127.0.0.1:${hub.addr.port}`;
  const options = { cacheDir, endpoint, token: "secret", attempts: 3, pauseMs: 1, stallMs: 5000 };
  try {
    await body({ options, cacheDir, behaviour, log, tokens, stop });
  } finally {
    await stop();
    await Deno.remove(cacheDir, { recursive: true });
  }
}

const model = (path: string, revision?: string): HubFile => ({
  repo: { type: "model", name: "org/name" },
  path,
  revision,
});
const large = model("model.safetensors"), small = model("config.json");

const refusal = (kind: string, pattern: RegExp) => (e: unknown) => {
  assert.ok(e instanceof LabError, String(e));
  assert.equal(e.kind, kind);
  assert.match(e.message, pattern);
  return true;
};

Deno.test("hubFile() lays the cache out like Python's when it downloads", () =>
  withHub(async ({ options, cacheDir, tokens }) => {
    const seen: Progress[] = [];
    const path = await hubFile(large, { ...options, onProgress: (p) => seen.push(p) });
    const folder = `${cacheDir}/models--org--name`, blob = `${folder}/blobs/${sha256(weights)}`;
    assert.equal(path, `${folder}/snapshots/${COMMIT}/model.safetensors`);
    assert.equal(await Deno.readLink(path), `../../blobs/${sha256(weights)}`);
    await assertWeights(blob);
    assert.equal(await Deno.readTextFile(`${folder}/refs/main`), COMMIT);
    assert.deepEqual([...Deno.readDirSync(`${folder}/blobs`)].map((e) => e.name), [sha256(weights)]);
    assert.deepEqual([seen.at(-1)?.done, seen.at(-1)?.total], [weights.length, weights.length]);
    assert.deepEqual(await Deno.readFile(await hubFile(small, options)), config);
    assert.deepEqual(new Set(tokens.hub), new Set(["Bearer secret"]));
    assert.deepEqual(tokens.store, [null]); // the token never leaves the hub's own origin
  }));

Deno.test("hubFile() resumes where it stopped when the connection breaks half-way", () =>
  withHub(async ({ options, behaviour, log }) => {
    behaviour.breaks = [300_000, 100_000];
    const path = await hubFile(large, options);
    await assertWeights(path);
    const ranges = log.filter((line) => line.startsWith("GET /store")).map((line) => line.split(" ")[2] ?? "");
    assert.equal(ranges.length, 3);
    assert.equal(ranges[0], "");
    const [second, third] = ranges.slice(1).map((r) => Number(r.slice(0, -1)));
    assert.ok(second > 0 && second <= 300_000 && third > second && third <= 400_000, ranges.join(" "));
  }));

Deno.test("hubFile() resumes in another run when the first one gave up", () =>
  withHub(async ({ options, behaviour, cacheDir, log }) => {
    behaviour.breaks = [200_000, 0, 0, 0];
    await assert.rejects(hubFile(large, options), refusal("network", /cannot be reached.*what has come is kept/));
    const partial = `${cacheDir}/models--org--name/blobs/${sha256(weights)}.incomplete`;
    const kept = (await Deno.stat(partial)).size;
    assert.ok(kept > 0 && kept <= 200_000);
    behaviour.breaks = [];
    log.length = 0;
    await assertWeights(await hubFile(large, options));
    assert.equal(log.at(-1), `GET /store/abc ${kept}-`);
  }));

Deno.test("hubFile() starts over when the server ignores Range", () =>
  withHub(async ({ options, behaviour }) => {
    behaviour.breaks = [300_000];
    behaviour.ignoreRange = true;
    await assertWeights(await hubFile(large, options));
  }));

Deno.test("hubFile() refuses and leaves nothing when the hash is wrong", () =>
  withHub(async ({ options, behaviour, cacheDir }) => {
    behaviour.sent = weights.slice();
    behaviour.sent[500_000] ^= 1;
    await assert.rejects(hubFile(large, options), refusal("format", /has SHA-256 \w{64} instead of \w{64}/));
    assert.deepEqual([...Deno.readDirSync(`${cacheDir}/models--org--name/blobs`)], []);
    assert.deepEqual([...Deno.readDirSync(`${cacheDir}/models--org--name/snapshots/${COMMIT}`)], []);
  }));

Deno.test("hubFile() starts over once when the part of an earlier run turns out stale", () =>
  withHub(async ({ options, cacheDir }) => {
    const blobs = `${cacheDir}/models--org--name/blobs`;
    await Deno.mkdir(blobs, { recursive: true });
    await Deno.writeFile(`${blobs}/${sha256(weights)}.incomplete`, new Uint8Array(1000).fill(7));
    await assertWeights(await hubFile(large, options));
  }));

Deno.test("hubFile() refuses when more or fewer bytes come than the hub announced", () =>
  withHub(async ({ options, behaviour }) => {
    behaviour.sent = new Uint8Array(weights.length + 1);
    await assert.rejects(hubFile(large, options), refusal("format", /more than the 700000 bytes/));
    behaviour.sent = weights.slice(0, 1000);
    await assert.rejects(
      hubFile(large, options),
      refusal("network", /ended after 1000 of 700000 bytes|cannot be reached/),
    );
  }));

Deno.test("hubFile() says what is missing when the hub answers 404 or 401", () =>
  withHub(async ({ options, behaviour }) => {
    await assert.rejects(
      hubFile(model("none.json"), options),
      refusal("network", /name: none\.json: the hub has no such file/),
    );
    behaviour.refuse = [404, "RevisionNotFound"];
    await assert.rejects(
      hubFile(model("a", "v9"), options),
      refusal("network", /name@v9: a: the hub has no revision "v9"/),
    );
    behaviour.refuse = [401, ""];
    await assert.rejects(
      hubFile(small, options),
      refusal("network", /no such repository, or it is private \(HTTP 401\)/),
    );
    behaviour.refuse = [403, "GatedRepo"];
    await assert.rejects(hubFile(small, options), refusal("network", /access is restricted/));
  }));

Deno.test("hubFileIfAny() gives null, and remembers it offline, when the repository lacks the file", () =>
  withHub(async ({ options, log }) => {
    assert.equal(await hubFileIfAny(model("none.json"), options), null);
    log.length = 0;
    assert.equal(await hubFileIfAny(model("none.json"), { ...options, offline: true }), null);
    assert.equal(await hubFileIfAny(model("none.json", COMMIT), options), null);
    assert.deepEqual(log, []);
  }));

Deno.test("hubFile() makes no request when the commit is cached, or offline when the branch is", () =>
  withHub(async ({ options, log }) => {
    const path = await hubFile(large, options);
    log.length = 0;
    assert.equal(await hubFile(model("model.safetensors", COMMIT), options), path);
    assert.equal(await hubFile(large, { ...options, offline: true }), path);
    assert.deepEqual(log, []);
  }));

Deno.test("hubFile() asks the hub only for the commit when the branch's file is cached", () =>
  withHub(async ({ options, log }) => {
    await hubFile(large, options);
    log.length = 0;
    await hubFile(large, options);
    assert.deepEqual(log.map((line) => line.split(" ")[0]), ["HEAD"]);
  }));

Deno.test("hubFile() says so when offline and not cached", () =>
  withHub(async ({ options, log }) => {
    const message = /config\.json: is not in the cache and the network is not to be used/;
    await assert.rejects(hubFile(small, { ...options, offline: true }), refusal("network", message));
    await hubFile(large, options);
    log.length = 0;
    await assert.rejects(hubFile(small, { ...options, offline: true }), refusal("network", message));
    assert.deepEqual(log, []);
  }));

Deno.test("hubFile() uses what is cached when the hub is down", () =>
  withHub(async ({ options, stop }) => {
    const path = await hubFile(small, options);
    await stop();
    assert.equal(await hubFile(small, options), path);
    await assert.rejects(hubFile(large, options), refusal("network", /cannot be reached at http.*3 attempts/));
  }));

Deno.test("hubFile() tries again when the hub is busy and follows when the repository was renamed", () =>
  withHub(async ({ options, behaviour, log }) => {
    behaviour.headStatuses = [503, 429];
    behaviour.redirectRepo = true;
    assert.deepEqual(await Deno.readFile(await hubFile(small, options)), config);
    assert.ok(log.includes("HEAD /moved/name/resolve/main/config.json"));
  }));

Deno.test("hubFile() gives up with a sentence when the connection stalls", () =>
  withHub(async ({ options, behaviour }) => {
    behaviour.hang = true;
    await assert.rejects(
      hubFile(large, { ...options, stallMs: 50, attempts: 2 }),
      refusal("network", /no byte for 0\.05 s; 2 attempts/),
    );
  }));

Deno.test("hubFile() escapes the revision and prefixes the kind when the file is a data set's", () =>
  withHub(async ({ options, cacheDir, log }) => {
    const file = {
      repo: { type: "dataset", name: "org/name" },
      revision: "refs/convert/parquet",
      path: "a/config.json",
    } as const;
    const path = await hubFile(file, options);
    assert.equal(path, `${cacheDir}/datasets--org--name/snapshots/${COMMIT}/a/config.json`);
    assert.equal(await Deno.readLink(path), `../../../blobs/${gitSha1(config)}`);
    assert.equal(log[0], "HEAD /datasets/org/name/resolve/refs%2Fconvert%2Fparquet/a/config.json");
    assert.equal(await Deno.readTextFile(`${cacheDir}/datasets--org--name/refs/refs/convert/parquet`), COMMIT);
  }));

Deno.test("hubFile() downloads once when two calls want the same file at the same time", () =>
  withHub(async ({ options, log }) => {
    const [a, b] = await Promise.all([hubFile(large, options), hubFile(large, options)]);
    assert.equal(a, b);
    assert.equal(log.filter((line) => line.startsWith("GET /store")).length, 1);
  }));

Deno.test("hubFile() refuses when a name would leave the cache", async () => {
  for (const path of ["../x", "/etc/passwd", "a//b", "a\\b", "C:x", ""]) {
    await assert.rejects(hubFile(model(path), { offline: true }), refusal("input", /leaves the repository/));
  }
  for (const name of ["..", "a/../b", "a/b/c", "a b"]) {
    const file = { repo: { type: "model", name }, path: "x" } as const;
    await assert.rejects(hubFile(file, { offline: true }), refusal("input", /is not a hub id/));
  }
  await assert.rejects(hubFile(model("x", "../../y"), { offline: true }), refusal("input", /leaves/));
});
