// GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little-endian: typed metadata, tensor
// infos, aligned data. One rule keeps every damaged file harmless: a declared size is compared with the bytes that are
// there before anything is allocated or looped over.
import { openFile, type RandomAccess } from "./bytes.ts";
import { LabError } from "./errors.ts";
import { BLOCK_TYPES, type BlockType, dequantizeBlocks } from "./gguf_blocks.ts";
import { missingTensor } from "./safetensors.ts";
import type { TensorInfo, TensorSource } from "./source.ts";

/** A metadata value. Integers of 64 bits are numbers where a number holds them exactly. */
export type GgufValue = number | bigint | boolean | string | GgufArray;
export type GgufArray =
  | readonly string[]
  | readonly boolean[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array;

/** An open GGUF file under its own tensor names. */
export interface GgufFile extends TensorSource {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Dequantizes bytes of this tensor that are whole blocks, in whatever order the caller put them. */
  decode(name: string, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer>;
}

interface Entry extends TensorInfo {
  readonly type: BlockType;
  readonly begin: number;
}

const MAX_NAME = 65535; // bytes of a key or a tensor's name
const MAX_DIMS = 4;
const WINDOW = 1 << 20; // bytes read at once while parsing

/** Value types by number: the smallest number of bytes one value takes, and its array's kind (null: read one by one). */
const SCALARS = [
  { bytes: 1, array: Uint8Array },
  { bytes: 1, array: Int8Array },
  { bytes: 2, array: Uint16Array },
  { bytes: 2, array: Int16Array },
  { bytes: 4, array: Uint32Array },
  { bytes: 4, array: Int32Array },
  { bytes: 4, array: Float32Array },
  { bytes: 1, array: null }, // bool
  { bytes: 8, array: null }, // string: at least its length
  null, // array
  { bytes: 8, array: BigUint64Array },
  { bytes: 8, array: BigInt64Array },
  { bytes: 8, array: Float64Array },
] as const;
const BOOL = 7, STRING = 8, ARRAY = 9, UINT32 = 4;

/**
 * Opens a GGUF file; reads and checks its metadata and tensor infos only.
 *
 * @param path the file; of a split model only the single file form is read.
 * @throws LabError("format") where the file breaks a rule, LabError("storage") where it cannot be read.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGguf } from "./gguf.ts";
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "GGML");
 * assert.throws(() => openGguf(path), /is 4 bytes long/);
 * await Deno.remove(path);
 * ```
 */
export function openGguf(path: string): GgufFile {
  const access = openFile(path);
  try {
    return readGguf(access);
  } catch (error) {
    access.close();
    throw error;
  }
}

/**
 * The same over any bytes; `close` closes them.
 *
 * @throws LabError("format").
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openMemory } from "./bytes.ts";
 * import { readGguf } from "./gguf.ts";
 * const empty = new Uint8Array(24); // "GGUF", version 3, no tensors, no keys
 * empty.set([0x47, 0x47, 0x55, 0x46, 3]);
 * assert.equal(readGguf(openMemory("empty", empty)).tensors.size, 0);
 * ```
 */
export function readGguf(access: RandomAccess): GgufFile {
  const { label } = access;
  const { version, metadata, tensors } = parse(access);
  const find = (name: string): Entry => {
    const entry = tensors.get(name);
    if (!entry) throw missingTensor(label, name, tensors.keys());
    return entry;
  };
  const decode = (name: string, bytes: Uint8Array<ArrayBuffer>) => {
    const { type } = find(name);
    if (!type.decode) {
      const known = [...BLOCK_TYPES.values()].filter((t) => t.decode).map((t) => t.name).join(", ");
      throw new LabError("format", `${label}: ${name}`, `is stored as ${type.name}`, `The lab reads ${known}.`);
    }
    return dequantizeBlocks(type, bytes);
  };
  const bytesOf = ({ begin, bytes }: Entry) => access.read(begin, bytes);
  return {
    label,
    version,
    metadata,
    tensors,
    decode,
    // deno-lint-ignore require-await
    read: async (name) => {
      const entry = find(name);
      return { data: decode(name, bytesOf(entry)), shape: entry.shape };
    },
    // deno-lint-ignore require-await
    readBytes: async (name) => bytesOf(find(name)),
    sha256: () => access.sha256(),
    close: () => access.close(),
  };
}

/** Reads forward through the bytes, a window at a time; refuses to go past the end before it allocates. */
class Cursor {
  at = 0;
  private window = new Uint8Array(0);
  private view = new DataView(this.window.buffer);
  private start = 0;
  private readonly text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(private readonly access: RandomAccess) {}

  get remaining(): number {
    return this.access.size - this.at;
  }

  fail(problem: string): never {
    throw new LabError(
      "format",
      this.access.label,
      problem,
      "It is no whole GGUF file of version 2 or 3: fetch it again.",
    );
  }

  /** Moves over `n` bytes that are in the window afterwards; the offset of the first in it. */
  private take(n: number, what: string): number {
    if (n > this.remaining) this.fail(`${what} needs ${n} bytes at ${this.at}, the file ends after ${this.remaining}`);
    if (this.at - this.start + n > this.window.length) {
      this.start = this.at;
      this.window = this.access.read(this.at, Math.min(Math.max(n, WINDOW), this.remaining));
      this.view = new DataView(this.window.buffer);
    }
    const offset = this.at - this.start;
    this.at += n;
    return offset;
  }

  u32(what: string): number {
    const offset = this.take(4, what);
    return this.view.getUint32(offset, true);
  }

  /** A count or length; `each` is the least number of bytes that one of them takes in what follows. */
  count(what: string, each: number): number {
    const offset = this.take(8, what), n = this.view.getBigUint64(offset, true);
    if (n > BigInt(Math.floor(this.remaining / each))) {
      this.fail(`${what} is ${n}, too many for the ${this.remaining} bytes that follow`);
    }
    return Number(n);
  }

  u64(what: string): number {
    const offset = this.take(8, what), n = this.view.getBigUint64(offset, true);
    if (n > BigInt(Number.MAX_SAFE_INTEGER)) this.fail(`${what} is ${n}, more than 2^53 − 1`);
    return Number(n);
  }

  bytes(n: number, what: string): Uint8Array<ArrayBuffer> {
    const offset = this.take(n, what);
    return this.window.slice(offset, offset + n);
  }

  string(what: string, limit = Infinity): string {
    const n = this.count(`the length of ${what}`, 1);
    if (n > limit) this.fail(`${what} is ${n} bytes long, more than the ${limit} allowed`);
    const offset = this.take(n, what);
    try {
      return this.text.decode(this.window.subarray(offset, offset + n));
    } catch {
      return this.fail(`${what} is not UTF-8`);
    }
  }

  bool(what: string): boolean {
    const offset = this.take(1, what), byte = this.view.getUint8(offset);
    return byte <= 1 ? byte === 1 : this.fail(`${what} is ${byte}, neither true nor false`);
  }
}

function parse(
  access: RandomAccess,
): { version: number; metadata: Map<string, GgufValue>; tensors: Map<string, Entry> } {
  const cursor = new Cursor(access);
  if (access.size < 24) cursor.fail(`is ${access.size} bytes long, a GGUF file has at least 24`);
  const magic = cursor.u32("the magic word");
  if (magic !== 0x46554747) cursor.fail(`does not begin with "GGUF"`);
  const version = cursor.u32("the version");
  if (version !== 2 && version !== 3) {
    const swapped = version === 0x03000000 || version === 0x02000000;
    cursor.fail(swapped ? "is a big-endian GGUF file" : `has version ${version}`);
  }
  const tensorCount = cursor.count("the number of tensors", 8 + 1 + 4 + 4 + 8);
  const keyCount = cursor.count("the number of keys", 8 + 1 + 4 + 1);

  const metadata = new Map<string, GgufValue>(), types = new Map<string, number>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string(`the name of key ${i}`, MAX_NAME);
    if (key === "") cursor.fail(`the name of key ${i} is empty`);
    if (metadata.has(key)) cursor.fail(`the key "${key}" appears twice`);
    const type = cursor.u32(`the type of "${key}"`);
    metadata.set(key, readValue(cursor, type, `"${key}"`));
    types.set(key, type);
  }

  const alignment = metadata.get("general.alignment") ?? 32;
  if (metadata.has("general.alignment") && types.get("general.alignment") !== UINT32) {
    cursor.fail(`"general.alignment" is not an unsigned integer of 32 bits`);
  }
  if (typeof alignment !== "number" || alignment < 1 || (alignment & (alignment - 1)) !== 0) {
    return cursor.fail(`"general.alignment" is ${alignment}, not a power of 2`);
  }

  const found: Entry[] = [], names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const entry = readTensorInfo(cursor, i);
    if (names.has(entry.name)) cursor.fail(`two tensors are named "${entry.name}"`);
    names.add(entry.name);
    found.push(entry);
  }
  const base = Math.ceil(cursor.at / alignment) * alignment;
  return { version, metadata, tensors: place(cursor, access.size, found, base, alignment) };
}

function readValue(cursor: Cursor, type: number, what: string): GgufValue {
  if (type === STRING) return cursor.string(what);
  if (type === BOOL) return cursor.bool(what);
  if (type === ARRAY) return readArray(cursor, what);
  const scalar = SCALARS[type];
  if (!scalar?.array) return cursor.fail(`${what} has the unknown type ${type}`);
  const value = new scalar.array(cursor.bytes(scalar.bytes, what).buffer)[0];
  return typeof value === "bigint" && BigInt(Number(value)) === value && Number.isSafeInteger(Number(value))
    ? Number(value)
    : value;
}

function readArray(cursor: Cursor, what: string): GgufArray {
  const type = cursor.u32(`the element type of ${what}`);
  if (type === ARRAY) cursor.fail(`${what} is an array of arrays`);
  const scalar = SCALARS[type];
  if (!scalar) return cursor.fail(`${what} is an array of the unknown type ${type}`);
  const n = cursor.count(`the length of ${what}`, scalar.bytes);
  if (scalar.array) return new scalar.array(cursor.bytes(n * scalar.bytes, what).buffer);
  if (type === BOOL) {
    const list: boolean[] = [];
    for (let i = 0; i < n; i++) list.push(cursor.bool(`element ${i} of ${what}`));
    return list;
  }
  const list: string[] = [];
  for (let i = 0; i < n; i++) list.push(cursor.string(`element ${i} of ${what}`));
  return list;
}

/** The info of tensor `index`, its `begin` still relative to the start of the data. */
function readTensorInfo(cursor: Cursor, index: number): Entry {
  const name = cursor.string(`the name of tensor ${index}`, MAX_NAME);
  if (name === "") cursor.fail(`the name of tensor ${index} is empty`);
  const rank = cursor.u32(`the rank of "${name}"`);
  if (rank > MAX_DIMS) cursor.fail(`"${name}" has ${rank} dimensions, more than ${MAX_DIMS}`);
  const shape: number[] = [];
  let elements = 1;
  for (let d = 0; d < rank; d++) {
    const size = cursor.u64(`a dimension of "${name}"`);
    if (size === 0) cursor.fail(`"${name}" has a dimension of 0`);
    elements *= size; // exact up to the check
    if (elements > Number.MAX_SAFE_INTEGER) cursor.fail(`"${name}" has more than 2^53 − 1 elements`);
    shape.unshift(size); // the file names the fastest dimension first
  }
  const id = cursor.u32(`the type of "${name}"`), type = BLOCK_TYPES.get(id);
  if (!type) return cursor.fail(`"${name}" has the unknown type ${id}`);
  const row = shape.at(-1) ?? 1;
  if (row % type.elements !== 0) {
    cursor.fail(`"${name}" has rows of ${row}, ${type.name} stores blocks of ${type.elements}`);
  }
  const bytes = elements / type.elements * type.bytes;
  return { name, dtype: type.name, shape, bytes, type, begin: cursor.u64(`the offset of "${name}"`) };
}

/** Moves the tensors to their place in the file; each is aligned, inside the file, and shares no byte with another. */
function place(
  cursor: Cursor,
  size: number,
  found: readonly Entry[],
  base: number,
  alignment: number,
): Map<string, Entry> {
  const placed: Entry[] = [];
  for (const entry of found) {
    const { name, begin, bytes } = entry;
    if (begin % alignment !== 0) cursor.fail(`"${name}" begins at ${begin}, not a multiple of ${alignment}`);
    if (bytes > size || begin > size || base + begin + bytes > size) {
      cursor.fail(`"${name}" needs ${bytes} bytes at ${base + begin}, the file ends at ${size}`);
    }
    placed.push({ ...entry, begin: base + begin });
  }
  const sorted = placed.toSorted((a, b) => a.begin - b.begin);
  for (let i = 1; i < sorted.length; i++) {
    const before = sorted[i - 1];
    if (before.begin + before.bytes > sorted[i].begin) cursor.fail(`"${before.name}" and "${sorted[i].name}" overlap`);
  }
  return new Map(placed.map((entry) => [entry.name, entry]));
}
