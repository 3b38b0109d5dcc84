// Random access to bytes: what every parser of lib/io stands on, over a file or over memory.
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { storageError } from "./atomic.ts";
import { LabError } from "./errors.ts";

/**
 * Bytes by offset. `read` is synchronous on purpose: parsers stay plain code, and a file's seek and read
 * cannot be torn apart by another reader of the same handle.
 */
export interface RandomAccess {
  /** The file's name, for messages. */
  readonly label: string;
  /** Bytes in all. */
  readonly size: number;
  /** `length` bytes from `offset`, in memory of their own. Throws LabError("format") where they reach past the end. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>;
  /** SHA-256 of all bytes, in hexadecimal; computed once. */
  sha256(): Promise<string>;
  close(): void;
}

const CHUNK = 4 << 20; // bytes a read when hashing: small enough that timers and progress displays get their turn

function checkRange(label: string, size: number, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new LabError("format", label, `asks for ${length} bytes at ${offset}`);
  }
  if (offset + length > size) {
    throw new LabError(
      "format",
      label,
      `ends at byte ${size}, where ${length} bytes from ${offset} were needed`,
      "The file is truncated or damaged: fetch it again.",
    );
  }
}

function allocate(label: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new LabError("storage", label, `no memory for ${length} bytes`, "Close other programs.", { cause });
  }
}

async function hashOf(access: RandomAccess): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < access.size; at += CHUNK) {
    hash.update(access.read(at, Math.min(CHUNK, access.size - at)));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return hash.digest("hex");
}

/**
 * Opens a file for random access.
 *
 * @param path the file; nothing but its size is read.
 * @throws LabError("storage") where it is missing, a folder, or not readable.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openFile } from "./bytes.ts";
 * assert.throws(() => openFile("no/such.file"), /no\/such.file: cannot read, it does not exist/);
 * ```
 */
export function openFile(path: string): RandomAccess {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true });
  } catch (cause) {
    throw storageError(path, "cannot read", cause);
  }
  const info = file.statSync();
  if (!info.isFile) {
    file.close();
    throw new LabError("storage", path, "cannot read, it is a folder, not a file", "Name a file.");
  }
  const size = info.size;
  const label = basename(path);
  let closed = false, sum: Promise<string> | undefined;
  const access: RandomAccess = {
    label,
    size,
    read(offset, length) {
      if (closed) throw new LabError("storage", label, "was closed before this read");
      checkRange(label, size, offset, length);
      const bytes = allocate(label, length);
      try {
        file.seekSync(offset, Deno.SeekMode.Start);
        for (let at = 0; at < length;) {
          const n = file.readSync(at === 0 ? bytes : bytes.subarray(at));
          if (n === null) {
            throw new LabError(
              "storage",
              label,
              `became shorter than ${size} bytes while it was read`,
              "Open it again.",
            );
          }
          at += n;
        }
      } catch (cause) {
        throw storageError(path, "cannot read", cause);
      }
      return bytes;
    },
    sha256: () => sum ??= hashOf(access),
    close() {
      if (!closed) file.close();
      closed = true;
    },
  };
  return access;
}

/**
 * Random access over bytes in memory; reads are copies.
 *
 * @param label the name that messages use.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openMemory } from "./bytes.ts";
 * const access = openMemory("three bytes", Uint8Array.of(1, 2, 3));
 * assert.deepEqual(access.read(1, 2), Uint8Array.of(2, 3));
 * assert.throws(() => access.read(2, 2), /three bytes: ends at byte 3, where 2 bytes from 2 were needed/);
 * ```
 */
export function openMemory(label: string, bytes: Uint8Array): RandomAccess {
  let sum: Promise<string> | undefined;
  const access: RandomAccess = {
    label,
    size: bytes.length,
    read(offset, length) {
      checkRange(label, bytes.length, offset, length);
      const copy = allocate(label, length);
      copy.set(bytes.subarray(offset, offset + length));
      return copy;
    },
    sha256: () => sum ??= hashOf(access),
    close() {},
  };
  return access;
}
