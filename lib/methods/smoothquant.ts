// SmoothQuant, SmoothQuant+ and CrossQuant. Part of the range of large input channels moves into the weights by an exact rescaling.
// SmoothQuant does it for the activations' sake (8 bits both); SmoothQuant+ takes the strength with the least output error
// and rounds the weights alone; CrossQuant, whose steps of activations mix token and channel, leaves its channel factor
// with the weights when both are to be whole numbers (the activations' part: lib/quant/crossquant.ts).
//   s_j = max|x_j|^α / max|W_:,j|^(1−α);  x/s and W diag(s);  SmoothQuant+: the α with the least ‖X(Ŵ − W)ᵀ‖²;
//   CrossQuant: s_j = max|x_j|^(1−α), α = 0.15
// Stored a weight: b + (16 + b)/g + 16/out (SmoothQuant: signed grid, b + 16/g + 16/out), the last for 1/s.
// Sources: Xiao et al., ICML 2023, arXiv 2211.10438 (rules as in mit-han-lab/smoothquant c61476d); Pan et al., arXiv
// 2312.03788, of whose search no code is public; Liu et al., arXiv 2410.07505 (no code; folding is ours).
// Ours: s is stored with each linear where the papers fold it into the norm before; the α of SmoothQuant+ is searched for
// each linear on its own output, where the paper has one for the model; α = none is among its candidates.
import type { Matrix } from "../io/tensor.ts";
import { layerObjective } from "../quant/context.ts";
import { f16round } from "../quant/f16.ts";
import { groupGrid, type GroupGridOptions, groupGridPlan, onGroupGrid } from "../quant/group_grid.ts";
import { channelSize, columnMax, scaleColumns, smoothScale } from "../quant/smooth.ts";
import { columnScaleStore } from "../quant/stores/columns.ts";
import { gridStore } from "../quant/stores/grid.ts";
import { gridCandidates } from "./fit.ts";
import { groupOptions, scaledGridBits } from "./group_options.ts";
import type { Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

/** 1/s as it is stored, s = max|x|^a / max|w|^b. */
function inverseScale(x: Matrix, w: Matrix, a: number, b: number): Float32Array<ArrayBuffer> {
  return smoothScale(channelSize(x, "max"), columnMax(w), a, b).map((s) => f16round(1 / s) || 2 ** -24);
}

function smoothing(
  name: string,
  title: string,
  source: string,
  storage: string,
  rule: GroupGridOptions["rule"],
  strength: Options,
): Method {
  const grid = (o: Options, bits: number) => groupOptions(o, bits, rule);
  return {
    name,
    title,
    storage,
    source,
    needs: { hessian: true, inputs: true },
    weakColumns: false,
    defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, ...strength },
    choices: { scaleBits: [16, 32] },
    stored: (shape, o, bits) => scaledGridBits(shape, grid(o, bits)),
    candidates: (shape, o, target) => gridCandidates(shape.cols, o, target),
    async quantizeLayer(problem, o, bits, _weak, context) {
      const { weight } = problem, h = required(problem, "hessian"), x = required(problem, "inputs"), g = grid(o, bits);
      const alpha = Number(o.alpha ?? 0), beta = Number(o.crossAlpha ?? 0);
      let inverse = o.crossAlpha === undefined
        ? inverseScale(x, weight, alpha, 1 - alpha)
        : inverseScale(x, weight, 1 - beta, 0);
      if (o.alphaSteps !== undefined) {
        let least = Infinity;
        for (let i = -1; i <= Number(o.alphaSteps); i++) {
          const share = i / Number(o.alphaSteps); // below 0: no smoothing
          const tried = share < 0 ? inverseScale(x, weight, 0, 0) : inverseScale(x, weight, share, 1 - share);
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

/** CrossQuant, its weights. */
export const CROSSQUANT: Method = smoothing(
  "crossquant",
  "CrossQuant: the channels' part of the activations' steps folded into the weights",
  "Liu et al. 2024, arXiv 2410.07505",
  "b + (s + b)/g + 16/out, s bits a scale, g columns a group",
  "range",
  { crossAlpha: 0.15 },
);
