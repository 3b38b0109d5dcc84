// FineQuant. Without data: a signed grid in groups whose size suits the matrix, because a few matrices with outliers cause
// most of the harm and only those need fine groups.
//   s = max|w|/(2^(b−1) − 1);  g halves from the whole row while the mean range falls below α times what it was
// Stored a weight: b + s/g.
// Source: Kim et al. 2023, arXiv 2308.09723.
// Ours: the rule of the halving (the paper tells of a heuristic on ranges); the target sets the smallest group, so that a
// matrix that needs no fine groups stores less than the target.
import { plannedBits } from "../quant/budget.ts";
import { adaptiveGroup } from "../quant/finequant.ts";
import { groupGrid, groupGridPlan } from "../quant/group_grid.ts";
import { gridStore, planGrid } from "../quant/stores/grid.ts";
import { gridCandidates } from "./fit.ts";
import { groupOptions } from "./group_options.ts";
import type { Method, Options } from "./method.ts";
import { storedLayer } from "./stored_layer.ts";

const grid = (o: Options, bits: number, groupSize: number) => groupOptions({ ...o, groupSize }, bits, "absmax");

/** Fine-grained weight-only quantization. */
export const FINEQUANT: Method = {
  name: "finequant",
  title: "FineQuant: groups as fine as a matrix needs them, a signed grid, no data",
  storage: "b + s/g, s bits a scale, g chosen by matrix, no finer than the target allows",
  source: "Kim et al. 2023, arXiv 2308.09723",
  needs: { hessian: false },
  weakColumns: false,
  defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, alpha: 0.9 },
  choices: { scaleBits: [16, 32] },
  storedExactly: false,
  stored: (shape, o, bits) =>
    plannedBits([planGrid(groupGridPlan(shape, grid(o, bits, Number(o.groupSize))))], shape.rows * shape.cols),
  candidates: (shape, o, target) => gridCandidates(shape.cols, o, target),
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const size = adaptiveGroup(problem.weight, Number(o.alpha), Number(o.groupSize)), g = grid(o, bits, size);
    const store = gridStore(groupGridPlan(problem.weight, g), { ...groupGrid(problem.weight, g) });
    return storedLayer(problem, "finequant", bits, [store], context);
  },
};
