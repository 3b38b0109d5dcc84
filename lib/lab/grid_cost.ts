// What a bit costs: the relative error of a whole matrix against the width of its codes, and against all bits it stores.
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Matrix } from "../io/tensor.ts";
import type { Kernels } from "../kernels/kernels.ts";
import type { Block, LanguageModel } from "../model/language_model.ts";
import { type OtherWeights, perplexity, type TokenWindows } from "../model/perplexity.ts";
import { storedBits } from "../quant/budget.ts";
import { dequantize } from "../quant/dequantize.ts";
import { OWQ_DEFAULTS, roundedForScore } from "../quant/owq.ts";
import { rtn } from "../quant/rtn.ts";

/** ‖W − Ŵ‖² / ‖W‖² of a matrix at one width, by three ways to choose each row's grid. */
export interface WidthError {
  readonly bits: number;
  /** Min–max, zero point in the middle. */
  readonly symmetric: number;
  /** Min–max, zero point free. */
  readonly minmax: number;
  /** Searched range and zero point. */
  readonly searched: number;
}

/**
 * The relative error of a matrix at several bit widths.
 *
 * @param w W (out, in). @param widths bits, each 1 … 8. @param steps ranges the search tries.
 * @returns one entry a width.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { errorByBits } from "./grid_cost.ts";
 * const w = { data: Float32Array.of(0, 1, 2, 3), rows: 1, cols: 4 };
 * const [e] = await errorByBits(w, [2], 40, await openKernels("cpu"));
 * assert.deepEqual([e.minmax, e.searched], [0, 0]);
 * ```
 */
export async function errorByBits(
  w: Matrix,
  widths: readonly number[],
  steps: number,
  kernels: Kernels,
): Promise<WidthError[]> {
  const out: WidthError[] = [];
  for (const bits of widths) {
    const searched = await roundedForScore(w, { ...OWQ_DEFAULTS, bits }, steps, { kernels });
    out.push({
      bits,
      symmetric: relativeError(rounded(w, bits, 0, true), w),
      minmax: relativeError(rounded(w, bits, 0, false), w),
      searched: relativeError(searched, w),
    });
  }
  return out;
}

/** One point of {@link errorByGroups}. */
export interface GroupError {
  readonly bits: number;
  /** Columns that share a scale; 0: the whole row. */
  readonly groupSize: number;
  /** Bits a weight with scales (32 bit) and zero points counted. */
  readonly stored: number;
  /** ‖W − Ŵ‖² / ‖W‖². */
  readonly error: number;
}

/**
 * Error and stored bits of the min–max grid when groups of columns have a grid of their own.
 *
 * @param groupSizes 0 for one grid a row; sizes above the row's width are left out.
 */
export function errorByGroups(w: Matrix, widths: readonly number[], groupSizes: readonly number[]): GroupError[] {
  return groupSizes.filter((g) => g <= w.cols).flatMap((groupSize) =>
    widths.map((bits) => {
      const layer = rtn({ name: "group study", weight: w, hessian: null, seed: 0 }, options(bits, groupSize, false));
      return { bits, groupSize, stored: storedBits(layer).perWeight, error: relativeError(dequantize(layer), w) };
    })
  );
}

function rounded(w: Matrix, bits: number, groupSize: number, symmetric: boolean): Matrix {
  return dequantize(
    rtn({ name: "grid study", weight: w, hessian: null, seed: 0 }, options(bits, groupSize, symmetric)),
  );
}

const options = (bits: number, groupSize: number, symmetric: boolean) =>
  ({ bits, groupSize, symmetric, scaleBits: 32 }) as const;

/**
 * ‖A − B‖² / ‖B‖²; 0 where both are zero.
 *
 * @throws RangeError when the shapes differ.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { relativeError } from "./grid_cost.ts";
 * const m = (...v: number[]) => ({ data: Float32Array.from(v), rows: 1, cols: v.length });
 * assert.equal(relativeError(m(3, 0), m(3, 4)), 16 / 25);
 * ```
 */
export function relativeError(a: Matrix, b: Matrix): number {
  if (a.rows !== b.rows || a.cols !== b.cols) {
    throw new RangeError(`(${a.rows}, ${a.cols}) against (${b.rows}, ${b.cols})`);
  }
  let off = 0, size = 0;
  for (let i = 0; i < a.data.length; i++) {
    off += (a.data[i] - b.data[i]) ** 2;
    size += b.data[i] ** 2;
  }
  return off === 0 ? 0 : off / size;
}

/**
 * Weights for `perplexity`, each linear passed through a function first.
 *
 * @param change W (out, in) and the layer's name ("0.self_attn.q_proj") → Ŵ (out, in); null keeps W.
 */
export function changedWeights(
  model: LanguageModel,
  change: (w: Matrix, name: string) => Matrix | null | Promise<Matrix | null>,
): OtherWeights {
  let open: Block | null = null; // blocks come in order: one at a time is enough
  return async (index, linear) => {
    if (open?.index !== index) {
      open?.close();
      open = await model.openBlock(index);
    }
    return await change(open.weight(linear), `${index}.${linear}`);
  };
}

/**
 * A list of numbers written as a parameter: "2 3 4".
 *
 * @throws LabError "input" for anything else, and for an empty list.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { numberList } from "./grid_cost.ts";
 * assert.deepEqual(numberList("2, 3 4"), [2, 3, 4]);
 * ```
 */
export function numberList(text: string): number[] {
  const numbers = text.split(/[\s,]+/).filter((part) => part !== "").map(Number);
  if (numbers.length > 0 && numbers.every(Number.isFinite)) return numbers;
  throw new LabError("input", "parameter", `"${text}" is not a list of numbers`, 'Write it like "2 3 4".');
}

/** Perplexity of a model whose linears are all rounded to nearest at one width. */
export interface WidthPerplexity {
  readonly bits: number;
  readonly perplexity: number;
}

/**
 * Perplexity against bits, every linear rounded to the nearest point of its rows' min–max grids.
 *
 * @param windows token ids to measure on. @param widths bits, each 1 … 8.
 * @returns one entry a width.
 */
export async function perplexityByBits(
  model: LanguageModel,
  windows: TokenWindows,
  widths: readonly number[],
  onProgress?: OnProgress,
): Promise<WidthPerplexity[]> {
  const out: WidthPerplexity[] = [];
  for (const [i, bits] of widths.entries()) {
    onProgress?.({ what: "perplexity by bits", done: i, total: widths.length, unit: "widths" });
    const weights = changedWeights(model, (w) => rounded(w, bits, 0, false));
    out.push({ bits, perplexity: (await perplexity(model, windows, { weights })).perplexity });
  }
  onProgress?.({ what: "perplexity by bits", done: widths.length, total: widths.length, unit: "widths" });
  return out;
}
