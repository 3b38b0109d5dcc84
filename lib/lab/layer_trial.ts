// One layer, several methods: what each stores and how much of the layer's output it loses.
import type { Matrix } from "../io/tensor.ts";
import { findMethod } from "../methods/table.ts";
import type { OtherWeights } from "../model/perplexity.ts";
import { storedBits } from "../quant/budget.ts";
import type { QuantContext } from "../quant/context.ts";
import { dequantize } from "../quant/dequantize.ts";
import { objective } from "../quant/hessian.ts";
import { type AnyLayer, weakIdsOf } from "../quant/layer.ts";
import type { LinearInfo } from "../model/config.ts";
import type { Figure } from "./figure.ts";
import { scatterFigure } from "./figure.ts";
import type { StudyLayer } from "./layer_study.ts";
import { makeRecipe, planBlock, type RecipeInput } from "./recipe.ts";
import { type Table, table } from "./table.ts";

/** What is tried: a name for figures, and what a recipe would say. */
export interface TrialCase extends Pick<RecipeInput, "method" | "bits" | "budget" | "rank" | "options"> {
  readonly label: string;
}

/** One method on one layer. */
export interface Trial {
  readonly label: string;
  readonly layer: StudyLayer;
  readonly quantized: AnyLayer;
  /** Ŵ (out, in). */
  readonly approximation: Matrix;
  /** Bits a weight, everything counted. */
  readonly stored: number;
  /** tr(D H Dᵀ) / tr(W H Wᵀ), D = Ŵ − W: the share of the output's energy that is wrong. */
  readonly outputError: number;
  /** ‖D‖² / ‖W‖². */
  readonly weightError: number;
  /** Ids of the weak columns, ascending. */
  readonly weak: readonly number[];
}

/**
 * Quantizes one layer by each case.
 *
 * @param layer W (out, in), H (in, in). @param linears all linears of its block: a target of bits is shared among them.
 * @param cases what to try.
 * @throws LabError for an unknown method or an option that does not fit.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { tryMethods } from "./layer_trial.ts";
 * const linear = { name: "q", out: 1, in: 2, input: "attention", stage: 0, ratio: 1, bias: false };
 * const weight = { data: Float32Array.of(0, 7), rows: 1, cols: 2 };
 * const hessian = { data: Float32Array.of(2, 0, 0, 2), rows: 2, cols: 2 };
 * const layer = { name: "0.q", label: "0.q", block: 0, linear, weight, hessian, windowLength: 1, seed: 0 };
 * const [rtn] = await tryMethods(layer, [linear], [{ label: "RTN 3", method: "rtn", bits: 3 }],
 *   { kernels: await openKernels("cpu") });
 * assert.equal(rtn.outputError, 0); // both weights are on the grid
 * ```
 */
export async function tryMethods(
  layer: StudyLayer,
  linears: readonly LinearInfo[],
  cases: readonly TrialCase[],
  context: QuantContext,
): Promise<Trial[]> {
  const trials: Trial[] = [], energy = objective(layer.weight, layer.hessian);
  for (const { label, ...input } of cases) {
    const recipe = makeRecipe(input);
    const plan = planBlock(recipe, layer.block, linears).find((p) => p.linear.name === layer.linear.name)!;
    const method = findMethod(recipe.method);
    const quantized = await method.quantizeLayer(layer, plan.options, plan.bits, plan.weakColumns, context);
    const approximation = dequantize(quantized), d = difference(approximation, layer.weight);
    trials.push({
      label,
      layer,
      quantized,
      approximation,
      stored: storedBits(quantized).perWeight,
      outputError: ratio(objective(d, layer.hessian), energy),
      weightError: ratio(squares(d), squares(layer.weight)),
      weak: [...weakIdsOf(quantized)],
    });
  }
  return trials;
}

/** The weights of a model with one layer replaced by a trial's: for `perplexity`. */
export function replacing(trial: Trial): OtherWeights {
  const { block, linear } = trial.layer;
  return (b, name) => Promise.resolve(b === block && name === linear.name ? trial.approximation : null);
}

/** The trials as a table. */
export function trialTable(trials: readonly Trial[]): Table {
  return table(
    ["method", "bits stored a weight", "weak columns", "error of the weights (%)", "error of the output (%)"],
    trials.map((t) => [t.label, t.stored, t.weak.length, 100 * t.weightError, 100 * t.outputError]),
    `Layer ${trials[0]?.layer.label ?? "–"}: squared error as a share of the squared size.`,
  );
}

/** What happens to the weights against what happens to the output, one point a method. */
export function trialFigure(trials: readonly Trial[]): Figure {
  return scatterFigure(
    {
      title: `One matrix, ${trials[0]?.layer.label ?? ""}, by each method`,
      x: { name: "how far the weights moved", unit: "%" },
      y: { name: "how far the output moved", unit: "%", log: true },
      caption:
        "Squared error as a share of the squared size, for the weights and for the output on the calibration text. " +
        "Lower is better; further to the right is not worse.",
    },
    trials.map((t) => ({ name: t.label, x: [100 * t.weightError], y: [100 * t.outputError] })),
  );
}

/** A − B, both of one shape. */
function difference(a: Matrix, b: Matrix): Matrix {
  return { ...a, data: a.data.map((v, i) => v - b.data[i]) };
}

function squares(m: Matrix): number {
  return m.data.reduce((sum, v) => sum + v * v, 0);
}

/** 0 of 0 is 0: a layer of zeros loses nothing. */
function ratio(part: number, whole: number): number {
  return part === 0 ? 0 : part / whole;
}
