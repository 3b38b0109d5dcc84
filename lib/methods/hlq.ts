// HLQ, the quantizer of ELUTQ. Kernels that look bit planes up in tables pay nothing for planes with scales of their own,
// so that the levels need not be even. Fitted by alternating least squares, group after group inside an OPTQ sweep.
//   ŵ = z + Σ_k c_k s_k,  c_k ∈ {0, 1};  (s, z) = argmin ‖w − z − C s‖², codes and scales in turn
// Stored a weight: b + s(b + 1)/g, and log2(in/g)/out for the order of work.
// Source: ELUTQ, arXiv 2510.19482; rules as in Nkniexin/ELUTQ 54cf472.
// Ours: scales and zeros in 16 bits before the last codes; groups of any size; loud columns first, unless told otherwise.
import { plannedBits } from "../quant/budget.ts";
import { hlq, HLQ_DEFAULTS } from "../quant/hlq.ts";
import { type BitPlanesPlan, bitPlanesStore, planBitPlanes } from "../quant/stores/bit_planes.ts";
import { gridCandidates } from "./fit.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

function plan({ rows, cols }: LinearShape, o: Options, bits: number): BitPlanesPlan {
  const groupSize = Number(o.groupSize), groupMap = o.actOrder === true && groupSize > 0 && groupSize < cols;
  return { rows, cols, bits, groupSize, scaleBits: o.scaleBits === 32 ? 32 : 16, groupMap };
}

/** Hierarchical linear quantization. */
export const HLQ: Method = {
  name: "hlq",
  title: "HLQ (ELUTQ): bit planes with scales of their own, swept",
  storage: "b + s(b + 1)/g + log2(in/g)/out, s bits a scale, g columns a group",
  source: "ELUTQ, arXiv 2510.19482",
  needs: { hessian: true },
  weakColumns: false,
  defaults: {
    codeBits: 0,
    groupSize: 0,
    scaleBits: 16,
    rounds: HLQ_DEFAULTS.rounds,
    damp: HLQ_DEFAULTS.damp,
    actOrder: true,
  },
  choices: { scaleBits: [16, 32] },
  stored: (shape, o, bits) => plannedBits([planBitPlanes(plan(shape, o, bits))], shape.rows * shape.cols),
  // Beyond 6 bits the search through all levels takes long and wins nothing over an even grid.
  candidates: (shape, o, target) => gridCandidates(shape.cols, o, target, [6, 5, 4, 3, 2, 1]),
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, planes = plan(weight, o, bits), size = planes.groupSize || weight.cols;
    const found = hlq(weight, required(problem, "hessian"), {
      bits,
      groupSize: planes.groupSize,
      rounds: Number(o.rounds),
      damp: Number(o.damp),
      actOrder: o.actOrder === true,
      scaleBits: planes.scaleBits,
    });
    const codes = new Uint8Array(weight.data.length), groupOf = new Int32Array(weight.cols);
    found.order.forEach((j, k) => {
      groupOf[j] = Math.floor(k / size);
      for (let r = 0; r < weight.rows; r++) codes[r * weight.cols + j] = found.codes[r * weight.cols + k];
    });
    const store = bitPlanesStore(planes, { codes, scale: found.scale, zero: found.zero, group_of: groupOf });
    return storedLayer(problem, "hlq", bits, [store], context, { damp: found.damp });
  },
};
