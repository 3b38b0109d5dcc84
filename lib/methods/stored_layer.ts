// What every method that stores more than one grid ends with: its stores, and how far the layer's output is off.
import { LabError } from "../io/errors.ts";
import type { Matrix } from "../io/tensor.ts";
import { layerObjective, type QuantContext } from "../quant/context.ts";
import { type LayerProblem, type LayerReport, NO_REPORT, type StoredLayer } from "../quant/layer.ts";
import { rtn } from "../quant/rtn.ts";
import { dequantize } from "../quant/dequantize.ts";
import type { Store } from "../quant/store.ts";

/** What a method cannot do without. @throws LabError where the run did not provide it. */
export function required(problem: LayerProblem, what: "hessian" | "inputs" | "gradient"): Matrix {
  const found = problem[what];
  if (!found) throw new LabError("input", problem.name, `has no ${what}`, "Give calibration text.");
  return found;
}

/**
 * A layer of stores with its report: tr(D H Dᵀ), beside that of plain rounding with codes of as many bits, where there
 * is a Hessian.
 *
 * @param problem W (out, in), H (in, in) or null. @param method its name. @param bits of a code, for the comparison.
 * @param stores in the order in which they are taken. @param how what else the report should say.
 */
export async function storedLayer(
  problem: LayerProblem,
  method: string,
  bits: number,
  stores: readonly Store[],
  context: QuantContext,
  how: Partial<LayerReport> = {},
): Promise<StoredLayer> {
  const { name, weight, hessian } = problem, { rows, cols } = weight;
  const layer = { name, method, rows, cols, stores, report: { ...NO_REPORT, ...how } };
  if (!hessian) return layer;
  const plain = rtn(problem, { bits: Math.min(8, Math.max(1, bits)), symmetric: false, groupSize: 0, scaleBits: 32 });
  const objective = await layerObjective(context, dequantize(layer), weight, hessian);
  const objectiveRtn = await layerObjective(context, dequantize(plain), weight, hessian);
  return { ...layer, report: { ...layer.report, objective, objectiveRtn } };
}
