// The block formats of GGUF: how llama.cpp stores weights, and their exact float32 values.
// Layouts: https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h. Every value equals the one that the Python
// package `gguf` computes, bit for bit: the products of a 16-bit scale and a small integer are exact, one rounding follows.
import { bfloatToFloat, DTYPES, halfToFloat } from "./dtype.ts";
import type { Floats } from "./tensor.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** One storage type of GGUF. */
export interface BlockType {
  readonly name: string;
  /** Weights a block; a tensor's rows are whole blocks. */
  readonly elements: number;
  /** Bytes a block. */
  readonly bytes: number;
  /** Writes blocks · elements floats to `out`; null where the lab cannot compute with the type. */
  readonly decode: ((b: Bytes, blocks: number, out: Floats) => void) | null;
}

/** All binary16 values by their bits: blocks hold single halves, which no typed array can convert one at a time. */
const HALF = halfToFloat(Uint16Array.from({ length: 65536 }, (_, i) => i));

function half(b: Bytes, at: number): number {
  return HALF[b[at] | (b[at + 1] << 8)];
}

/** d, then 32 signed bytes: w = d · q. */
function q8_0(b: Bytes, blocks: number, out: Floats): void {
  const signed = new Int8Array(b.buffer, b.byteOffset, b.length);
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 34, o += 32) {
    const d = half(b, at);
    for (let j = 0; j < 32; j++) out[o + j] = d * signed[at + 2 + j];
  }
}

/** d, then 16 bytes of nibbles, low ones first: w = d · (q − 8). */
function q4_0(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 18, o += 32) {
    const d = half(b, at);
    for (let j = 0; j < 16; j++) {
      const q = b[at + 2 + j];
      out[o + j] = d * ((q & 15) - 8);
      out[o + j + 16] = d * ((q >> 4) - 8);
    }
  }
}

/** d, m, nibbles: w = d · q + m. */
function q4_1(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 20, o += 32) {
    const d = half(b, at), m = half(b, at + 2);
    for (let j = 0; j < 16; j++) {
      const q = b[at + 4 + j];
      out[o + j] = d * (q & 15) + m;
      out[o + j + 16] = d * (q >> 4) + m;
    }
  }
}

/** d, 32 high bits, nibbles: w = d · (q − 16), q of 5 bits. */
function q5_0(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 22, o += 32) {
    const d = half(b, at), low = b[at + 2] | (b[at + 3] << 8), high = b[at + 4] | (b[at + 5] << 8);
    for (let j = 0; j < 16; j++) {
      const q = b[at + 6 + j];
      out[o + j] = d * (((q & 15) | (((low >> j) & 1) << 4)) - 16);
      out[o + j + 16] = d * (((q >> 4) | (((high >> j) & 1) << 4)) - 16);
    }
  }
}

/** d, m, 32 high bits, nibbles: w = d · q + m, q of 5 bits. */
function q5_1(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 24, o += 32) {
    const d = half(b, at), m = half(b, at + 2);
    const low = b[at + 4] | (b[at + 5] << 8), high = b[at + 6] | (b[at + 7] << 8);
    for (let j = 0; j < 16; j++) {
      const q = b[at + 8 + j];
      out[o + j] = d * ((q & 15) | (((low >> j) & 1) << 4)) + m;
      out[o + j + 16] = d * ((q >> 4) | (((high >> j) & 1) << 4)) + m;
    }
  }
}

// The K types: 256 weights a block, in 16 groups of 16 (Q2, Q3, Q6) or 8 of 32 (Q4, Q5), whose scales are small integers
// in units of the block's own d (and whose minima are in units of dmin).

/** 16 bytes of scale (low) and minimum (high nibble), 64 bytes of 2-bit codes, d, dmin: w = d · s · q − dmin · m. */
function q2_k(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 84) {
    const d = half(b, at + 80), dmin = half(b, at + 82);
    for (let group = 0; group < 16; group++, o += 16) {
      // Eight groups share 32 bytes: bit pairs 0, 2, 4, 6 in turn, each over both halves of the bytes.
      const s = d * (b[at + group] & 15), m = dmin * (b[at + group] >> 4);
      const q = at + 16 + (group >> 3) * 32 + (group & 1) * 16, shift = group & 6;
      for (let j = 0; j < 16; j++) out[o + j] = s * ((b[q + j] >> shift) & 3) - m;
    }
  }
}

/** 32 bytes of high bits, 64 of 2-bit codes, 12 of 6-bit scales, d: w = d · (s − 32) · (q − 4), q of 3 bits. */
function q3_k(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 110) {
    const d = half(b, at + 108), scales = at + 96;
    for (let group = 0; group < 16; group++, o += 16) {
      const nibble = group < 8 ? b[scales + group] & 15 : b[scales + group - 8] >> 4;
      const top = (b[scales + 8 + (group & 3)] >> ((group >> 2) * 2)) & 3;
      const s = d * ((nibble | (top << 4)) - 32);
      const q = at + 32 + (group >> 3) * 32 + (group & 1) * 16, shift = group & 6;
      const h = at + (group & 1) * 16, bit = group >> 1;
      for (let j = 0; j < 16; j++) {
        out[o + j] = s * (((b[q + j] >> shift) & 3) + ((b[h + j] >> bit) & 1) * 4 - 4);
      }
    }
  }
}

/** The 6-bit scale (or, `offset` 4, minimum) of group 0 … 7 out of the 12 bytes that Q4_K and Q5_K share. */
function sixBits(b: Bytes, at: number, group: number, offset: 0 | 4): number {
  if (group < 4) return b[at + group + offset] & 63;
  const nibble = offset === 0 ? b[at + group + 4] & 15 : b[at + group + 4] >> 4;
  return nibble | ((b[at + group - 4 + offset] >> 6) << 4);
}

/** d, dmin, 12 bytes of scales and minima, 128 of nibbles: w = d · s · q − dmin · m. */
function q4_k(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 144) {
    const d = half(b, at), dmin = half(b, at + 2);
    for (let group = 0; group < 8; group++, o += 32) {
      const s = d * sixBits(b, at + 4, group, 0), m = dmin * sixBits(b, at + 4, group, 4);
      const q = at + 16 + (group >> 1) * 32, shift = (group & 1) * 4;
      for (let j = 0; j < 32; j++) out[o + j] = s * ((b[q + j] >> shift) & 15) - m;
    }
  }
}

/** d, dmin, 12 bytes of scales and minima, 32 of high bits, 128 of nibbles: w = d · s · q − dmin · m, q of 5 bits. */
function q5_k(b: Bytes, blocks: number, out: Floats): void {
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 176) {
    const d = half(b, at), dmin = half(b, at + 2), h = at + 16;
    for (let group = 0; group < 8; group++, o += 32) {
      const s = d * sixBits(b, at + 4, group, 0), m = dmin * sixBits(b, at + 4, group, 4);
      const q = at + 48 + (group >> 1) * 32, shift = (group & 1) * 4;
      for (let j = 0; j < 32; j++) {
        out[o + j] = s * (((b[q + j] >> shift) & 15) | (((b[h + j] >> group) & 1) << 4)) - m;
      }
    }
  }
}

/** 128 bytes of nibbles, 64 of high bit pairs, 16 signed scales, d: w = d · s · (q − 32), q of 6 bits. */
function q6_k(b: Bytes, blocks: number, out: Floats): void {
  const signed = new Int8Array(b.buffer, b.byteOffset, b.length);
  for (let k = 0, at = 0, o = 0; k < blocks; k++, at += 210) {
    const d = half(b, at + 208);
    for (let group = 0; group < 16; group++, o += 16) {
      // In each half of the block: nibbles low, then high, over 64 bytes; bit pairs 0, 2, 4, 6 over 32 bytes.
      const part = group >> 3, within = group & 7, s = d * signed[at + 192 + group];
      const q = at + part * 64 + (within & 3) * 16, shift = (within >> 2) * 4;
      const h = at + 128 + part * 32 + (within & 1) * 16, pair = within & 6;
      for (let j = 0; j < 16; j++) {
        out[o + j] = s * ((((b[q + j] >> shift) & 15) | (((b[h + j] >> pair) & 3) << 4)) - 32);
      }
    }
  }
}

function plain(dtype: string): BlockType["decode"] {
  const decode = DTYPES.get(dtype)!.decode!;
  return (b, _blocks, out) => out.set(decode(b));
}

function bf16(b: Bytes, blocks: number, out: Floats): void {
  out.set(bfloatToFloat(new Uint16Array(b.slice().buffer, 0, blocks)));
}

/** [number in the file, name, elements a block, bytes a block, decoder]. Types without one are known by size alone. */
const ROWS: readonly [number, string, number, number, BlockType["decode"]?][] = [
  [0, "F32", 1, 4, plain("F32")],
  [1, "F16", 1, 2, plain("F16")],
  [2, "Q4_0", 32, 18, q4_0],
  [3, "Q4_1", 32, 20, q4_1],
  [6, "Q5_0", 32, 22, q5_0],
  [7, "Q5_1", 32, 24, q5_1],
  [8, "Q8_0", 32, 34, q8_0],
  [9, "Q8_1", 32, 40],
  [10, "Q2_K", 256, 84, q2_k],
  [11, "Q3_K", 256, 110, q3_k],
  [12, "Q4_K", 256, 144, q4_k],
  [13, "Q5_K", 256, 176, q5_k],
  [14, "Q6_K", 256, 210, q6_k],
  [15, "Q8_K", 256, 292],
  [16, "IQ2_XXS", 256, 66],
  [17, "IQ2_XS", 256, 74],
  [18, "IQ3_XXS", 256, 98],
  [19, "IQ1_S", 256, 50],
  [20, "IQ4_NL", 32, 18],
  [21, "IQ3_S", 256, 110],
  [22, "IQ2_S", 256, 82],
  [23, "IQ4_XS", 256, 136],
  [24, "I8", 1, 1, plain("I8")],
  [25, "I16", 1, 2, plain("I16")],
  [26, "I32", 1, 4, plain("I32")],
  [27, "I64", 1, 8, plain("I64")],
  [28, "F64", 1, 8, plain("F64")],
  [29, "IQ1_M", 256, 56],
  [30, "BF16", 1, 2, bf16],
  [34, "TQ1_0", 256, 54],
  [35, "TQ2_0", 256, 66],
  [39, "MXFP4", 32, 17],
];

/** The storage types by their number in the file. */
export const BLOCK_TYPES: ReadonlyMap<number, BlockType> = new Map(
  ROWS.map(([id, name, elements, bytes, decode]) => [id, { name, elements, bytes, decode: decode ?? null }]),
);

/**
 * The float32 values of whole blocks.
 *
 * @param type one of `BLOCK_TYPES` whose `decode` is not null.
 * @param bytes (blocks · type.bytes).
 * @returns (blocks · type.elements).
 * @throws RangeError where the bytes are not whole blocks.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { BLOCK_TYPES, dequantizeBlocks } from "./gguf_blocks.ts";
 * const block = new Uint8Array(18).fill(0x9f); // d, then the nibbles 15 (elements 0 to 15) and 9 (16 to 31)
 * block.set([0x00, 0x38]); // d = 0.5
 * const w = dequantizeBlocks(BLOCK_TYPES.get(2)!, block);
 * assert.deepEqual([w.length, w[0], w[16]], [32, 3.5, 0.5]);
 * ```
 */
export function dequantizeBlocks(type: BlockType, bytes: Bytes): Floats {
  const blocks = bytes.length / type.bytes;
  if (!Number.isInteger(blocks) || !type.decode) {
    throw new RangeError(`${bytes.length} bytes are not whole ${type.name} blocks that the lab can decode`);
  }
  const out = new Float32Array(blocks * type.elements);
  type.decode(bytes, blocks, out);
  return out;
}
