// CompactifAI. The numbers of rows and columns are cut into digits; a chain of small tensors, one for each pair of digits,
// stands for the matrix, and the width χ of its bonds decides how much of it is kept. Its numbers are rounded on top.
//   W[o1 o2, i1 i2] ≈ Σ_a A[o1, i1, a] B[a, o2, i2], from a truncated singular value decomposition
// Stored a weight: χ (o1 i1 + o2 i2) (b + 16/64) / (out · in), b bits a number.
// Source: Tomut et al., arXiv 2401.14109, who publish no code; the decomposition as in tensorly 0.10.0.
// Ours: two sites with factors as equal as they come; numbers in codes of b bits on signed grids of 64 (b = 16: floats);
// no healing: the paper trains after cutting, and what this loses without that is what the row shows.
import { plannedBits } from "../quant/budget.ts";
import { planTrain, trainStore } from "../quant/stores/tensor_train.ts";
import { balancedSites, bondRanks, toTrain } from "../quant/tensor_train.ts";
import { wanted } from "./fit.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { storedLayer } from "./stored_layer.ts";

function plan({ rows, cols }: LinearShape, o: Options) {
  const sites = balancedSites(rows, cols);
  return planTrain(sites, bondRanks(sites, Number(o.chi)), Number(o.coreBits));
}

/** Tensor trains. */
export const COMPACTIFAI: Method = {
  name: "compactifai",
  title: "CompactifAI: a tensor train in place of the matrix, without healing",
  storage: "χ(o1·i1 + o2·i2)(b + 1/4)/(in·out), b bits a number of the cores",
  source: "Tomut et al. 2024, arXiv 2401.14109",
  needs: { hessian: false },
  weakColumns: false,
  defaults: { chi: 0, coreBits: 4 },
  choices: { coreBits: [2, 3, 4, 5, 6, 8, 16] },
  stored: (shape, o) => plannedBits([plan(shape, o)], shape.rows * shape.cols),
  *candidates(shape, o) {
    const { out, in: into } = balancedSites(shape.rows, shape.cols),
      most = Math.min(out[0] * into[0], out[1] * into[1]);
    for (const chi of wanted(o, "chi", Array.from({ length: most }, (_, i) => most - i))) {
      yield { bits: Number(o.coreBits), options: { ...o, chi } };
    }
  },
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, sites = balancedSites(weight.rows, weight.cols);
    const store = trainStore(toTrain(weight, sites, Number(o.chi)), Number(o.coreBits));
    return storedLayer(problem, "compactifai", bits, [store], context);
  },
};
