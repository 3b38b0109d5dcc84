// Round to nearest: every weight to the nearest point of its row's (or group's) grid, with no look at the data.
import { type Floats, type Matrix } from "../io/tensor.ts";
import { minmaxGrid } from "../kernels/minmax.ts";
import { groupsOf } from "./budget.ts";
import type { QuantContext } from "./context.ts";
import { f16round } from "./f16.ts";
import { type LayerProblem, NO_REPORT, type QuantizedLayer } from "./layer.ts";
import { roundHalfEven } from "../kernels/round.ts";

/** The grid of RTN. */
export interface RtnOptions {
  readonly bits: number;
  readonly symmetric: boolean;
  readonly groupSize: number;
  readonly scaleBits: 16 | 32;
}

/**
 * The code of one weight: clamp(round(w / scale) + zero, 0, 2^bits − 1), the quotient in f32 as on a GPU.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { roundToGrid } from "./rtn.ts";
 * assert.equal(roundToGrid(0.9, 0.5, 3, 3), 5);
 * assert.equal(roundToGrid(9, 0.5, 3, 3), 7);
 * ```
 */
export function roundToGrid(w: number, scale: number, zero: number, bits: number): number {
  const code = roundHalfEven(Math.fround(w / scale)) + zero, top = 2 ** bits - 1;
  return code < 0 ? 0 : code > top ? top : code;
}

/**
 * Codes of a matrix on a given grid.
 *
 * @param w W (out, in). @param grid scale and zero (out, groups), groups of `groupSize` columns (0: one a row).
 * @returns (out, in) codes.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { codesOnGrid } from "./rtn.ts";
 * const w = { data: Float32Array.of(0.1, 0.9), rows: 1, cols: 2 };
 * assert.deepEqual([...codesOnGrid(w, { scale: Float32Array.of(0.5), zero: Float32Array.of(0) }, 2, 0)], [0, 2]);
 * ```
 */
export function codesOnGrid(
  w: Matrix,
  grid: { readonly scale: Floats; readonly zero: Floats },
  bits: number,
  groupSize: number,
): Uint8Array<ArrayBuffer> {
  const { rows, cols, data } = w, groups = groupsOf(cols, groupSize), codes = new Uint8Array(rows * cols);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++, i++) {
      const g = r * groups + (groupSize > 0 ? Math.floor(j / groupSize) : 0);
      codes[i] = roundToGrid(data[i], grid.scale[g], grid.zero[g], bits);
    }
  }
  return codes;
}

/**
 * Round to nearest on the min–max grid.
 *
 * @param problem W (out, in); its Hessian is not looked at. @param o options.
 * @returns a layer without weak columns.
 * Source: the usual baseline; grid as in GPTQ's reference (research/papers.md 1.1, points 6 and 9).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { dequantize } from "./dequantize.ts";
 * import { rtn } from "./rtn.ts";
 * const weight = { data: Float32Array.of(0, 1, 2, 3), rows: 1, cols: 4 };
 * const layer = rtn({ name: "doc", weight, hessian: null, seed: 0 }, { bits: 2, symmetric: false, groupSize: 0, scaleBits: 32 });
 * assert.deepEqual([...dequantize(layer).data], [0, 1, 2, 3]);
 * ```
 */
export function rtn(problem: LayerProblem, o: RtnOptions): QuantizedLayer {
  const { bits, symmetric } = o;
  return onGrids(
    problem,
    o,
    spans(problem, o).map((columns) => minmaxGrid(problem.weight, { bits, symmetric, columns })),
  );
}

/**
 * Round to nearest on the grid that a search chooses: any range and zero point with the least mean of |w − ŵ|^2.4.
 *
 * @param problem W (out, in); its Hessian is not looked at. @param o options. @param steps ranges the search tries.
 * @returns a layer without weak columns.
 * Source: the search of OWQ's reference (research/papers.md 1.1), without its weak columns.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { rtnSearched } from "./rtn.ts";
 * const weight = { data: Float32Array.of(0, 1, 2, 3), rows: 1, cols: 4 };
 * const o = { bits: 2, symmetric: false, groupSize: 0, scaleBits: 32 as const };
 * const layer = await rtnSearched({ name: "doc", weight, hessian: null, seed: 0 }, o, 100, { kernels: await openKernels("cpu") });
 * assert.deepEqual([...layer.codes], [0, 1, 2, 3]); // the whole range is the best
 * ```
 */
export async function rtnSearched(
  problem: LayerProblem,
  o: RtnOptions,
  steps: number,
  context: QuantContext,
): Promise<QuantizedLayer> {
  const { bits, symmetric } = o, grids: { scale: Floats; zero: Floats }[] = [];
  for (const columns of spans(problem, o)) {
    grids.push(await context.kernels.searchGrid(problem.weight, { bits, symmetric, steps, exponent: 2.4, columns }));
  }
  return onGrids(problem, o, grids);
}

/** The columns of each group. */
function spans({ weight: { cols } }: LayerProblem, { groupSize }: RtnOptions): { start: number; count: number }[] {
  return Array.from({ length: groupsOf(cols, groupSize) }, (_, g) => {
    const start = g * groupSize;
    return { start, count: groupSize > 0 ? Math.min(groupSize, cols - start) : cols };
  });
}

/** Every weight to its nearest level of one grid a row and group. */
function onGrids(
  problem: LayerProblem,
  o: RtnOptions,
  grids: readonly { readonly scale: Floats; readonly zero: Floats }[],
): QuantizedLayer {
  const { rows, cols } = problem.weight, groups = grids.length;
  const scale = new Float32Array(rows * groups), zero = new Float32Array(rows * groups);
  for (const [g, grid] of grids.entries()) {
    for (let r = 0; r < rows; r++) {
      scale[r * groups + g] = o.scaleBits === 16 ? f16round(grid.scale[r]) : grid.scale[r];
      zero[r * groups + g] = grid.zero[r];
    }
  }
  return {
    name: problem.name,
    method: "rtn",
    rows,
    cols,
    bits: o.bits,
    groupSize: o.groupSize,
    scaleBits: o.scaleBits,
    codes: codesOnGrid(problem.weight, { scale, zero }, o.bits, o.groupSize),
    scale,
    zero,
    groupOf: null,
    weakIds: new Int32Array(0),
    weak: new Float32Array(0),
    report: NO_REPORT,
  };
}
