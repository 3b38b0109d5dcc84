// What a bit costs: the relative error of a whole matrix against the width of its codes, and against all bits it stores.
import type { Matrix } from "../io/tensor.ts";
import type { Kernels } from "../kernels/kernels.ts";
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
