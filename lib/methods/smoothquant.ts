// SmoothQuant and SmoothQuant+. Part of the range of large input channels moves into the weights by an exact rescaling.
// SmoothQuant does it for the activations' sake (8 bits both); SmoothQuant+ takes the strength with the least output error
// and rounds the weights alone.
//   s_j = max|x_j|^α / max|W_:,j|^(1−α);  x/s and W diag(s);  SmoothQuant+: the α with the least ‖X(Ŵ − W)ᵀ‖²
// Stored a weight: b + (16 + b)/g + 16/out (SmoothQuant: signed grid, b + 16/g + 16/out), the last for 1/s.
// Sources: Xiao et al., ICML 2023, arXiv 2211.10438 (rules as in mit-han-lab/smoothquant c61476d); Pan et al., arXiv
// 2312.03788, of whose search no code is public.
// Ours: s is stored with each linear where the papers fold it into the norm before; the α of SmoothQuant+ is searched for
// each linear on its own output, where the paper has one for the model; α = none is among its candidates.
import type { Matrix } from "../io/tensor.ts";
import { plannedBits } from "../quant/budget.ts";
import { layerObjective } from "../quant/context.ts";
import { f16round } from "../quant/f16.ts";
import { groupGrid, type GroupGridOptions, groupGridPlan, onGroupGrid } from "../quant/group_grid.ts";
import { channelSize, columnMax, scaleColumns, smoothScale } from "../quant/smooth.ts";
import { columnScaleStore, planColumnScale } from "../quant/stores/columns.ts";
import { gridStore, planGrid } from "../quant/stores/grid.ts";
import { gridCandidates } from "./fit.ts";
import type { Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

/** 1/s as it is stored, at one α; α < 0: no smoothing. */
function inverseScale(x: Matrix, w: Matrix, alpha: number): Float32Array<ArrayBuffer> {
  if (alpha < 0) return new Float32Array(w.cols).fill(1);
  return smoothScale(channelSize(x, "max"), columnMax(w), alpha, 1 - alpha).map((s) => f16round(1 / s) || 2 ** -24);
}

function smoothing(
  name: string,
  title: string,
  source: string,
  storage: string,
  rule: GroupGridOptions["rule"],
  strength: Options,
): Method {
  const grid = (o: Options, bits: number): GroupGridOptions => {
    return { bits, groupSize: Number(o.groupSize), axis: "in", rule, scaleBits: o.scaleBits === 32 ? 32 : 16 };
  };
  return {
    name,
    title,
    storage,
    source,
    needs: { hessian: true, inputs: true },
    weakColumns: false,
    defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, ...strength },
    choices: { scaleBits: [16, 32] },
    stored: (shape, o, bits) =>
      plannedBits(
        [planGrid(groupGridPlan(shape, grid(o, bits))), planColumnScale(shape.cols)],
        shape.rows * shape.cols,
      ),
    candidates: (shape, o, target) => gridCandidates(shape.cols, o, target),
    async quantizeLayer(problem, o, bits, _weak, context) {
      const { weight } = problem, h = required(problem, "hessian"), x = required(problem, "inputs"), g = grid(o, bits);
      let inverse = inverseScale(x, weight, Number(o.alpha ?? -1));
      if (o.alphaSteps !== undefined) {
        let least = Infinity;
        for (let i = -1; i <= Number(o.alphaSteps); i++) {
          const tried = inverseScale(x, weight, i / Number(o.alphaSteps));
          const w = scaleColumns(onGroupGrid(scaleColumns(weight, tried, true), g), tried);
          const loss = await layerObjective(context, w, weight, h);
          if (loss < least) [least, inverse] = [loss, tried];
        }
      }
      const values = { ...groupGrid(scaleColumns(weight, inverse, true), g) };
      const stores = [gridStore(groupGridPlan(weight, g), values), columnScaleStore(inverse)];
      return await storedLayer(problem, name, bits, stores, context);
    },
  };
}

/** SmoothQuant, its weights. */
export const SMOOTHQUANT: Method = smoothing(
  "smoothquant",
  "SmoothQuant: range moved from the inputs to the weights, a signed grid",
  "Xiao et al., ICML 2023, arXiv 2211.10438",
  "b + s/g + 16/out, s bits a scale, g columns a group",
  "absmax",
  { alpha: 0.5 },
);

/** SmoothQuant+. */
export const SMOOTHQUANT_PLUS: Method = smoothing(
  "smoothquant+",
  "SmoothQuant+: the smoothing with the least output error, weights only",
  "Pan et al. 2023, arXiv 2312.03788",
  "b + (s + b)/g + 16/out, s bits a scale, g columns a group",
  "range",
  { alphaSteps: 20 },
);
