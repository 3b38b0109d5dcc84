// LLM.int8(). The weight in bytes, one scale a row; at run time the inputs in bytes too, one scale a token, but for the
// few channels with a value of 6 or more, which are multiplied as floats.
//   q = round(127 w / max|w|);  y = (Cx · Cwᵀ) sx sw / 127² + x_O · W_Oᵀ,  O = {j : any |x_j| ≥ 6}
// Stored a weight: 8 + s/in. In the table of weights it is plain 8-bit rounding: what it is about are the activations,
// whose part is lib/quant/llm_int8.ts (int8Product).
// Source: Dettmers et al., NeurIPS 2022, arXiv 2208.07339; rules as in bitsandbytes 0.50.2.
// Ours: scales of 16 bits.
import { plannedBits } from "../quant/budget.ts";
import { groupGrid, type GroupGridOptions, groupGridPlan } from "../quant/group_grid.ts";
import { gridStore, planGrid } from "../quant/stores/grid.ts";
import type { Method, Options } from "./method.ts";
import { storedLayer } from "./stored_layer.ts";

const grid = (o: Options): GroupGridOptions => ({
  bits: 8,
  groupSize: 0,
  axis: "in",
  rule: "absmax",
  scaleBits: o.scaleBits === 32 ? 32 : 16,
});

/** LLM.int8(), its weights. */
export const LLM_INT8: Method = {
  name: "llm-int8",
  title: "LLM.int8(): bytes, one scale a row; its outlier channels are the inputs' affair",
  storage: "8 + s/in, s bits a scale",
  source: "Dettmers et al., NeurIPS 2022, arXiv 2208.07339",
  needs: { hessian: false },
  weakColumns: false,
  defaults: { scaleBits: 16 },
  choices: { scaleBits: [16, 32] },
  stored: (shape, o) => plannedBits([planGrid(groupGridPlan(shape, grid(o)))], shape.rows * shape.cols),
  candidates: (_shape, options) => [{ bits: 8, options }],
  quantizeLayer: (problem, o, _bits, _weak, context) => {
    const values = { ...groupGrid(problem.weight, grid(o)) };
    return storedLayer(problem, "llm-int8", 8, [gridStore(groupGridPlan(problem.weight, grid(o)), values)], context);
  },
};
