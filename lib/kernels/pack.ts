// Dense bit packing: codes of 2, 3, 4 or 8 bits as one least-significant-bit-first stream of 32-bit words.
// 32 codes of 3 bits fill 3 words, which is at once the layout of the OWQ reference, of GPTQ and of compressed-tensors
// along their axis (research/anchors.md 2.5).
import { openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { runWork, wordsOf } from "../gpu/dispatch.ts";
import { LabError } from "../io/errors.ts";

/**
 * Packs one run of codes into words; the last word is padded with zero bits.
 *
 * Bit t of code i is bit (i · bits + t) mod 32 of word floor((i · bits + t) / 32).
 *
 * @param codes (n), each below 2^bits. @param bits 1 … 8.
 * @returns ceil(n · bits / 32) words.
 * @throws LabError on a code that needs more bits, or a width outside 1 … 8.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { packDense } from "./pack.ts";
 * assert.deepEqual([...packDense(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2), 3)], [0x88fac688, 0]);
 * ```
 */
export function packDense(codes: Uint8Array, bits: number): Uint32Array<ArrayBuffer> {
  checkBits(bits);
  const words = new Uint32Array(Math.ceil(codes.length * bits / 32));
  for (let i = 0, at = 0; i < codes.length; i++, at += bits) {
    const code = codes[i], word = at >>> 5, shift = at & 31;
    if (code >>> bits) throw new LabError("input", `code ${i}`, `${code} needs more than ${bits} bits`);
    words[word] |= code << shift;
    if (shift + bits > 32) words[word + 1] |= code >>> (32 - shift);
  }
  return words;
}

/**
 * The inverse of {@link packDense}.
 *
 * @param words the stream. @param bits 1 … 8. @param count how many codes to read.
 * @throws LabError when the words hold fewer codes.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { packDense, unpackDense } from "./pack.ts";
 * const codes = Uint8Array.of(5, 0, 7, 2);
 * assert.deepEqual(unpackDense(packDense(codes, 3), 3, 4), codes);
 * ```
 */
export function unpackDense(words: Uint32Array, bits: number, count: number): Uint8Array<ArrayBuffer> {
  checkBits(bits);
  if (count * bits > words.length * 32) {
    throw new LabError(
      "format",
      "packed codes",
      `${words.length} words hold fewer than ${count} codes of ${bits} bits`,
    );
  }
  const codes = new Uint8Array(count), mask = (1 << bits) - 1;
  for (let i = 0, at = 0; i < count; i++, at += bits) {
    const word = at >>> 5, shift = at & 31;
    let code = words[word] >>> shift;
    if (shift + bits > 32) code |= words[word + 1] << (32 - shift);
    codes[i] = code & mask;
  }
  return codes;
}

/**
 * Packs a matrix of codes row by row; each row begins on a word.
 *
 * @param codes (rows, cols). @returns (rows, ceil(cols · bits / 32)) words.
 * @throws LabError as {@link packDense}.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { packRows } from "./pack.ts";
 * assert.deepEqual([...packRows(Uint8Array.of(1, 2, 3, 4), 2, 2, 4)], [0x21, 0x43]);
 * ```
 */
export function packRows(codes: Uint8Array, rows: number, cols: number, bits: number): Uint32Array<ArrayBuffer> {
  const width = Math.ceil(cols * bits / 32), out = new Uint32Array(rows * width);
  for (let r = 0; r < rows; r++) out.set(packDense(codes.subarray(r * cols, (r + 1) * cols), bits), r * width);
  return out;
}

/** The inverse of {@link packRows}: (rows, cols) codes. */
export function unpackRows(words: Uint32Array, rows: number, cols: number, bits: number): Uint8Array<ArrayBuffer> {
  const width = Math.ceil(cols * bits / 32), out = new Uint8Array(rows * cols);
  if (words.length !== rows * width) {
    throw new LabError("format", "packed codes", `${words.length} words for ${rows} rows of ${width}`);
  }
  for (let r = 0; r < rows; r++) {
    out.set(unpackDense(words.subarray(r * width, (r + 1) * width), bits, cols), r * cols);
  }
  return out;
}

function checkBits(bits: number): void {
  if (!(Number.isInteger(bits) && bits >= 1 && bits <= 8)) {
    throw new LabError("input", "bits", `${bits} bits a code`, "Codes have 1 to 8 bits.");
  }
}

/**
 * {@link packRows} on the device: the same words. Matrices beyond its largest buffer go in tiles of rows.
 *
 * @param gpu an open device. @param codes (rows, cols), each below 2^bits. @param bits 1 … 8.
 * @returns (rows, ceil(cols · bits / 32)) words.
 * @throws LabError as {@link packDense}, and of kind "device" when the device fails.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { packRowsGpu } from "./pack.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   assert.deepEqual([...await packRowsGpu(gpu, Uint8Array.of(1, 2, 3, 4), 2, 2, 4)], [0x21, 0x43]);
 *   gpu.close();
 * }
 * ```
 */
export async function packRowsGpu(
  gpu: Gpu,
  codes: Uint8Array,
  rows: number,
  cols: number,
  bits: number,
): Promise<Uint32Array<ArrayBuffer>> {
  checkBits(bits);
  const wide = codes.findIndex((c) => c >>> bits !== 0);
  if (wide >= 0) throw new LabError("input", `code ${wide}`, `${codes[wide]} needs more than ${bits} bits`);
  const words = Math.ceil(cols * bits / 32), out = new Uint32Array(rows * words);
  await inTiles(gpu, "pack", { rows, cols, words, bits }, async (first, count, run) => {
    const bytes = new Uint8Array(Math.ceil(count * cols / 4) * 4);
    bytes.set(codes.subarray(first * cols, (first + count) * cols));
    out.set(new Uint32Array(await run(new Uint32Array(bytes.buffer), count * words)), first * words);
  });
  return out;
}

/**
 * {@link unpackRows} on the device: the same codes.
 *
 * @param gpu an open device. @param words (rows, ceil(cols · bits / 32)). @param bits 1 … 8.
 * @returns (rows, cols) codes.
 * @throws LabError of kind "format" when there are more or fewer words, "device" when the device fails.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { unpackRowsGpu } from "./pack.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   assert.deepEqual([...await unpackRowsGpu(gpu, Uint32Array.of(0x21, 0x43), 2, 2, 4)], [1, 2, 3, 4]);
 *   gpu.close();
 * }
 * ```
 */
export async function unpackRowsGpu(
  gpu: Gpu,
  words: Uint32Array<ArrayBuffer>,
  rows: number,
  cols: number,
  bits: number,
): Promise<Uint8Array<ArrayBuffer>> {
  checkBits(bits);
  const width = Math.ceil(cols * bits / 32), out = new Uint8Array(rows * cols);
  if (words.length !== rows * width) {
    throw new LabError("format", "packed codes", `${words.length} words for ${rows} rows of ${width}`);
  }
  await inTiles(gpu, "unpack", { rows, cols, words: width, bits }, async (first, count, run) => {
    const back = await run(words.subarray(first * width, (first + count) * width), Math.ceil(count * cols / 4));
    out.set(new Uint8Array(back, 0, count * cols), first * cols);
  });
  return out;
}

/** Rows in tiles that fit the largest buffer; `run` gives `size` words for what it is given. */
async function inTiles(
  gpu: Gpu,
  entry: "pack" | "unpack",
  p: { readonly rows: number; readonly cols: number; readonly words: number; readonly bits: number },
  tile: (
    first: number,
    count: number,
    run: (source: Uint32Array<ArrayBuffer>, size: number) => Promise<ArrayBuffer>,
  ) => Promise<void>,
): Promise<void> {
  const { rows, cols, words, bits } = p, pipeline = await loadKernel(gpu, { file: "pack.wgsl", entry });
  const atOnce = Math.max(1, Math.floor((gpu.maxBytes - 4) / Math.max(cols, 4 * words)));
  await gpu.run(`${entry}ing of (${rows}, ${cols})`, async () => {
    for (let first = 0; first < rows; first += atOnce) {
      const count = Math.min(atOnce, rows - first), buffers = openBuffers(gpu);
      try {
        await tile(first, count, async (source, size) => {
          const result = buffers.scratch(size * 4, "result");
          await runWork(gpu, {
            pipeline,
            buffers: { 1: buffers.upload(source, "source"), 2: result },
            uniform: buffers.uniform(6),
            words: wordsOf(count, cols, words, bits),
            groups: Math.ceil(size / 64),
            operations: 64 * 16 * 8,
          });
          return await buffers.read(result, size * 4);
        });
      } finally {
        buffers.free();
      }
    }
  });
}
