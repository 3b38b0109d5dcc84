// Number formats of weight files and their exact conversion to and from float32.
// Little-endian throughout, as the files, WebGPU and every machine that Deno runs on.
import type { Floats } from "./tensor.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Numbers = ArrayLike<number>;

/** One number format: its size and its two conversions (null where the lab only carries the bytes). */
export interface Dtype {
  readonly name: string;
  /** Bytes an element. */
  readonly size: number;
  /** The smallest and the largest whole number it holds (of 64 bits: those a JavaScript number holds exactly); null for floats. */
  readonly range: readonly [number, number] | null;
  /** Bytes (n · size) to float32 (n); wider formats round to nearest, ties to even. */
  readonly decode: ((bytes: Bytes) => Floats) | null;
  /** Numbers (n) to bytes (n · size); floats round to nearest, ties to even; integers must be in range. */
  readonly encode: ((values: Numbers) => Bytes) | null;
}

/** The elements of `bytes` as an array of the given kind; copies where the bytes do not start on a boundary. */
function view<T>(
  kind: { new (buffer: ArrayBuffer, offset: number, length: number): T; BYTES_PER_ELEMENT: number },
  bytes: Bytes,
): T {
  const aligned = bytes.byteOffset % kind.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new kind(aligned.buffer, aligned.byteOffset, Math.floor(bytes.length / kind.BYTES_PER_ELEMENT));
}

function raw(array: { buffer: ArrayBuffer; byteOffset: number; byteLength: number }): Bytes {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Shares the caller's memory where it can: float32 bytes *are* the tensor. */
const decodeF32 = (bytes: Bytes): Floats => view(Float32Array, bytes) as Floats;

/**
 * Binary16 to float32, exact: every one of the 65,536 patterns has a float32.
 *
 * @param bits (n) the patterns.
 * @returns (n) their values; NaN stays NaN.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { halfToFloat } from "./dtype.ts";
 * assert.deepEqual([...halfToFloat(Uint16Array.of(0x3c00, 0x0001, 0xfc00))], [1, 2 ** -24, -Infinity]);
 * ```
 */
export function halfToFloat(bits: Uint16Array<ArrayBuffer>): Floats {
  return new Float32Array(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
}

/**
 * Numbers to binary16: to nearest, ties to even; subnormals kept, beyond 65,519.99 infinite.
 *
 * @param values (n).
 * @returns (n) the patterns.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { floatToHalf } from "./dtype.ts";
 * assert.deepEqual([...floatToHalf([1, 2049, 2051, 65520])], [0x3c00, 0x6800, 0x6802, 0x7c00]);
 * ```
 */
export function floatToHalf(values: Numbers): Uint16Array<ArrayBuffer> {
  return new Uint16Array(new Float16Array(values).buffer);
}

/**
 * bfloat16 to float32, exact: the upper half of its bits.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { bfloatToFloat } from "./dtype.ts";
 * assert.deepEqual([...bfloatToFloat(Uint16Array.of(0x3f80, 0xc020))], [1, -2.5]);
 * ```
 */
export function bfloatToFloat(bits: Uint16Array<ArrayBuffer>): Floats {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = bits[i] << 16;
  return new Float32Array(out.buffer);
}

/**
 * Numbers to bfloat16 by way of float32: to nearest, ties to even; a NaN keeps its sign and stays NaN.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { floatToBfloat } from "./dtype.ts";
 * assert.deepEqual([...floatToBfloat([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8])], [0x3f80, 0x3f80, 0x3f82]);
 * ```
 */
export function floatToBfloat(values: Numbers): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(new Float32Array(values).buffer), out = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i];
    // A NaN whose payload sits in the lower half would round to infinity: set the quiet bit instead.
    out[i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return out;
}

function decodeBigInts(bytes: Bytes, signed: boolean): Floats {
  const values = signed ? view(BigInt64Array, bytes) : view(BigUint64Array, bytes);
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = Number(values[i]); // rounds twice beyond 2^53: weights never get there
  return out;
}

function encodeBigInts(values: Numbers): Bytes {
  const out = new BigInt64Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = BigInt(values[i]);
  return raw(out);
}

function decodeBool(bytes: Bytes): Floats {
  const out = new Float32Array(bytes.length);
  for (let i = 0; i < out.length; i++) out[i] = bytes[i] === 0 ? 0 : 1;
  return out;
}

const float = (name: string, size: number, decode: Dtype["decode"], encode: Dtype["encode"]): Dtype => {
  return { name, size, range: null, decode, encode };
};
const integer = (name: string, size: number, decode: Dtype["decode"], encode: Dtype["encode"]): Dtype => {
  const span = 2 ** (8 * size), signed = name.startsWith("I");
  const [low, high] = name === "BOOL" ? [0, 1] : signed ? [-span / 2, span / 2 - 1] : [0, span - 1];
  const range = [Math.max(low, Number.MIN_SAFE_INTEGER), Math.min(high, Number.MAX_SAFE_INTEGER)] as const;
  return { name, size, range, decode, encode };
};

/** The formats of safetensors by their names; those of whole bytes that the lab does not compute with carry no conversion. */
export const DTYPES: ReadonlyMap<string, Dtype> = new Map([
  float("F64", 8, (b) => new Float32Array(view(Float64Array, b)), (v) => raw(new Float64Array(v))),
  float("F32", 4, decodeF32, (v) => raw(v instanceof Float32Array ? v as Floats : new Float32Array(v))),
  float("F16", 2, (b) => halfToFloat(view(Uint16Array, b) as Uint16Array<ArrayBuffer>), (v) => raw(floatToHalf(v))),
  float(
    "BF16",
    2,
    (b) => bfloatToFloat(view(Uint16Array, b) as Uint16Array<ArrayBuffer>),
    (v) => raw(floatToBfloat(v)),
  ),
  integer("I64", 8, (b) => decodeBigInts(b, true), encodeBigInts),
  integer("I32", 4, (b) => new Float32Array(view(Int32Array, b)), (v) => raw(new Int32Array(v))),
  integer("I16", 2, (b) => new Float32Array(view(Int16Array, b)), (v) => raw(new Int16Array(v))),
  integer("I8", 1, (b) => new Float32Array(view(Int8Array, b)), (v) => raw(new Int8Array(v))),
  integer("U8", 1, (b) => new Float32Array(b), (v) => raw(new Uint8Array(v))),
  integer("BOOL", 1, decodeBool, (v) => raw(new Uint8Array(v))),
  integer("U16", 2, (b) => new Float32Array(view(Uint16Array, b)), (v) => raw(new Uint16Array(v))),
  integer("U32", 4, (b) => new Float32Array(view(Uint32Array, b)), (v) => raw(new Uint32Array(v))),
  integer("U64", 8, (b) => decodeBigInts(b, false), encodeBigInts),
  float("C64", 8, null, null),
  float("F8_E4M3", 1, null, null),
  float("F8_E5M2", 1, null, null),
  float("F8_E8M0", 1, null, null),
].map((d) => [d.name, d]));

/**
 * Integer bytes as Int32, exact.
 *
 * @param dtype one of the integer formats.
 * @param bytes (n · size).
 * @returns (n) values, or the index of the first that does not fit in 32 bits.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decodeInts, DTYPES } from "./dtype.ts";
 * const bytes = new Uint8Array(BigInt64Array.of(-7n, 2n ** 31n).buffer);
 * assert.deepEqual(decodeInts(DTYPES.get("I64")!, bytes.subarray(0, 8)), Int32Array.of(-7));
 * assert.equal(decodeInts(DTYPES.get("I64")!, bytes), 1);
 * ```
 */
export function decodeInts(dtype: Dtype, bytes: Bytes): Int32Array<ArrayBuffer> | number {
  if (dtype.name === "I32") return view(Int32Array, bytes) as Int32Array<ArrayBuffer>;
  if (dtype.size === 8) {
    const wide = dtype.name === "I64" ? view(BigInt64Array, bytes) : view(BigUint64Array, bytes);
    const out = new Int32Array(wide.length);
    for (let i = 0; i < out.length; i++) {
      out[i] = Number(wide[i]);
      if (BigInt(out[i]) !== wide[i]) return i;
    }
    return out;
  }
  if (dtype.name === "U32") {
    const wide = view(Uint32Array, bytes), bad = wide.findIndex((x) => x > 0x7fffffff);
    return bad < 0 ? new Int32Array(wide) : bad;
  }
  return Int32Array.from(dtype.decode!(bytes)); // 16 bits and fewer are exact in float32
}
