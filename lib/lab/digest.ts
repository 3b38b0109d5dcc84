// SHA-256 of what a result came from.

/**
 * SHA-256 of a text (as UTF-8) or of bytes, in hexadecimal (FIPS 180-4).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sha256Hex } from "./digest.ts";
 * assert.equal((await sha256Hex("abc")).slice(0, 8), "ba7816bf");
 * ```
 */
export async function sha256Hex(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
}
