// Durable files: what has its final name is whole. Written beside its place under a temporary name, synced, then renamed.
import { dirname, join } from "node:path";
import { LabError } from "./errors.ts";

/** The reasons we can say something useful about; any other is passed on in the system's own words. */
const HINTS: readonly [test: RegExp, problem: string, hint: string][] = [
  [/ENOSPC|os error 28|No space left/i, "the disk is full", "Free some space, or choose another folder."],
  [/EDQUOT|os error 122|quota/i, "the disk quota is used up", "Free some space, or choose another folder."],
  [/EROFS|os error 30|Read-only/i, "the file system is read-only", "Choose a folder that can be written."],
  [
    /EACCES|EPERM|os error 13|os error 1\)|denied/i,
    "permission denied",
    "Choose a folder you own, or change its rights.",
  ],
  [/NotCapable|Requires \w+ access/i, "Deno was not given the right to use it", "Run with -A, as the tasks do."],
  [/ENOTDIR|os error 20|Not a directory/i, "a part of the path is a file", "Choose another folder."],
  [/EISDIR|os error 21|Is a directory/i, "it is a folder, not a file", "Name a file."],
  [/ENOENT|os error 2\)|No such file/i, "it does not exist", "Check the spelling of the path."],
];

/**
 * Turns whatever a file operation threw into a sentence about `path`.
 *
 * @param path the file or folder that was being used.
 * @param action what was tried, such as "cannot write".
 * @returns a LabError of kind "storage"; a LabError that comes in goes out unchanged.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { storageError } from "./atomic.ts";
 * const e = storageError("out/report.json", "cannot write", new Error("No space left on device (os error 28)"));
 * assert.equal(e.message, "out/report.json: cannot write, the disk is full. Free some space, or choose another folder.");
 * ```
 */
export function storageError(path: string, action: string, cause: unknown): LabError {
  if (cause instanceof LabError) return cause;
  const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
  for (const [test, problem, hint] of HINTS) {
    if (test.test(text)) return new LabError("storage", path, `${action}, ${problem}`, hint, { cause });
  }
  return new LabError("storage", path, `${action} (${text})`, "", { cause });
}

/**
 * Makes `path` a folder that can be written, before long work starts: creates it with its parents and proves it with a small file.
 *
 * @throws LabError "storage" when it cannot be made or written.
 * @example
 * ```ts
 * import { ensureWritableFolder } from "./atomic.ts";
 * const root = await Deno.makeTempDir();
 * await ensureWritableFolder(`${root}/runs/first`);
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export async function ensureWritableFolder(path: string): Promise<void> {
  const probe = join(path, `.probe-${crypto.randomUUID()}.tmp`);
  try {
    await Deno.mkdir(path, { recursive: true });
    await Deno.writeFile(probe, new Uint8Array(4096)); // a page: an empty file fits on a full disk
    await Deno.remove(probe);
  } catch (cause) {
    await Deno.remove(probe).catch(() => {});
    throw storageError(path, "cannot write into this folder", cause);
  }
}

/**
 * Writes a file through `write`, so that `path` holds either what it held before or everything that was written.
 *
 * The temporary file lies in the same folder (rename is atomic only inside one file system), is synced before the rename,
 * and is removed when anything throws. A process that is killed leaves at most a `.tmp` file behind.
 *
 * @param write receives the open temporary file; its return value is handed on.
 * @throws LabError "storage" for the disk's reasons; what `write` throws of its own is passed on unchanged.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { atomicWrite } from "./atomic.ts";
 * const root = await Deno.makeTempDir();
 * await atomicWrite(`${root}/a.bin`, async (file) => {
 *   await file.write(new Uint8Array([1, 2, 3]));
 * });
 * assert.equal((await Deno.readFile(`${root}/a.bin`)).length, 3);
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export async function atomicWrite<T>(path: string, write: (file: Deno.FsFile) => Promise<T>): Promise<T> {
  const temporary = `${path}.${Deno.pid}-${crypto.randomUUID().slice(0, 8)}.tmp`;
  let file: Deno.FsFile | undefined;
  try {
    file = await Deno.open(temporary, { write: true, createNew: true });
    const result = await write(file);
    await file.sync();
    file.close();
    file = undefined;
    await Deno.rename(temporary, path);
    await syncFolder(dirname(path));
    return result;
  } catch (cause) {
    file?.close();
    await Deno.remove(temporary).catch(() => {});
    if (isSystemError(cause)) throw storageError(path, "cannot write", cause);
    throw cause;
  }
}

/**
 * Writes bytes to `path` atomically and durably.
 *
 * @throws LabError "storage".
 * @example
 * ```ts
 * import { atomicWriteBytes } from "./atomic.ts";
 * const root = await Deno.makeTempDir();
 * await atomicWriteBytes(`${root}/codes.bin`, new Uint8Array(8));
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export function atomicWriteBytes(path: string, bytes: Uint8Array): Promise<void> {
  return atomicWrite(path, (file) => writeAll(file, bytes));
}

/**
 * Writes UTF-8 text to `path` atomically and durably.
 *
 * @throws LabError "storage".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { atomicWriteText } from "./atomic.ts";
 * const root = await Deno.makeTempDir();
 * await atomicWriteText(`${root}/report.json`, "{}\n");
 * assert.equal(await Deno.readTextFile(`${root}/report.json`), "{}\n");
 * await Deno.remove(root, { recursive: true });
 * ```
 */
export function atomicWriteText(path: string, text: string): Promise<void> {
  return atomicWriteBytes(path, new TextEncoder().encode(text));
}

/**
 * Writes all of `bytes` at the file's position; `FsFile.write` alone may write less.
 *
 * @example
 * ```ts
 * import { writeAll } from "./atomic.ts";
 * const path = await Deno.makeTempFile();
 * using file = await Deno.open(path, { write: true });
 * await writeAll(file, new Uint8Array(10));
 * await Deno.remove(path);
 * ```
 */
export async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** A rename survives a power cut only once the folder is synced; some systems cannot open a folder, then it is best effort. */
async function syncFolder(path: string): Promise<void> {
  try {
    using folder = await Deno.open(path || ".");
    await folder.sync();
  } catch { /* best effort */ }
}

function isSystemError(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false;
  if (cause instanceof LabError) return false;
  return "code" in cause || /os error \d+/.test(cause.message) ||
    Object.values(Deno.errors).some((kind) => cause instanceof kind);
}
