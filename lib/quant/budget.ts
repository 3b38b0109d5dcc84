// From a target of bits to a number of weak columns, and from a quantized layer back to the bits it really stores.
import { LabError } from "../io/errors.ts";
import type { AnyLayer } from "./layer.ts";
import { arrayBits, type StorePlan } from "./store.ts";
import { roundHalfEven } from "../kernels/round.ts";

/** What the budget must know of a linear: its shape, its share, and how many linears its block has. */
export interface BudgetLinear {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  /** Relative share of columns: 1 for attention, about width / inner width for the rest. */
  readonly ratio: number;
}

/**
 * Weak columns of each linear of a block for a target of *nominal* bits:
 * k = round(in · ratio · 12/(16 − b) · (target − b) / linears), made even by adding one.
 *
 * The 12 counts 12 d² weights a block; indices, scales, zeros and the low-bit copy of the weak columns are left out,
 * so that "3.01" stores more (see {@link storedBits}).
 *
 * @param linears the linears of one block that get columns. @param bits b. @param target nominal bits, ≥ b.
 * @returns name → number of columns.
 * @throws LabError when the target is below b or at 16 and above.
 * Source: OWQ's reference implementation (research/papers.md 1.1, point 4).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { columnsForTarget } from "./budget.ts";
 * const q = Array.from({ length: 7 }, (_, i) => ({ name: `${i}`, out: 4096, in: 4096, ratio: 1 }));
 * assert.equal(columnsForTarget(q, 3, 3.01).get("0"), 6);
 * ```
 */
export function columnsForTarget(linears: readonly BudgetLinear[], bits: number, target: number): Map<string, number> {
  if (!(target >= bits && target < 16)) {
    const hint = `Ask for ${bits} up to, not including, 16.`;
    throw new LabError("input", "bits", `a target of ${target} does not fit codes of ${bits} bits`, hint);
  }
  const share = (12 / (16 - bits)) * (target - bits) / linears.length;
  return new Map(linears.map((l) => {
    const k = roundHalfEven(l.in * share * l.ratio);
    return [l.name, Math.min(k % 2 === 1 ? k + 1 : k, l.in)];
  }));
}

/**
 * The same fixed number of weak columns for each linear, at most its width.
 *
 * @throws LabError when the rank is negative, no integer, or wider than a linear.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { columnsForRank } from "./budget.ts";
 * assert.equal(columnsForRank([{ name: "q", out: 4, in: 8, ratio: 1 }], 2).get("q"), 2);
 * ```
 */
export function columnsForRank(linears: readonly BudgetLinear[], rank: number): Map<string, number> {
  for (const l of linears) {
    if (!Number.isInteger(rank) || rank < 0 || rank > l.in) {
      throw new LabError("input", "rank", `${rank} does not fit ${l.name}, which has ${l.in} input columns`);
    }
  }
  return new Map(linears.map((l) => [l.name, rank]));
}

/** Bits of one kind of thing stored for a layer or a model; all are totals, `perWeight` is their sum by weight. */
export interface StoredBits {
  readonly codes: number;
  readonly scales: number;
  readonly zeros: number;
  readonly weak: number;
  readonly indices: number;
  /** Factors, codebooks and whatever else a method keeps. */
  readonly other: number;
  readonly weights: number;
  readonly perWeight: number;
}

/** Weak columns are stored as f16, their ids and the map of act-order's groups as i32, exactly as the packed file does. */
const WEAK_BITS = 16, INDEX_BITS = 32;

/** What a layer stores, in numbers alone: known before it is quantized. */
export interface StorageShape {
  readonly rows: number;
  readonly cols: number;
  readonly bits: number;
  readonly groupSize: number;
  readonly weak: number;
  readonly scaleBits: number;
  readonly groupMap: boolean;
}

/**
 * Bits a layer of that shape stores: codes (weak columns keep their low-bit copy), scales, zeros, weak columns, indices.
 *
 * @returns totals in bits, and bits a weight.
 * Source: the layout of the lab's packed file (lib/io is told of it by lib/lab/packed.ts).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { storageOf } from "./budget.ts";
 * const s = storageOf({ rows: 64, cols: 128, bits: 3, groupSize: 0, weak: 2, scaleBits: 32, groupMap: false });
 * assert.equal(s.codes, 64 * 128 * 3);
 * assert.equal(s.perWeight, 3 + 32 / 128 + 3 / 128 + 2 * 16 / 128 + 2 * 32 / (64 * 128));
 * ```
 */
export function storageOf(s: StorageShape): StoredBits {
  const weights = s.rows * s.cols, groups = groupsOf(s.cols - s.weak, s.groupSize);
  const codes = s.rows * Math.ceil(s.cols * s.bits / 32) * 32; // a row's stream ends on a word
  const scales = s.rows * groups * s.scaleBits, zeros = Math.ceil(s.rows * groups * s.bits / 32) * 32;
  const weak = s.rows * s.weak * WEAK_BITS;
  const indices = s.weak * INDEX_BITS + (s.groupMap ? s.cols * INDEX_BITS : 0);
  return sumBits({ codes, scales, zeros, weak, indices, other: 0 }, weights);
}

/** Groups of a row: those of the columns that get codes; one where there are no groups. */
export function groupsOf(columns: number, groupSize: number): number {
  return groupSize > 0 ? Math.max(1, Math.ceil(columns / groupSize)) : 1;
}

/**
 * Bits that a quantized layer stores, to the last scale and index.
 *
 * @returns totals in bits, and bits a weight.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { addBits, storageOf } from "./budget.ts";
 * const s = storageOf({ rows: 1, cols: 32, bits: 4, groupSize: 0, weak: 0, scaleBits: 16, groupMap: false });
 * assert.equal(addBits([s, s]).perWeight, s.perWeight);
 * ```
 */
export function storedBits(layer: AnyLayer): StoredBits {
  if ("stores" in layer) return plannedBits(layer.stores, layer.rows * layer.cols);
  return storageOf({
    rows: layer.rows,
    cols: layer.cols,
    bits: layer.bits,
    groupSize: layer.groupSize,
    weak: layer.weakIds.length,
    scaleBits: layer.scaleBits,
    groupMap: layer.groupOf !== null,
  });
}

/**
 * Bits of a list of stores, planned or filled.
 *
 * @param stores what a layer of `weights` weights keeps.
 * @returns totals in bits, and bits a weight.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { plannedBits } from "./budget.ts";
 * import { planLowRank } from "./stores/low_rank.ts";
 * assert.equal(plannedBits([planLowRank(64, 64, 2)], 64 * 64).perWeight, 1);
 * ```
 */
export function plannedBits(stores: readonly StorePlan[], weights: number): StoredBits {
  const parts = { codes: 0, scales: 0, zeros: 0, weak: 0, indices: 0, other: 0 };
  for (const store of stores) for (const a of Object.values(store.arrays)) parts[a.counts] += arrayBits(a);
  return sumBits(parts, weights);
}

/** Sums layers' bits into a model's. */
export function addBits(parts: readonly StoredBits[]): StoredBits {
  const sum = (key: keyof StoredBits) => parts.reduce((a, p) => a + p[key], 0);
  const [codes, scales, zeros, weak] = [sum("codes"), sum("scales"), sum("zeros"), sum("weak")];
  return sumBits({ codes, scales, zeros, weak, indices: sum("indices"), other: sum("other") }, sum("weights"));
}

function sumBits(parts: Omit<StoredBits, "weights" | "perWeight">, weights: number): StoredBits {
  const { codes, scales, zeros, weak, indices, other } = parts;
  return { ...parts, weights, perWeight: (codes + scales + zeros + weak + indices + other) / weights };
}
