// safetensors (https://github.com/huggingface/safetensors, "Format"): eight bytes with the header's length N, N bytes of
// JSON, then the tensors' bytes back to back. Everything the header claims is checked before anything is allocated.
import { openFile, type RandomAccess } from "./bytes.ts";
import { decodeInts, type Dtype, DTYPES } from "./dtype.ts";
import { LabError } from "./errors.ts";
import { JsonNumber, JsonProblem, parseStrictJson, type StrictJson } from "./json.ts";
import type { TensorInfo, TensorSource } from "./source.ts";
import type { Tensor } from "./tensor.ts";

/** The reference reader's cap on the header, in bytes. */
const MAX_HEADER = 100_000_000;

/** An open safetensors file (or folder of shards): a TensorSource with the format's own string metadata and exact integers. */
export interface SafetensorsFile extends TensorSource {
  readonly metadata: ReadonlyMap<string, string>;
  /** An integer tensor, exact. Throws LabError where its type is not of integers or a value does not fit in 32 bits. */
  readInts(name: string): { data: Int32Array<ArrayBuffer>; shape: readonly number[] };
}

interface Entry extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

/**
 * Opens a safetensors file; reads and checks its header only.
 *
 * @param path the file.
 * @throws LabError("format") where the header breaks a rule, LabError("storage") where the file cannot be read.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openSafetensors } from "./safetensors.ts";
 * import { writeSafetensors } from "./safetensors_write.ts";
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, [{ name: "w", dtype: "F16", shape: [2], data: [1, -0.5] }], { made: "by hand" });
 * const file = openSafetensors(path);
 * assert.deepEqual([...(await file.read("w")).data], [1, -0.5]);
 * assert.equal(file.metadata.get("made"), "by hand");
 * file.close();
 * await Deno.remove(path);
 * ```
 */
export function openSafetensors(path: string): SafetensorsFile {
  const access = openFile(path);
  try {
    return readSafetensors(access);
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
 * import { readSafetensors } from "./safetensors.ts";
 * const empty = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d); // N = 2, "{}"
 * assert.equal(readSafetensors(openMemory("empty", empty)).tensors.size, 0);
 * ```
 */
export function readSafetensors(access: RandomAccess): SafetensorsFile {
  const { label } = access;
  const { tensors, metadata } = parseHeader(access);
  const find = (name: string): { entry: Entry; dtype: Dtype } => {
    const entry = tensors.get(name);
    if (!entry) throw missingTensor(label, name, tensors.keys());
    return { entry, dtype: DTYPES.get(entry.dtype)! };
  };
  const bytesOf = (entry: Entry) => access.read(entry.begin, entry.bytes);
  // deno-lint-ignore require-await
  const read = async (name: string): Promise<Tensor> => {
    const { entry, dtype } = find(name);
    if (!dtype.decode) throw unreadable(label, name, dtype.name);
    return { data: dtype.decode(bytesOf(entry)), shape: entry.shape };
  };
  return {
    label,
    tensors,
    metadata,
    read,
    // deno-lint-ignore require-await
    readBytes: async (name) => bytesOf(find(name).entry),
    readInts(name) {
      const { entry, dtype } = find(name);
      if (!dtype.range) {
        throw new LabError("format", `${label}: ${name}`, `holds ${dtype.name} where integers were expected`);
      }
      const data = decodeInts(dtype, bytesOf(entry));
      if (typeof data === "number") {
        throw new LabError("format", `${label}: ${name}`, `its value at index ${data} does not fit in 32 bits`);
      }
      return { data, shape: entry.shape };
    },
    sha256: () => access.sha256(),
    close: () => access.close(),
  };
}

/** The error for a name that a source does not have; lists what it has. Shared by every reader. */
export function missingTensor(label: string, name: string, present: Iterable<string>): LabError {
  const names = [...present];
  const shown = names.slice(0, 8).join(", ") + (names.length > 8 ? `, … (${names.length} in all)` : "");
  return new LabError("format", label, `has no tensor "${name}"`, names.length ? `It has ${shown}.` : "It has none.");
}

function unreadable(label: string, name: string, dtype: string): LabError {
  const known = [...DTYPES.values()].filter((d) => d.decode).map((d) => d.name).join(", ");
  return new LabError("format", `${label}: ${name}`, `is stored as ${dtype}`, `The lab computes with ${known}.`);
}

function parseHeader(access: RandomAccess): { tensors: Map<string, Entry>; metadata: Map<string, string> } {
  const { label, size } = access;
  const fail = (problem: string, cause?: unknown): never => {
    const hint = "It is no whole safetensors file: fetch or make it again.";
    throw new LabError("format", label, problem, hint, cause === undefined ? undefined : { cause });
  };
  if (size < 8) fail(`is ${size} bytes long, a safetensors file has at least 8`);
  const declared = new DataView(access.read(0, 8).buffer).getBigUint64(0, true);
  if (declared > BigInt(MAX_HEADER)) {
    fail(`declares a header of ${declared} bytes, more than the ${MAX_HEADER} allowed`);
  }
  const length = Number(declared);
  if (8 + length > size) fail(`declares a header of ${length} bytes in a file of ${size}`);
  let json: StrictJson = null;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(access.read(8, length));
    json = parseStrictJson(text);
  } catch (cause) {
    if (cause instanceof JsonProblem) fail(`its header is not strict JSON: ${cause.message}`, cause);
    if (cause instanceof TypeError) fail("its header is not UTF-8", cause);
    throw cause;
  }
  if (!(json instanceof Map)) return fail("its header is not a JSON object");

  const metadata = new Map<string, string>(), entries: Entry[] = [], base = 8 + length;
  for (const [name, value] of json) {
    if (!(value instanceof Map)) return fail(`the entry of ${JSON.stringify(name)} is not an object`);
    if (name === "__metadata__") {
      for (const [key, text] of value) {
        if (typeof text !== "string") return fail(`the metadata of ${JSON.stringify(key)} is not a string`);
        metadata.set(key, text);
      }
    } else entries.push(parseEntry(name, value, base, size, fail));
  }

  let at = base;
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  for (const { name, begin, end } of entries) {
    if (begin > at) fail(`${begin - at} bytes before tensor ${JSON.stringify(name)} belong to no tensor`);
    if (begin < at) fail(`tensor ${JSON.stringify(name)} overlaps the one before it by ${at - begin} bytes`);
    at = end;
  }
  if (at !== size) fail(`${size - at} bytes after the last tensor belong to no tensor`);
  return { tensors: new Map(entries.map((e) => [e.name, e])), metadata };
}

function parseEntry(
  name: string,
  entry: Map<string, StrictJson>,
  base: number,
  size: number,
  fail: (problem: string) => never,
): Entry {
  const of = `of tensor ${JSON.stringify(name)}`;
  const integers = (key: string): number[] => {
    const list = entry.get(key);
    if (!Array.isArray(list)) return fail(`${key} ${of} is not a list`);
    return list.map((x) => {
      const text = x instanceof JsonNumber ? x.text : JSON.stringify(x);
      if (!(x instanceof JsonNumber) || !/^(0|[1-9][0-9]*)$/.test(text)) {
        return fail(`${key} ${of} holds ${text}, not an integer of 0 or more`);
      }
      const value = Number(text);
      return value <= Number.MAX_SAFE_INTEGER ? value : fail(`${key} ${of} holds ${text}, more than 2^53 − 1`);
    });
  };
  const word = entry.get("dtype");
  if (typeof word !== "string") return fail(`dtype ${of} is not a string`);
  const dtype = DTYPES.get(word);
  if (!dtype) return fail(`dtype ${of} is ${JSON.stringify(word)}, which is none of ${[...DTYPES.keys()].join(", ")}`);
  const shape = integers("shape"), span = integers("data_offsets");
  if (span.length !== 2) return fail(`data_offsets ${of} has ${span.length} values instead of 2`);
  const [begin, end] = span;
  if (begin > end) return fail(`data_offsets ${of} end (${end}) before they begin (${begin})`);
  if (base + end > size) {
    return fail(`data_offsets ${of} end at ${end}, the file holds ${size - base} bytes of tensors`);
  }
  const dims = shape.slice(0, 8).join(", ") + (shape.length > 8 ? ", …" : "");
  const claim = `tensor ${JSON.stringify(name)} ${word} [${dims}]`;
  let bytes = dtype.size;
  for (const d of shape) {
    bytes *= d; // exact up to the check, whatever the next factor
    if (bytes > Number.MAX_SAFE_INTEGER) return fail(`${claim} has more than 2^53 − 1 bytes`);
  }
  if (bytes !== end - begin) return fail(`${claim} needs ${bytes} bytes, its span has ${end - begin}`);
  return { name, dtype: word, shape, bytes: end - begin, begin: base + begin, end: base + end };
}
