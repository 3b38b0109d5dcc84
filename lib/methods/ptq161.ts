// PTQ1.61. The input channels with the largest activations stay at 4 bits, whole channels, so that one bit a channel tells
// which; every other weight is a sign, with scales of rows and columns that are trained on the layer's output.
//   ŵ_ij = r1_i r2_j (α_i sign(w_ij − μ_i) + μ_i) outside the mask;  min 2 MSE(y, ŷ) − 2 ln|mean cos(y, ŷ)|
// Stored a weight: ρ h + (1 − ρ) + (48 + h)/in + 16(1 − ρ)/out + 1/out, ρ the share at h bits.
// Source: PTQ1.61, arXiv 2502.13179; rules as in zjq0455/PTQ1.61 4561118.
// Ours: the share follows from the target; training on one linear's own output, where the paper trains whole blocks; two
// epochs instead of twenty unless told; r1 is stored inside α and μ; no fine-tuning of the model beforehand.
import type { Matrix } from "../io/tensor.ts";
import { plannedBits } from "../quant/budget.ts";
import { highGrid, PTQ161_DEFAULTS, startPtq161, trainPtq161 } from "../quant/ptq161.ts";
import { channelSize } from "../quant/smooth.ts";
import { binaryStore, planBinary } from "../quant/stores/binary.ts";
import { wanted } from "./fit.ts";
import type { Method } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

/** Signs and salient channels. */
export const PTQ161: Method = {
  name: "ptq161",
  title: "PTQ1.61: loud channels at 4 bits, signs with trained scales for the rest",
  storage: "ρh + (1 − ρ) + (48 + h)/in + 16(1 − ρ)/out + 1/out, ρ the share of channels at h bits",
  source: "arXiv 2502.13179",
  needs: { hessian: false, inputs: true },
  weakColumns: false,
  // salient: channels at codeBits bits.
  defaults: {
    codeBits: 0,
    salient: 0,
    epochs: 2,
    batch: 64,
    rateScale: PTQ161_DEFAULTS.rateScale,
    rateFactor: PTQ161_DEFAULTS.rateFactor,
  },
  choices: {},
  stored: ({ rows, cols }, o, bits) => plannedBits([planBinary(rows, cols, bits, Number(o.salient))], rows * cols),
  *candidates({ rows, cols }, o, target) {
    for (const bits of wanted(o, "codeBits", [4, 5, 6, 7, 8])) {
      const least = plannedBits([planBinary(rows, cols, bits, 0)], rows * cols).perWeight;
      const room = Math.ceil((target - least) / (bits - 1) * cols) + 1;
      if (Number(o.codeBits) === 0 && bits < 8 && room > cols) continue; // all channels fit: wider codes
      for (const salient of wanted(o, "salient", Array.from({ length: 4 }, (_, i) => Math.min(cols, room) - i))) {
        if (salient >= 1) yield { bits, options: { ...o, codeBits: bits, salient } };
      }
    }
  },
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, { rows, cols } = weight, x = required(problem, "inputs"), salient = Number(o.salient);
    const size = channelSize(x, "max"), order = Int32Array.from(size.keys()).sort((a, b) => size[b] - size[a]);
    const rank = new Float64Array(cols); // channels of equal size in their own order, so that the count is exact
    order.forEach((j, k) => rank[j] = cols - k);
    const options = {
      bits,
      share: (salient - 0.5) / cols,
      epochs: Number(o.epochs),
      rateScale: Number(o.rateScale),
      rateFactor: Number(o.rateFactor),
    };
    const start = { ...startPtq161(weight, rank, options), high: highGrid(weight, bits, Math.f16round) };
    const l = options.epochs > 0 ? trainPtq161(weight, start, batches(x, Number(o.batch)), options) : start;
    const store = binaryStore({ rows, cols, bits }, {
      salient: l.mask,
      ...l.high,
      sign: weight.data.map((v, i) => v >= l.mean[Math.floor(i / cols)] ? 1 : 0),
      row: l.alpha.map((v, r) => v * l.r1[r]),
      mean: l.mean.map((v, r) => v * l.r1[r]),
      column: l.r2,
    });
    return storedLayer(problem, "ptq161", bits, [store], context);
  },
};

/** X (tokens, in) in parts of so many tokens; the last may be short. */
function batches(x: Matrix, tokens: number): Matrix[] {
  return Array.from({ length: Math.ceil(x.rows / tokens) }, (_, b) => {
    const data = x.data.slice(b * tokens * x.cols, Math.min(x.rows, (b + 1) * tokens) * x.cols);
    return { data, rows: data.length / x.cols, cols: x.cols };
  });
}
