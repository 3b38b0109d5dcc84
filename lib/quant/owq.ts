// OWQ: choose the weak columns, then let OPTQ round the rest and push its error into them.
import { LabError } from "../io/errors.ts";
import type { Matrix } from "../io/tensor.ts";
import { type QuantContext, secondsSince } from "./context.ts";
import type { LayerProblem, QuantizedLayer } from "./layer.ts";
import { type GridOptions, optq, OPTQ_DEFAULTS, type OptqOptions, rowGrid } from "./optq.ts";
import { roundToGrid } from "./rtn.ts";
import { byScore, columnScores, type SensitivityRule } from "./sensitivity.ts";

/** OWQ's options on top of OPTQ's. */
export interface OwqOptions extends OptqOptions {
  readonly rule: SensitivityRule;
  /** Scales tried by the coarser search that the score's Q(W) comes from (40 in the reference). */
  readonly sensitivitySteps: number;
}

/** The reference's settings. */
export const OWQ_DEFAULTS: OwqOptions = { ...OPTQ_DEFAULTS, rule: "hessian-error", sensitivitySteps: 40 };

/**
 * Q(W) (out, in): W rounded on a row grid of its own, all columns included; what the score's error factor is taken from.
 *
 * @param w W (out, in). @param o grid options; groups are not used here. @param steps scales tried.
 * @returns Q(W) (out, in).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { OWQ_DEFAULTS, roundedForScore } from "./owq.ts";
 * const w = { data: Float32Array.of(0, 1, 2, 7), rows: 1, cols: 4 };
 * const q = await roundedForScore(w, { ...OWQ_DEFAULTS, tuning: "minmax" }, 40, { kernels: await openKernels("cpu") });
 * assert.deepEqual([...q.data], [0, 1, 2, 7]);
 * ```
 */
export async function roundedForScore(
  w: Matrix,
  o: GridOptions,
  steps: number,
  context: QuantContext,
): Promise<Matrix> {
  const grid = await rowGrid(w, w.cols, o, steps, context);
  const data = new Float32Array(w.data.length);
  for (let i = 0; i < data.length; i++) {
    const r = Math.floor(i / w.cols), scale = grid.scale[r], zero = grid.zero[r];
    data[i] = scale * (roundToGrid(w.data[i], scale, zero, o.bits) - zero);
  }
  return { ...w, data };
}

/**
 * Scores of a layer's columns by the chosen rule (see sensitivity.ts), including the search for Q(W) where it needs one.
 *
 * @returns (in) scores in f64.
 * @throws LabError as columnScores.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { OWQ_DEFAULTS, scoreColumns } from "./owq.ts";
 * const weight = { data: Float32Array.of(0, 3), rows: 1, cols: 2 };
 * const s = await scoreColumns({ name: "doc", weight, hessian: null, seed: 0 }, { ...OWQ_DEFAULTS, rule: "magnitude" },
 *   { kernels: await openKernels("cpu") });
 * assert.deepEqual([...s], [0, 9]);
 * ```
 */
export async function scoreColumns(problem: LayerProblem, o: OwqOptions, context: QuantContext): Promise<Float64Array> {
  const needsError = o.rule === "hessian-error" || o.rule === "error";
  const rounded = needsError ? await roundedForScore(problem.weight, o, o.sensitivitySteps, context) : null;
  return columnScores(o.rule, { ...problem, rounded });
}

/**
 * Quantizes a layer by OWQ: the `count` columns of the highest score stay in 16 bits and absorb the error of the rest.
 *
 * @param problem W (out, in), H (in, in). @param o options. @param count weak columns, 0 … in.
 * @returns the layer; with count 0 exactly what OPTQ gives on the searched grid.
 * @throws LabError when count does not fit, and as optq.
 * Source: OWQ, arXiv 2306.02272, section 3; research/papers.md 1.1.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { owq, OWQ_DEFAULTS } from "./owq.ts";
 * const weight = { data: Float32Array.of(0.3, -0.9, 0.5, 1), rows: 2, cols: 2 };
 * const hessian = { data: Float32Array.of(2, 1, 1, 90), rows: 2, cols: 2 };
 * const layer = await owq({ name: "doc", weight, hessian, seed: 0 }, { ...OWQ_DEFAULTS, rule: "hessian" }, 1,
 *   { kernels: await openKernels("cpu") });
 * assert.deepEqual([...layer.weakIds], [1]);
 * ```
 */
export async function owq(
  problem: LayerProblem,
  o: OwqOptions,
  count: number,
  context: QuantContext,
): Promise<QuantizedLayer> {
  const { cols } = problem.weight;
  if (!Number.isInteger(count) || count < 0 || count > cols) {
    throw new LabError("input", problem.name, `${count} weak columns of ${cols}`, "Lower the target bits or the rank.");
  }
  const start = performance.now();
  const scores = count > 0 ? await scoreColumns(problem, o, context) : null;
  const sensitivity = secondsSince(start);
  const weak = scores ? byScore(scores).subarray(0, count) : new Int32Array(0);
  const layer = await optq(problem, o, context, weak, scores);
  const { report } = layer;
  return { ...layer, method: "owq", report: { ...report, seconds: { sensitivity, ...report.seconds } } };
}
