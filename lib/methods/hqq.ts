// HQQ. Without data: the grid's steps stay as min and max give them, only the zero point moves, so that an ℓ_p norm (p < 1)
// of the weights' error, which forgives a few large errors for many small ones, gets smaller.
//   min over z of ‖W − s(q − z)‖_p^p by half-quadratic splitting: e = shrink(W − s(q − z)), z = mean(q − (W − e)/s)
// Stored a weight: b + (s + s)/g, s bits of the scale and of the zero point, which is a real number.
// Source: Badri and Shaji 2023, mobiusml.github.io/hqq_blog; rules as in mobiusml/hqq e0b1d00.
// Ours: scale and zero are rounded to 16 bits before the last codes are taken; groups of any size, the last may be short.
import { plannedBits } from "../quant/budget.ts";
import { hqq, HQQ_DEFAULTS } from "../quant/hqq.ts";
import { type GridPlan, gridStore, planGrid } from "../quant/stores/grid.ts";
import { gridCandidates } from "./fit.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { storedLayer } from "./stored_layer.ts";

/** The grid that HQQ stores. */
function plan(shape: LinearShape, o: Options, bits: number): GridPlan {
  const scaleBits = o.scaleBits === 32 ? 32 : 16;
  return {
    rows: shape.rows,
    cols: shape.cols,
    bits,
    groupSize: Number(o.groupSize),
    axis: "in",
    scale: scaleBits,
    zero: scaleBits,
  };
}

/** Half-quadratic quantization. */
export const HQQ: Method = {
  name: "hqq",
  title: "HQQ: zero points by half-quadratic splitting, no data",
  storage: "b + 2s/g, s bits of a scale and of a real zero point, g columns a group",
  source: "Badri and Shaji 2023, mobiusml.github.io/hqq_blog",
  needs: { hessian: false },
  weakColumns: false,
  defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, ...HQQ_DEFAULTS },
  choices: { scaleBits: [16, 32] },
  stored: (shape, o, bits) => plannedBits([planGrid(plan(shape, o, bits))], shape.rows * shape.cols),
  candidates: (shape, o, target) => gridCandidates(shape.cols, o, target),
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const grid = plan(problem.weight, o, bits), scaleBits = grid.scale === 32 ? 32 : 16;
    const { groupSize } = grid, [lp, beta, rounds] = [Number(o.lp), Number(o.beta), Number(o.rounds)];
    const solved = hqq(problem.weight, { bits, groupSize, lp, beta, rounds, scaleBits });
    return storedLayer(problem, "hqq", bits, [gridStore(grid, { ...solved })], context);
  },
};
