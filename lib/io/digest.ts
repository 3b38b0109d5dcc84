// SHA-256 of bytes and of files. node:crypto hashes piece by piece, which WebCrypto cannot.
import { createHash } from "node:crypto";
import { storageError } from "./atomic.ts";

/**
 * SHA-256 of bytes, or of a text as UTF-8, in lower-case hexadecimal.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sha256Hex } from "./digest.ts";
 * assert.ok(sha256Hex(new Uint8Array(0)).startsWith("e3b0c44298fc1c14"));
 * ```
 */
export function sha256Hex(data: Uint8Array | string): string {
  return createHash("sha256").update(data).digest("hex");
}

/**
 * SHA-256 of a file, read in pieces of 1 MiB.
 *
 * @throws LabError "storage" when it cannot be read.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sha256File } from "./digest.ts";
 * const path = await Deno.makeTempFile();
 * assert.ok((await sha256File(path)).startsWith("e3b0c44298fc1c14"));
 * await Deno.remove(path);
 * ```
 */
export async function sha256File(path: string): Promise<string> {
  try {
    using file = await Deno.open(path);
    const hash = createHash("sha256"), piece = new Uint8Array(1 << 20);
    for (let n = await file.read(piece); n !== null; n = await file.read(piece)) hash.update(piece.subarray(0, n));
    return hash.digest("hex");
  } catch (cause) {
    throw storageError(path, "cannot read", cause);
  }
}
