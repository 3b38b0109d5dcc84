// GGUF files by hand.

/** Bytes put one after another, little-endian. */
export class Bytes {
  private readonly parts: number[] = [];

  get length(): number {
    return this.parts.length;
  }
  raw(...bytes: number[]): this {
    for (const b of bytes) this.parts.push(b & 255);
    return this;
  }
  u32(...values: number[]): this {
    for (const v of values) this.raw(v, v >>> 8, v >>> 16, v >>> 24);
    return this;
  }
  u64(...values: (number | bigint)[]): this {
    for (const v of values) {
      const b = BigInt.asUintN(64, BigInt(v));
      this.u32(Number(b & 0xffffffffn), Number(b >> 32n));
    }
    return this;
  }
  f32(...values: number[]): this {
    return this.raw(...new Uint8Array(Float32Array.from(values).buffer));
  }
  string(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.u64(bytes.length).raw(...bytes);
  }
  pad(multiple: number): this {
    while (this.parts.length % multiple !== 0) this.parts.push(0);
    return this;
  }
  done(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.parts);
  }
}

export const TYPES = {
  U8: 0,
  I8: 1,
  U16: 2,
  I16: 3,
  U32: 4,
  I32: 5,
  F32: 6,
  BOOL: 7,
  STRING: 8,
  ARRAY: 9,
  U64: 10,
  I64: 11,
  F64: 12,
};

/** "GGUF", a version, the number of tensors, the number of keys. */
export function head(tensors: number | bigint, keys: number | bigint, version = 3): Bytes {
  return new Bytes().raw(0x47, 0x47, 0x55, 0x46).u32(version).u64(tensors, keys);
}

export interface TensorBytes {
  name: string;
  /** As the file names it: fastest dimension first. */
  dims: (number | bigint)[];
  type: number;
  data: ArrayLike<number>;
  offset?: number | bigint;
}

/** A file of keys (each written by a function) and tensors laid out one after another. */
export function ggufBytes(
  keys: ((b: Bytes) => unknown)[],
  tensors: TensorBytes[],
  { alignment = 32, version = 3 } = {},
): Uint8Array<ArrayBuffer> {
  const b = head(tensors.length, keys.length, version);
  for (const key of keys) key(b);
  let at = 0;
  for (const { name, dims, type, data, offset } of tensors) {
    b.string(name).u32(dims.length).u64(...dims).u32(type).u64(offset ?? at);
    at = Math.ceil((at + data.length) / alignment) * alignment;
  }
  for (const { data } of tensors) b.pad(alignment).raw(...Array.from(data));
  return b.done();
}

/** A key with a text, an unsigned integer, a float, or a list of texts, integers or floats. */
export function key(
  name: string,
  value: string | boolean | { u32: number } | { f32: number } | string[] | Int32Array | Float32Array,
) {
  return (b: Bytes) => {
    b.string(name);
    if (typeof value === "string") b.u32(TYPES.STRING).string(value);
    else if (typeof value === "boolean") b.u32(TYPES.BOOL).raw(value ? 1 : 0);
    else if ("u32" in value) b.u32(TYPES.U32, value.u32);
    else if ("f32" in value) b.u32(TYPES.F32).f32(value.f32);
    else if (value instanceof Int32Array) b.u32(TYPES.ARRAY, TYPES.I32).u64(value.length).u32(...value);
    else if (value instanceof Float32Array) b.u32(TYPES.ARRAY, TYPES.F32).u64(value.length).f32(...value);
    else {
      b.u32(TYPES.ARRAY, TYPES.STRING).u64(value.length);
      for (const text of value) b.string(text);
    }
  };
}
