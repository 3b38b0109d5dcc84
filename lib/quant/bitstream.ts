// Streams of integers of any width up to 24 bits, and of trits: how the arrays of a store lie in a file.
import { LabError } from "../io/errors.ts";

/**
 * Integers as one least-significant-bit-first stream of 32-bit words: bit t of value i is bit i · bits + t of the stream.
 *
 * @param values (n), each below 2^bits. @param bits 1 … 24.
 * @returns ceil(n · bits / 32) words.
 * @throws LabError on a width outside 1 … 24.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readStream, writeStream } from "./bitstream.ts";
 * assert.deepEqual([...readStream(writeStream([700, 3, 1023], 10), 10, 3)], [700, 3, 1023]);
 * ```
 */
export function writeStream(values: ArrayLike<number>, bits: number): Uint32Array<ArrayBuffer> {
  checkWidth(bits);
  const words = new Uint32Array(Math.ceil(values.length * bits / 32));
  for (let i = 0, at = 0; i < values.length; i++, at += bits) {
    const word = Math.floor(at / 32), shift = at % 32;
    words[word] |= values[i] << shift;
    if (shift + bits > 32) words[word + 1] |= values[i] >>> (32 - shift);
  }
  return words;
}

/**
 * The inverse of {@link writeStream}.
 *
 * @throws LabError where the words hold fewer values.
 */
export function readStream(words: Uint32Array, bits: number, count: number): Int32Array<ArrayBuffer> {
  checkWidth(bits);
  if (words.length * 32 < count * bits) {
    throw new LabError("format", "stream", `${words.length} words hold fewer than ${count} values of ${bits} bits`);
  }
  const values = new Int32Array(count), mask = 2 ** bits - 1;
  for (let i = 0, at = 0; i < count; i++, at += bits) {
    const word = Math.floor(at / 32), shift = at % 32;
    let v = words[word] >>> shift;
    if (shift + bits > 32) v |= words[word + 1] << (32 - shift);
    values[i] = v & mask;
  }
  return values;
}

function checkWidth(bits: number): void {
  if (!(Number.isInteger(bits) && bits >= 1 && bits <= 24)) {
    throw new LabError("input", "bits", `a stream of ${bits} bits a value`, "It takes 1 to 24.");
  }
}

/**
 * Trits (0, 1, 2) five in a byte, the first the least: 3^5 = 243 ≤ 256, 1.6 bits each where log2 3 = 1.585.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readTrits, writeTrits } from "./bitstream.ts";
 * assert.deepEqual([...readTrits(writeTrits([2, 0, 1, 1, 2, 1]), 6)], [2, 0, 1, 1, 2, 1]);
 * ```
 */
export function writeTrits(trits: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil(trits.length / 5));
  for (let i = trits.length - 1; i >= 0; i--) bytes[Math.floor(i / 5)] = 3 * bytes[Math.floor(i / 5)] + trits[i];
  return bytes;
}

/** The inverse of {@link writeTrits}. @throws LabError where there are too few bytes. */
export function readTrits(bytes: ArrayLike<number>, count: number): Uint8Array<ArrayBuffer> {
  if (bytes.length * 5 < count) throw new LabError("format", "trits", `${bytes.length} bytes hold fewer than ${count}`);
  return Uint8Array.from({ length: count }, (_, i) => Math.floor(bytes[Math.floor(i / 5)] / 3 ** (i % 5)) % 3);
}
