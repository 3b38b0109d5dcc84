// The kinds of stores. A new one is a file in this folder and a line here.
import { LabError } from "../../io/errors.ts";
import { type Matrix, matrix } from "../../io/tensor.ts";
import type { ApplyStore, Store } from "../store.ts";
import { applyBinary } from "./binary.ts";
import { applyBitPlanes } from "./bit_planes.ts";
import { applyColumns, applyColumnScale } from "./columns.ts";
import { applyGrid } from "./grid.ts";
import { applyLevels } from "./levels.ts";
import { applyLowRank } from "./low_rank.ts";
import { applyMixedGrid } from "./mixed_grid.ts";
import { applyRadix } from "./radix.ts";
import { applyRotated } from "./rotated.ts";
import { applySignLowRank } from "./sign_low_rank.ts";
import { applySparse } from "./sparse.ts";
import { applyTrain } from "./tensor_train.ts";
import { applyTrits } from "./trits.ts";

const KINDS: ReadonlyMap<string, ApplyStore> = new Map([
  ["grid", applyGrid],
  ["levels", applyLevels],
  ["low-rank", applyLowRank],
  ["sparse", applySparse],
  ["tensor-train", applyTrain],
  ["bit-planes", applyBitPlanes],
  ["trits", applyTrits],
  ["radix", applyRadix],
  ["mixed-grid", applyMixedGrid],
  ["binary", applyBinary],
  ["sign-low-rank", applySignLowRank],
  ["rotated", applyRotated],
  ["columns", applyColumns],
  ["column-scale", applyColumnScale],
]);

/**
 * Ŵ (out, in) of a list of stores, taken in order from zeros.
 *
 * @throws LabError "format" for a kind that this version does not know.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lowRankStore } from "./low_rank.ts";
 * import { dequantizeStores } from "./registry.ts";
 * const one = { data: Float32Array.of(1, 2), rows: 2, cols: 1 }, row = { data: Float32Array.of(3), rows: 1, cols: 1 };
 * assert.deepEqual([...dequantizeStores({ rows: 2, cols: 1, stores: [lowRankStore(one, row)] }).data], [3, 6]);
 * ```
 */
export function dequantizeStores(layer: { rows: number; cols: number; stores: readonly Store[] }): Matrix {
  const w = matrix(layer.rows, layer.cols);
  for (const store of layer.stores) {
    const apply = KINDS.get(store.kind);
    if (!apply) {
      throw new LabError("format", `store "${store.kind}"`, "unknown", `Known: ${[...KINDS.keys()].join(", ")}.`);
    }
    apply(w, store);
  }
  return w;
}
