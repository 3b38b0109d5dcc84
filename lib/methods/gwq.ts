// GWQ. A single text shows which weights the loss is most sensitive to: those with the largest gradient stay in 16 bits,
// about one in a hundred; all others are rounded to nearest in groups.
//   keep w_ij among the largest ρ of |∂L/∂w_ij|;  grid of a group fitted to the others
// Stored a weight: b + (s + b)/g + ρ (16 + log2 in) + log2(in)/in.
// Source: Shao et al. 2024, arXiv 2411.00850, who publish no code: gradients of a small sample, 1 % kept, groups.
// Ours: the share is per matrix and what the target leaves, at most 1 %; |gradient| is averaged over the windows (a
// gradient that changes sign from text to text counts); rounding to nearest on the range of the group.
import { plannedBits } from "../quant/budget.ts";
import { groupGrid, groupGridPlan } from "../quant/group_grid.ts";
import { largest, withoutMarked } from "../quant/gwq.ts";
import type { StorePlan } from "../quant/store.ts";
import { gridStore, planGrid } from "../quant/stores/grid.ts";
import { planSparse, sparseStore } from "../quant/stores/sparse.ts";
import { groupSizes, sparseCandidates } from "./fit.ts";
import { groupOptions } from "./group_options.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

const grid = (o: Options, bits: number) => groupOptions(o, bits, "range");

const count = ({ rows, cols }: LinearShape, o: Options) => Math.floor(Math.max(0, Number(o.share)) * rows * cols);

function plan(shape: LinearShape, o: Options, bits: number): StorePlan[] {
  const kept = count(shape, o), codes = planGrid(groupGridPlan(shape, grid(o, bits)));
  return kept > 0 ? [codes, planSparse(shape.rows, shape.cols, kept)] : [codes];
}

/** Gradient-aware weight quantization. */
export const GWQ: Method = {
  name: "gwq",
  title: "GWQ: the weights with the largest gradient kept, the rest rounded",
  storage: "b + (s + b)/g + ρ(16 + log2 in) + log2(in)/in, ρ the share kept",
  source: "Shao et al. 2024, arXiv 2411.00850",
  needs: { hessian: false, gradient: true },
  weakColumns: false,
  // share: of the weights that stay; 0: what the target leaves, at most 1 %; below 0: none.
  defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, share: 0, samples: 4 },
  choices: { scaleBits: [16, 32] },
  stored: (shape, o, bits) => plannedBits(plan(shape, o, bits), shape.rows * shape.cols),
  candidates: (shape, o, target) => sparseCandidates(shape, o, target, 0.01, groupSizes(shape.cols), plan),
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, g = grid(o, bits), kept = count(weight, o);
    const mask = kept > 0 ? largest(required(problem, "gradient").data, kept) : new Uint8Array(weight.data.length);
    const values = { ...groupGrid(withoutMarked(weight, mask, g.groupSize), g) };
    const stores = [gridStore(groupGridPlan(weight, g), values), ...(kept > 0 ? [sparseStore(weight, mask)] : [])];
    return storedLayer(problem, "gwq", bits, stores, context);
  },
};
