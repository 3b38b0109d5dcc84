// How a method stores a layer when codes on one grid and weak columns do not say it.
//
// A QuantizedLayer (layer.ts) is one grid with weak columns; kernels know it. Other methods keep low-rank factors, single
// weights, codebooks, bit planes, scales of the inputs, rotations. Such a layer is a StoredLayer: a list of stores, taken
// in order. A store is data, nothing else: its kind, a few settings, and named arrays that say how wide each value is.
// From that alone follow, the same for all methods,
//   the bits that are stored  the sum over all arrays of what the file holds of them (arrayBits),
//   the file                  one tensor an array (lib/lab/packed_stores.ts),
//   the dry run               the same arrays without values (ArraySpec), known before any work.
// Only what a store does to Ŵ is its own: one function a kind, in stores/KIND.ts, that adds to Ŵ, replaces entries of it
// or multiplies it; Ŵ begins with zeros. A new kind is a file there and a line in stores/registry.ts.
import { LabError } from "../io/errors.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { f16round } from "./f16.ts";

/** What an array counts as in a report of stored bits. */
export type Counted = "codes" | "scales" | "zeros" | "weak" | "indices" | "other";

/** An array without its values: known before a layer is quantized. */
export interface ArraySpec {
  /** "int": unsigned integers; "float": f16 or f32; "trit": 0, 1 or 2, five in a byte. */
  readonly type: "int" | "float" | "trit";
  /** Bits a value: 1 … 24 for integers, 16 or 32 for floats, 8/5 for trits. */
  readonly bits: number;
  readonly shape: readonly number[];
  readonly counts: Counted;
}

/** An array with its values. */
export interface StoredArray extends ArraySpec {
  readonly values: Floats | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
}

/** One thing that a layer stores. */
export interface Store {
  /** A file in stores/. */
  readonly kind: string;
  /** Small numbers and words that belong to the format, such as a group size. */
  readonly settings: Readonly<Record<string, number | string>>;
  readonly arrays: Readonly<Record<string, StoredArray>>;
}

/** A store without values. */
export interface StorePlan {
  readonly kind: string;
  readonly settings: Readonly<Record<string, number | string>>;
  readonly arrays: Readonly<Record<string, ArraySpec>>;
}

/** What a kind of store does to Ŵ (out, in), in place. */
export type ApplyStore = (w: Matrix, store: Store) => void;

/** An array of unsigned integers. */
export function intSpec(bits: number, shape: readonly number[], counts: Counted): ArraySpec {
  return { type: "int", bits, shape, counts };
}

/** An array of floats of 16 or 32 bits. */
export function floatSpec(bits: 16 | 32, shape: readonly number[], counts: Counted): ArraySpec {
  return { type: "float", bits, shape, counts };
}

/** An array of trits: 0, 1, 2. */
export function tritSpec(shape: readonly number[], counts: Counted): ArraySpec {
  return { type: "trit", bits: 8 / 5, shape, counts };
}

/**
 * A planned store with its values: floats are rounded to their width, integers are checked against theirs.
 *
 * @param plan the store. @param values one list an array of the plan, row-major.
 * @throws LabError on a value that does not fit its width, RangeError on a list that is missing or of another length.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fillStore, intSpec } from "./store.ts";
 * const plan = { kind: "grid", settings: {}, arrays: { codes: intSpec(2, [3], "codes") } };
 * assert.deepEqual([...fillStore(plan, { codes: [0, 3, 1] }).arrays.codes.values], [0, 3, 1]);
 * assert.throws(() => fillStore(plan, { codes: [0, 4, 1] }), /4 at 1/);
 * ```
 */
export function fillStore(plan: StorePlan, values: Readonly<Record<string, ArrayLike<number>>>): Store {
  const arrays: Record<string, StoredArray> = {};
  for (const [name, spec] of Object.entries(plan.arrays)) {
    const given = values[name], n = countOf(spec);
    if (given?.length !== n) throw new RangeError(`${plan.kind}.${name}: ${given?.length} values, not ${n}`);
    if (spec.type === "float") {
      arrays[name] = {
        ...spec,
        values: spec.bits === 16 ? Float32Array.from(given, f16round) : Float32Array.from(given),
      };
      continue;
    }
    const top = spec.type === "trit" ? 2 : 2 ** spec.bits - 1;
    for (let i = 0; i < n; i++) {
      if (Number.isInteger(given[i]) && given[i] >= 0 && given[i] <= top) continue;
      throw new LabError("numeric", `${plan.kind}.${name}`, `${given[i]} at ${i} is no integer from 0 to ${top}`);
    }
    arrays[name] = { ...spec, values: top < 256 ? Uint8Array.from(given) : Int32Array.from(given) };
  }
  return { kind: plan.kind, settings: plan.settings, arrays };
}

/** How many values an array has. */
export function countOf(a: ArraySpec): number {
  return a.shape.reduce((product, d) => product * d, 1);
}

/**
 * Bits that the file holds of an array: integers are one stream of whole 32-bit words, trits are bytes.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { arrayBits, floatSpec, intSpec, tritSpec } from "./store.ts";
 * assert.deepEqual([arrayBits(intSpec(3, [4, 4], "codes")), arrayBits(floatSpec(16, [3], "scales"))], [64, 48]);
 * assert.equal(arrayBits(tritSpec([11], "codes")), 24);
 * ```
 */
export function arrayBits(a: ArraySpec): number {
  const n = countOf(a);
  return a.type === "float" ? n * a.bits : a.type === "trit" ? 8 * Math.ceil(n / 5) : 32 * Math.ceil(n * a.bits / 32);
}

/** An array of a store that its kind cannot do without. @throws LabError "format" where it is missing. */
export function arrayOf(s: Store, name: string): StoredArray {
  const found = s.arrays[name];
  if (!found) throw new LabError("format", `store "${s.kind}"`, `has no array "${name}"`);
  return found;
}

/** A number among a store's settings. @throws LabError "format" where it is missing. */
export function settingOf(s: Store, name: string): number {
  const value = s.settings[name];
  if (typeof value !== "number") throw new LabError("format", `store "${s.kind}"`, `has no number "${name}"`);
  return value;
}
