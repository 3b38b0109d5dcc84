// LoRC and its descendant LQER. Whatever rounding leaves is approximated by a small low-rank matrix beside the codes; LQER
// weighs the columns of what is left by the size of their inputs first.
//   W ≈ Q(W) + A B,  A B = SVD_r(W − Q(W));  LQER: A B diag(1/d) with A B = SVD_r((W − Q(W)) diag(d)), d_j = √H_jj
// Stored a weight: b + (s + b)/g + f r (in + out)/(in · out), f = 8 or 16 bits a number of the factors.
// Sources: ZeroQuant-V2, Yao et al., AAAI 2024, arXiv 2303.08302; LQER, Zhang et al., ICML 2024, arXiv 2402.02446.
// Ours: rounding to nearest on the range of groups underneath; rank 1 unless set, the least that the idea needs: on small
// layers a rank costs as much as halving the groups; d from the second moment, where LQER has the mean magnitude.
import { type Matrix, matrix } from "../io/tensor.ts";
import { plannedBits } from "../quant/budget.ts";
import { groupGrid, groupGridPlan, onGroupGrid } from "../quant/group_grid.ts";
import { diagonal } from "../quant/hessian.ts";
import { lowRankStore, planLowRank } from "../quant/stores/low_rank.ts";
import { gridStore, planGrid } from "../quant/stores/grid.ts";
import { topSvd } from "../quant/svd.ts";
import { gridCandidates } from "./fit.ts";
import { groupOptions } from "./group_options.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

const gridOptions = (o: Options, bits: number) => groupOptions(o, bits, "range");

const factorBits = (o: Options) => o.factorBits === 16 ? 16 : 8;

function plan({ rows, cols }: LinearShape, o: Options, bits: number) {
  const grid = planGrid(groupGridPlan({ rows, cols }, gridOptions(o, bits)));
  return [grid, planLowRank(rows, cols, Number(o.rank), factorBits(o))];
}

/**
 * A (out, r) and B (r, in) with the singular values shared between them, and zeros where E has a smaller rank.
 *
 * @param e E (out, in), what is left. @param weight d (in), by which its columns count.
 */
export function errorFactors(e: Matrix, weight: ArrayLike<number>, rank: number): { a: Matrix; b: Matrix } {
  const { rows, cols } = e, data = Float64Array.from(e.data, (v, i) => v * weight[i % cols]);
  const f = topSvd({ data, rows, cols }, rank), a = matrix(rows, rank), b = matrix(rank, cols);
  for (let k = 0; k < f.rank; k++) {
    const half = Math.sqrt(f.s[k]);
    for (let r = 0; r < rows; r++) a.data[r * rank + k] = f.u[r * f.rank + k] * half;
    for (let j = 0; j < cols; j++) b.data[k * cols + j] = f.vt[k * cols + j] * half / weight[j];
  }
  return { a, b };
}

function correction(name: string, title: string, source: string, weighted: boolean): Method {
  return {
    name,
    title,
    storage: "b + (s + b)/g + f r(in + out)/(in·out), f bits a number of the factors, r their rank",
    source,
    needs: { hessian: weighted },
    weakColumns: false,
    defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, rank: 1, factorBits: 8 },
    choices: { scaleBits: [16, 32], factorBits: [8, 16] },
    stored: (shape, o, bits) => plannedBits(plan(shape, o, bits), shape.rows * shape.cols),
    candidates: (shape, o, target) => gridCandidates(shape.cols, o, target),
    quantizeLayer: (problem, o, bits, _weak, context) => {
      const { weight } = problem, grid = gridOptions(o, bits), rounded = onGroupGrid(weight, grid);
      const left = { ...weight, data: weight.data.map((v, i) => v - rounded.data[i]) };
      const ones = new Float64Array(weight.cols).fill(1),
        size = weighted ? diagonal(required(problem, "hessian")) : ones;
      const mean = size.reduce((s, v) => s + v, 0) / size.length || 1;
      const { a, b } = errorFactors(left, size.map((v) => Math.sqrt(v / mean + 1e-6)), Number(o.rank)); // dead inputs too
      const stores = [
        gridStore(groupGridPlan(weight, grid), { ...groupGrid(weight, grid) }),
        lowRankStore(a, b, factorBits(o)),
      ];
      return storedLayer(problem, name, bits, stores, context);
    },
  };
}

/** Low-rank compensation. */
export const LORC: Method = correction(
  "lorc",
  "LoRC: a low-rank matrix for what rounding leaves",
  "ZeroQuant-V2, Yao et al., AAAI 2024, arXiv 2303.08302",
  false,
);

/** Low-rank compensation weighed by the inputs. */
export const LQER: Method = correction(
  "lqer",
  "LQER: the same, weighed by the size of the inputs",
  "Zhang et al., ICML 2024, arXiv 2402.02446",
  true,
);
