// AdaDim: groups along the outputs, inside one input column, where that rounds better than groups along the inputs.
import { LabError } from "../io/errors.ts";
import type { Matrix } from "../io/tensor.ts";
import type { QuantContext } from "./context.ts";
import { dequantize } from "./dequantize.ts";
import { type GroupGrid, groupGrid, type GroupGridOptions, onGroupGrid } from "./group_grid.ts";
import { diagonal, objective } from "./hessian.ts";
import type { LayerProblem } from "./layer.ts";
import { fromColumns, inverseFactor, obsSweep } from "./obs_sweep.ts";
import { optq, OPTQ_DEFAULTS, permuteColumns } from "./optq.ts";
import { byScore } from "./sensitivity.ts";

/** Along which dimension the groups of a layer run: outputs share ("oc": a row's groups) or inputs ("ic": a column's). */
export type Dimension = "oc" | "ic";

/** How AdaDim rounds. */
export interface AdaDimOptions {
  readonly bits: number;
  /** Weights of a group, in either dimension; 0: the whole line. */
  readonly groupSize: number;
  readonly damp: number;
  readonly actOrder: boolean;
  readonly scaleBits: 16 | 32;
}

/** The grid of one dimension, fitted by each group's range. */
export function dimensionGrid(o: AdaDimOptions, dimension: Dimension): GroupGridOptions {
  const { bits, groupSize, scaleBits } = o;
  return { bits, groupSize, axis: dimension === "oc" ? "in" : "out", rule: "range", scaleBits };
}

/** Plain rounding in one dimension: Ŵ (out, in). */
export function roundDimension(w: Matrix, o: AdaDimOptions, dimension: Dimension): Matrix {
  return onGroupGrid(w, dimensionGrid(o, dimension));
}

/**
 * The dimension in which plain rounding changes the layer's output less; "oc" where both do the same.
 *
 * @param w W (out, in). @param h H (in, in).
 * @returns the dimension and the error tr(D H Dᵀ) of each.
 * Source: Heo et al., ICLR 2024, arXiv 2309.15531; johnheo/adadim-llm 49ee38e.
 */
export function chooseDimension(
  w: Matrix,
  h: Matrix,
  o: AdaDimOptions,
): { dimension: Dimension; errors: Readonly<Record<Dimension, number>> } {
  const error = (dimension: Dimension) => {
    const q = roundDimension(w, o, dimension);
    return objective({ ...w, data: q.data.map((v, i) => v - w.data[i]) }, h);
  };
  const errors = { oc: error("oc"), ic: error("ic") };
  return { dimension: errors.ic < errors.oc ? "ic" : "oc", errors };
}

/**
 * OPTQ with groups inside each input column: a column's groups are fitted when the sweep reaches it, on the weights as
 * they stand, so that it needs no map of groups in any order of work.
 *
 * @param w W (out, in). @param h H (in, in).
 * @returns codes (out, in) and grids in W's own order, and Ŵ.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sweepColumnsGroups } from "./adadim.ts";
 * const w = { data: Float32Array.of(0, -1, 1, 0, 3, 2), rows: 3, cols: 2 };
 * const h = { data: Float32Array.of(2, 0, 0, 2), rows: 2, cols: 2 };
 * const o = { bits: 2, groupSize: 0, damp: 0.01, actOrder: true, scaleBits: 32 } as const;
 * assert.deepEqual([...sweepColumnsGroups(w, h, o).approximation.data], [0, -1, 1, 0, 3, 2]);
 * ```
 */
export function sweepColumnsGroups(
  w: Matrix,
  h: Matrix,
  o: AdaDimOptions,
): GroupGrid & { readonly approximation: Matrix; readonly damp: number } {
  const { rows, cols } = w, natural = Int32Array.from({ length: cols }, (_, j) => j);
  const order = o.actOrder ? byScore(diagonal(h)) : natural, factor = inverseFactor(h, order, o.damp);
  const grid = dimensionGrid(o, "ic"), groups = o.groupSize > 0 ? Math.ceil(rows / o.groupSize) : 1;
  const scale = new Float32Array(cols * groups), zero = new Float32Array(cols * groups);
  const codes = new Uint8Array(rows * cols);
  const round = (k: number, standing: readonly Float64Array[]) => {
    const column = { data: Float32Array.from(standing[k]), rows, cols: 1 }, g = groupGrid(column, grid), j = order[k];
    scale.set(g.scale, j * groups);
    zero.set(g.zero, j * groups);
    return Float64Array.from(g.codes, (code, r) => {
      codes[r * cols + j] = code;
      const at = o.groupSize > 0 ? Math.floor(r / o.groupSize) : 0;
      return Math.fround(g.scale[at] * (code - g.zero[at]));
    });
  };
  const { columns } = obsSweep({ weight: permuteColumns(w, order), factor, round });
  return { codes, scale, zero, approximation: fromColumns(columns, order), damp: factor.damp };
}

/** OPTQ with groups along the inputs as AdaDim runs it: grids with 0 in their range, fitted beforehand. */
export async function sweepRowGroups(problem: LayerProblem, o: AdaDimOptions, context: QuantContext) {
  if (!problem.hessian) throw new LabError("input", problem.name, "AdaDim needs a Hessian", "Give calibration text.");
  const { bits, groupSize, damp, actOrder, scaleBits } = o;
  const options = { ...OPTQ_DEFAULTS, bits, groupSize, damp, actOrder, scaleBits, tuning: "minmax" as const };
  const layer = await optq(problem, { ...options, staticGroups: true }, context, new Int32Array(0), null);
  return { layer, approximation: dequantize(layer) };
}
