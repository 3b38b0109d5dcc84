// AdaDim. An input channel with outliers touches every group that runs along the inputs; groups along the outputs, inside
// one input column, keep it to itself. Each layer takes the dimension that rounds better, then OPTQ runs in it.
//   dimension = argmin ‖X(RTN(W) − W)ᵀ‖² of groups along in ("oc") and along out ("ic");  Ŵ = OPTQ in that dimension
// Stored a weight: b + (s + b)/g in either dimension.
// Source: Heo et al., ICLR 2024, arXiv 2309.15531; rules as in johnheo/adadim-llm 49ee38e.
// Ours: each linear is judged by its own output, where the paper judges q, k, v by the attention's and gate, up by the
// MLP's; the second moment comes from the quantized path, as for all methods of the lab.
import { LabError } from "../io/errors.ts";
import {
  type AdaDimOptions,
  chooseDimension,
  dimensionGrid,
  sweepColumnsGroups,
  sweepRowGroups,
} from "../quant/adadim.ts";
import { plannedBits } from "../quant/budget.ts";
import { groupGrid, groupGridPlan } from "../quant/group_grid.ts";
import { gridStore, planGrid } from "../quant/stores/grid.ts";
import { gridCandidates } from "./fit.ts";
import type { Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

function optionsOf(o: Options, bits: number): AdaDimOptions {
  const scaleBits = o.scaleBits === 32 ? 32 : 16;
  return { bits, groupSize: Number(o.groupSize), damp: Number(o.damp), actOrder: o.actOrder === true, scaleBits };
}

/** Adaptive dimensions. */
export const ADADIM: Method = {
  name: "adadim",
  title: "AdaDim: groups along the inputs or along the outputs, whichever rounds better",
  storage: "b + (s + b)/g, s bits a scale, g weights a group",
  source: "Heo et al., ICLR 2024, arXiv 2309.15531",
  needs: { hessian: true },
  weakColumns: false,
  defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, damp: 0.01, actOrder: true, sweep: true, dimension: "best" },
  choices: { scaleBits: [16, 32], dimension: ["best", "oc", "ic"] },
  storedExactly: false, // a group that does not divide both sides gives one more group in one dimension
  stored: (shape, o, bits) => {
    const of = (dimension: "oc" | "ic") => {
      const plan = planGrid(groupGridPlan(shape, dimensionGrid(optionsOf(o, bits), dimension)));
      return plannedBits([plan], shape.rows * shape.cols);
    };
    const [oc, ic] = [of("oc"), of("ic")];
    return oc.perWeight > ic.perWeight ? oc : ic;
  },
  candidates: (shape, o, target) => gridCandidates(Math.min(shape.rows, shape.cols), o, target),
  async quantizeLayer(problem, o, bits, _weak, context) {
    const { weight } = problem, h = required(problem, "hessian"), options = optionsOf(o, bits);
    const dimension = o.dimension === "oc" || o.dimension === "ic"
      ? o.dimension
      : chooseDimension(weight, h, options).dimension;
    const grid = groupGridPlan(weight, dimensionGrid(options, dimension)), { damp } = options;
    if (o.sweep !== true) {
      const values = { ...groupGrid(weight, dimensionGrid(options, dimension)) };
      return await storedLayer(problem, "adadim", bits, [gridStore(grid, values)], context);
    }
    if (dimension === "ic") {
      const { codes, scale, zero, damp } = sweepColumnsGroups(weight, h, options);
      return await storedLayer(problem, "adadim", bits, [gridStore(grid, { codes, scale, zero })], context, { damp });
    }
    const { layer } = await sweepRowGroups(problem, options, context), { codes, scale, zero, report } = layer;
    if (report.fallback) throw new LabError("numeric", problem.name, report.fallback);
    return await storedLayer(problem, "adadim", bits, [gridStore(grid, { codes, scale, zero })], context, { damp });
  },
};
