// BitStack. A matrix as a stack of blocks of about one bit a weight: the signs of what the blocks before leave, and a
// low-rank picture of its sizes. A stack can be cut anywhere; loud input channels are scaled up first.
//   R_0 = W diag(s);  R_{t+1} = R_t − sign(R_t) ⊙ SVD_k(|R_t|);  Ŵ = Σ_t sign(R_t) ⊙ (A_t B_t) diag(1/s)
// Stored a weight: T (1 + 16 k (in + out)/(in · out)) + 16/out.
// Source: BitStack, arXiv 2410.23918; rules as in xinghaow99/BitStack 9f333d6.
// Ours: s from the second moment of all samples, where the paper averages the samples' norms; as many blocks as fit with
// rank 1, the ranks share what is left; every linear gets the same bits, so that no order between linears is needed.
import { stackBlocks } from "../quant/bitstack.ts";
import { plannedBits } from "../quant/budget.ts";
import { f16round } from "../quant/f16.ts";
import { diagonal } from "../quant/hessian.ts";
import { scaleColumns } from "../quant/smooth.ts";
import { columnScaleStore, planColumnScale } from "../quant/stores/columns.ts";
import { planSignLowRank, signLowRankStore } from "../quant/stores/sign_low_rank.ts";
import { wanted } from "./fit.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

/** Ranks of the blocks: as even as they come, the larger first. */
function ranksOf(o: Options): number[] {
  const blocks = Number(o.blocks), sum = Number(o.rankSum);
  return Array.from({ length: blocks }, (_, t) => Math.floor(sum / blocks) + (t < sum % blocks ? 1 : 0));
}

function plan({ rows, cols }: LinearShape, o: Options) {
  return [...ranksOf(o).map((k) => planSignLowRank(rows, cols, k)), planColumnScale(cols)];
}

/** A stack of sign blocks. */
export const BITSTACK: Method = {
  name: "bitstack",
  title: "BitStack: blocks of signs with low-rank sizes, as many as fit",
  storage: "T + 16 Σ_t k_t (in + out)/(in·out) + 16/out, T blocks of rank k_t",
  source: "arXiv 2410.23918",
  needs: { hessian: true },
  weakColumns: false,
  // rankSum: the ranks of all blocks together.
  defaults: { blocks: 0, rankSum: 0 },
  choices: {},
  stored: (shape, o) => plannedBits(plan(shape, o), shape.rows * shape.cols),
  *candidates(shape, o, target) {
    const { rows, cols } = shape, rank = 16 * (rows + cols) / (rows * cols), side = Math.min(rows, cols);
    const most = Math.max(1, Math.min(16, Math.floor(target)));
    for (const blocks of wanted(o, "blocks", Array.from({ length: most }, (_, i) => most - i))) {
      const room = Math.min(blocks * side, Math.max(blocks, Math.floor((target - blocks) / rank)));
      const sums = Array.from({ length: room - blocks + 1 }, (_, i) => room - i).slice(0, 3);
      for (const rankSum of wanted(o, "rankSum", sums)) {
        yield { bits: Math.min(8, blocks), options: { ...o, blocks, rankSum } };
      }
    }
  },
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, d = diagonal(required(problem, "hessian"));
    const mean = d.reduce((a, b) => a + b, 0) / d.length || 1;
    const inverse = Array.from(d, (v) => f16round(1 / Math.max(1e-3, Math.sqrt(v / mean)))); // as the layer stores it
    const blocks = stackBlocks(scaleColumns(weight, inverse, true), ranksOf(o));
    const stores = blocks.map(({ positive, u, vt }) => signLowRankStore(positive, u, vt));
    return storedLayer(problem, "bitstack", bits, [...stores, columnScaleStore(inverse)], context);
  },
};
