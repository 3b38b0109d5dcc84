// What the layouts of other formats have in common: which layers they can hold, and what a layer read from one must fulfil.
import { LabError } from "../io/errors.ts";
import type { Floats } from "../io/tensor.ts";
import { groupsOf } from "./budget.ts";
import { columnGroups } from "./dequantize.ts";
import { NO_REPORT, type QuantizedLayer } from "./layer.ts";

/** Widths of a code that the other formats and the lab's kernels share. */
export const LAYOUT_BITS: readonly number[] = [2, 3, 4, 8];

/** What a checkpoint says of one linear besides its tensors. */
export interface LayoutShape {
  /** For messages and for the layer's name. */
  readonly name: string;
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  readonly bits: number;
  /** Columns that share a scale; 0: one scale a row. */
  readonly groupSize: number;
  /** True: the checkpoint promises that every zero point is 2^(bits − 1). */
  readonly symmetric: boolean;
}

/**
 * Whether all zero points are 2^(bits − 1), what the other formats call symmetric.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { isSymmetric } from "./layout.ts";
 * assert.deepEqual([7, 8].map((z) => isSymmetric({ bits: 4, zero: Float32Array.of(8, z) })), [false, true]);
 * ```
 */
export function isSymmetric(layer: Pick<QuantizedLayer, "bits" | "zero">): boolean {
  const half = 2 ** (layer.bits - 1);
  return layer.zero.every((z) => z === half);
}

/**
 * Refuses a layer that no foreign layout can hold: weak columns, unusual widths, a last group that is not whole.
 *
 * @param layer (out, in).
 * @throws LabError "input" with what to do instead.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { NO_REPORT } from "./layer.ts";
 * import { checkForeign } from "./layout.ts";
 * const layer = { name: "q", method: "owq", rows: 1, cols: 2, bits: 3, groupSize: 0, scaleBits: 32 as const, groupOf: null,
 *   report: NO_REPORT, codes: new Uint8Array(2), scale: Float32Array.of(1), zero: Float32Array.of(0),
 *   weakIds: Int32Array.of(1), weak: Float32Array.of(7) };
 * assert.throws(() => checkForeign(layer), /q: keeps 1 weak column/);
 * ```
 */
export function checkForeign(layer: QuantizedLayer): void {
  const { name, cols, bits, groupSize, weakIds } = layer, k = weakIds.length;
  if (k > 0) {
    const hint = "Take the lab's packed folder as it is (lib/lab/PACKED.md), or dequantized weights: `owq export " +
      "--format hf`; or quantize without weak columns: --method optq or rtn, or --rank 0.";
    const problem = `keeps ${k} weak ${k === 1 ? "column" : "columns"} in 16 bits, which the format has no place for`;
    throw new LabError("input", name, problem, hint);
  }
  if (!LAYOUT_BITS.includes(bits)) {
    throw new LabError("input", name, `has codes of ${bits} bits`, `The format takes ${LAYOUT_BITS.join(", ")}.`);
  }
  if (groupSize > 0 && cols % groupSize !== 0) {
    const problem = `${cols} columns are no whole groups of ${groupSize}, as the format's readers want them`;
    throw new LabError("input", name, problem, "Quantize with a group size that divides the width, or without groups.");
  }
}

/**
 * A layer out of parts that another format stored; every promise of the checkpoint is checked.
 *
 * @param s what the checkpoint says. @param method for the layer's label, such as "gptq".
 * @param parts codes (out, in), scale and zero (out, groups); groupOf (in) or null, as stored.
 * @param scaleBits 16 where the scales were stored as f16, else 32.
 * @returns the layer; its groupOf is null where the map says only what the order of the columns says.
 * @throws LabError "format" where zero points break the promise of symmetry or the map of groups is no partition into
 *   groups of that size; "numeric" where a scale is not finite.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { foreignLayer } from "./layout.ts";
 * const s = { name: "fc", rows: 1, cols: 2, bits: 4, groupSize: 1, symmetric: true };
 * const parts = { codes: Uint8Array.of(1, 2), scale: Float32Array.of(1, 1), zero: Float32Array.of(8, 7) };
 * assert.throws(() => foreignLayer(s, "gptq", { ...parts, groupOf: null }, 16), /a zero point is 7, not 8/);
 * ```
 */
export function foreignLayer(
  s: LayoutShape,
  method: string,
  parts: {
    readonly codes: Uint8Array<ArrayBuffer>;
    readonly scale: Floats;
    readonly zero: Floats;
    readonly groupOf: Int32Array<ArrayBuffer> | null;
  },
  scaleBits: 16 | 32,
): QuantizedLayer {
  const { name, rows, cols, bits, groupSize } = s, { codes, scale, zero } = parts;
  const bad = scale.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0) throw new LabError("numeric", name, `scale ${bad} is ${scale[bad]}`, "Fetch the checkpoint again.");
  if (s.symmetric && !isSymmetric({ bits, zero })) {
    const half = 2 ** (bits - 1), other = zero.find((z) => z !== half);
    const hint = other === half - 1
      ? 'All one less looks like GPTQ v1 labelled as v2: try "checkpoint_format": "gptq".'
      : other === half + 1
      ? 'All one more looks like GPTQ v2 labelled as v1: try "checkpoint_format": "gptq_v2".'
      : "Its configuration does not belong to these weights.";
    throw new LabError("format", name, `is called symmetric, but a zero point is ${other}, not ${half}`, hint);
  }
  const groups = groupsOf(cols, groupSize), groupOf = parts.groupOf && checkMap(s, parts.groupOf, groups);
  const layer = { name, method, rows, cols, bits, groupSize, codes, scale, zero, scaleBits, groupOf };
  return { ...layer, weakIds: new Int32Array(0), weak: new Float32Array(0), report: NO_REPORT };
}

function checkMap(s: LayoutShape, map: Int32Array<ArrayBuffer>, groups: number): Int32Array<ArrayBuffer> | null {
  const fail = (problem: string): never => {
    throw new LabError("format", s.name, `its map of groups ${problem}`, "Fetch the checkpoint again.");
  };
  if (map.length !== s.cols) return fail(`has ${map.length} entries for ${s.cols} columns`);
  const count = new Int32Array(groups);
  map.forEach((g, j) => {
    if (g < 0 || g >= groups) fail(`sends column ${j} to group ${g} of ${groups}`);
    count[g]++;
  });
  const full = s.groupSize > 0 ? s.groupSize : s.cols, over = count.findIndex((n) => n > full);
  if (over >= 0) return fail(`gives group ${over} ${count[over]} columns, a group has ${full}`);
  const plain = columnGroups({ cols: s.cols, groupSize: s.groupSize, groupOf: null, weakIds: new Int32Array(0) });
  return map.every((g, j) => g === plain[j]) ? null : map;
}
