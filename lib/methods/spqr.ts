// SpQR. The few single weights that rounding hurts most stay in 16 bits; all others are rounded by OPTQ in very small
// groups, which are paid for by rounding the groups' scales and zeros to 3-bit codes as well.
//   keep w_ij where ((w_ij − ŵ_ij)/U_jj)² > T;  grid of a group fitted without them;  scale ≈ qq_s · (code − qq_z)
// Stored a weight: b + (b_s + b_z)/g + 64/(g · 16) + ρ (16 + log2 in) + log2(in)/in, and log2(in/g)/out for the order of work.
// Source: Dettmers et al., ICLR 2024, arXiv 2306.03078; rules as in Vahe1994/SpQR 543d10e.
// Ours: T follows from the share ρ that the target leaves, where the paper sets T and takes what share comes of it.
import { plannedBits } from "../quant/budget.ts";
import { spqr, SPQR_DEFAULTS, type SpqrOptions, spqrWithShare } from "../quant/spqr.ts";
import type { StorePlan } from "../quant/store.ts";
import { type GridPlan, gridStore, planGrid } from "../quant/stores/grid.ts";
import { planSparse, sparseStore } from "../quant/stores/sparse.ts";
import { groupSizes, sparseCandidates } from "./fit.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

const { bits: _, groupSize: __, threshold: ___, blockSize: ____, storeBits: _____, ...defaults } = SPQR_DEFAULTS;

function grid({ rows, cols }: LinearShape, o: Options, bits: number): GridPlan {
  const coded = (codeBits: number) => ({ bits: codeBits, run: Number(o.run), qqBits: 16 as const });
  const groupSize = Number(o.groupSize), groupMap = o.actOrder === true && groupSize > 0 && groupSize < cols;
  const scale = coded(Number(o.scaleCodeBits)), zero = coded(Number(o.zeroCodeBits));
  return { rows, cols, bits, groupSize, axis: "in", scale, zero, groupMap };
}

function plan(shape: LinearShape, o: Options, bits: number): StorePlan[] {
  const kept = Math.floor(Math.max(0, Number(o.share)) * shape.rows * shape.cols);
  return [planGrid(grid(shape, o, bits)), ...(kept > 0 ? [planSparse(shape.rows, shape.cols, kept)] : [])];
}

/** Sparse-quantized representation. */
export const SPQR: Method = {
  name: "spqr",
  title: "SpQR: single weights kept, tiny groups with coded scales",
  storage: "b + (b_s + b_z)/g + 64/(16 g) + ρ(16 + log2 in) + log2(in)/in + log2(in/g)/out, ρ the share kept",
  source: "Dettmers et al., ICLR 2024, arXiv 2306.03078",
  needs: { hessian: true },
  weakColumns: false,
  // share: of the weights that stay; 0: what the target leaves; below 0: none.
  defaults: { codeBits: 0, groupSize: 0, share: 0, ...defaults },
  choices: {},
  storedExactly: false,
  stored: (shape, o, bits) => plannedBits(plan(shape, o, bits), shape.rows * shape.cols),
  candidates: (shape, o, target) => {
    const sizes = groupSizes(shape.cols).filter((g) => g >= 16 || g === shape.cols);
    return sparseCandidates(shape, o, target, 0.05, sizes, plan);
  },
  async quantizeLayer(problem, o, bits, _weak, context) {
    const { weight } = problem, h = required(problem, "hessian"), { rows, cols } = weight;
    const options: SpqrOptions = {
      ...SPQR_DEFAULTS,
      bits,
      groupSize: Number(o.groupSize),
      scaleCodeBits: Number(o.scaleCodeBits),
      zeroCodeBits: Number(o.zeroCodeBits),
      run: Number(o.run),
      simplified: o.simplified === true,
      actOrder: o.actOrder === true,
      damp: Number(o.damp),
    };
    const share = Number(o.share);
    const found = share > 0
      ? spqrWithShare(weight, h, options, share)
      : spqr(weight, h, { ...options, threshold: Infinity });
    // Back from the order of work.
    const codes = new Uint8Array(rows * cols), mask = new Uint8Array(rows * cols), kept = new Float32Array(rows * cols);
    const size = options.groupSize > 0 ? options.groupSize : cols, groupOf = new Int32Array(cols);
    for (let k = 0; k < cols; k++) {
      const j = found.order[k];
      groupOf[j] = Math.floor(k / size);
      for (let r = 0; r < rows; r++) {
        const from = r * cols + k, to = r * cols + j;
        [codes[to], mask[to], kept[to]] = [found.codes[from], found.mask[from], found.kept.data[from]];
      }
    }
    const { scale, zero } = found;
    const stores = [gridStore(grid(weight, o, bits), {
      codes,
      scale_codes: scale.codes,
      scale_qq_scale: scale.qqScale,
      scale_qq_zero: scale.qqZero,
      zero_codes: zero.codes,
      zero_qq_scale: zero.qqScale,
      zero_qq_zero: zero.qqZero,
      group_of: groupOf,
    })];
    if (mask.includes(1)) stores.push(sparseStore({ data: kept, rows, cols }, mask));
    return await storedLayer(problem, "spqr", bits, stores, context, { damp: found.damp });
  },
};
