// Writes safetensors files that Python's library reads: checked before the first byte, under a temporary name until whole.
import { basename } from "node:path";
import { atomicWrite, writeAll } from "./atomic.ts";
import { type Dtype, DTYPES } from "./dtype.ts";
import { LabError } from "./errors.ts";

type Lazy<T> = T | (() => T | Promise<T>);

/** One tensor to write: its `bytes` as they shall lie in the file, or its `data` as numbers to convert to `dtype`. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Functions are called when the tensor's turn comes, so that a model larger than memory can be written. */
  readonly bytes?: Lazy<Uint8Array>;
  readonly data?: Lazy<ArrayLike<number>>;
}

/**
 * Writes a safetensors file: a header padded with spaces to a multiple of 8, wide types first (so that each tensor is
 * aligned), then by name; the same tensors give the same bytes in whatever order they come.
 *
 * @param path is replaced only when everything is on disk.
 * @param tensors any of `DTYPES`; float data rounds to nearest, ties to even.
 * @param metadata strings, kept under `__metadata__`.
 * @throws LabError("input") for two equal names, an unknown type or data that do not fit the shape;
 *   LabError("storage") for a full disk or a folder that cannot be written.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openSafetensors } from "./safetensors.ts";
 * import { writeSafetensors } from "./safetensors_write.ts";
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, [{ name: "ids", dtype: "I32", shape: [3], data: Int32Array.of(3, 1, 2) }]);
 * const file = openSafetensors(path);
 * assert.deepEqual(file.readInts("ids").data, Int32Array.of(3, 1, 2));
 * file.close();
 * await Deno.remove(path);
 * ```
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const label = basename(path), list = [...tensors].map((tensor) => plan(label, tensor));
  list.sort((a, b) => b.dtype.size - a.dtype.size || (a.tensor.name < b.tensor.name ? -1 : 1));
  // A Map and a list of pairs, because a plain object loses the key "__proto__" and reorders keys such as "7".
  const pairs: string[] = [], seen = new Set<string>();
  if (Object.keys(metadata).length > 0) pairs.push(`"__metadata__":${JSON.stringify(checkMetadata(label, metadata))}`);
  let at = 0;
  for (const { tensor: { name, dtype, shape }, size } of list) {
    if (seen.has(name)) throw new LabError("input", label, `two tensors are named "${name}"`);
    seen.add(name);
    pairs.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, at + size] })}`);
    at += size;
  }
  const json = new TextEncoder().encode(`{${pairs.join(",")}}`);
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  await atomicWrite(path, async (file) => {
    await writeAll(file, header);
    for (const item of list) await writeAll(file, await bytesOf(label, item));
  });
}

interface Planned {
  readonly tensor: TensorToWrite;
  readonly dtype: Dtype;
  readonly elements: number;
  readonly size: number;
}

function plan(label: string, tensor: TensorToWrite): Planned {
  const { name, shape } = tensor, dtype = DTYPES.get(tensor.dtype);
  const fail = (problem: string): never => {
    throw new LabError("input", `${label}: ${name}`, problem);
  };
  if (!dtype) return fail(`cannot be stored as "${tensor.dtype}", which is none of ${[...DTYPES.keys()].join(", ")}`);
  if (name === "__metadata__") fail("is the format's own key, not a tensor's name");
  if (!name.isWellFormed()) fail("its name is not well-formed Unicode");
  const elements = shape.reduce((product, d) => product * d, 1);
  if (!shape.every((d) => Number.isSafeInteger(d) && d >= 0) || !Number.isSafeInteger(elements * dtype.size)) {
    fail(`has no valid shape [${shape.join(", ")}]`);
  }
  if ((tensor.bytes === undefined) === (tensor.data === undefined)) fail("needs either bytes or data");
  if (tensor.data !== undefined && !dtype.encode) fail(`can be stored as ${dtype.name} only from bytes`);
  return { tensor, dtype, elements, size: elements * dtype.size };
}

function checkMetadata(label: string, metadata: Readonly<Record<string, string>>): Record<string, string> {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") throw new LabError("input", label, `the metadata of "${key}" is not a string`);
  }
  return metadata;
}

function checkIntegers(label: string, t: TensorToWrite, v: ArrayLike<number>, [low, high]: readonly [number, number]) {
  for (let i = 0; i < v.length; i++) {
    if (Number.isInteger(v[i]) && v[i] >= low && v[i] <= high) continue;
    throw new LabError("input", `${label}: ${t.name}`, `${v[i]} at index ${i} is no integer that ${t.dtype} can hold`);
  }
}

async function bytesOf(label: string, { tensor, dtype, elements, size }: Planned): Promise<Uint8Array> {
  const { bytes, data } = tensor;
  let result: Uint8Array;
  if (bytes !== undefined) result = typeof bytes === "function" ? await bytes() : bytes;
  else {
    const values = typeof data === "function"
      ? await (data as () => ArrayLike<number> | Promise<ArrayLike<number>>)()
      : data!;
    if (values.length !== elements) {
      const shape = `[${tensor.shape.join(", ")}]`;
      throw new LabError(
        "input",
        `${label}: ${tensor.name}`,
        `shape ${shape} needs ${elements} values, got ${values.length}`,
      );
    }
    if (dtype.range) checkIntegers(label, tensor, values, dtype.range);
    result = dtype.encode!(values);
  }
  if (result.length !== size) {
    throw new LabError("input", `${label}: ${tensor.name}`, `needs ${size} bytes, got ${result.length}`);
  }
  return result;
}
