// Tensor trains: a matrix whose row and column numbers are cut into digits, as a chain of small tensors (cores).
import { LabError } from "../io/errors.ts";
import { type Matrix, matrix } from "../io/tensor.ts";
import { type Doubles, topSvd } from "./svd.ts";

/** The cut of a matrix into N sites: out = o_1 · … · o_N, in = i_1 · … · i_N. */
export interface Sites {
  readonly out: readonly number[];
  readonly in: readonly number[];
}

/** A chain of cores; core k is (r_k, o_k, i_k, r_{k+1}), row-major, r_0 = r_N = 1. */
export interface TensorTrain {
  readonly sites: Sites;
  /** r_0 … r_N. */
  readonly ranks: readonly number[];
  readonly cores: readonly Float64Array[];
}

/**
 * Bonds of a chain: r_k = min(χ, what the cores on its left span, what is left on its right).
 *
 * @param chi χ, the widest bond.
 * @returns r_0 … r_N.
 */
export function bondRanks({ out, in: into }: Sites, chi: number): number[] {
  const ranks = [1];
  for (let k = 0; k + 1 < out.length; k++) {
    const right = out.slice(k + 1).reduce((p, o, i) => p * o * into[k + 1 + i], 1);
    ranks.push(Math.min(chi, ranks[k] * out[k] * into[k], right));
  }
  return [...ranks, 1];
}

/** Numbers in all cores: Σ r_k o_k i_k r_{k+1}. */
export function trainParameters(s: Sites, ranks: readonly number[]): number {
  return s.out.reduce((sum, o, k) => sum + ranks[k] * o * s.in[k] * ranks[k + 1], 0);
}

/** Place of W's entry (row, column) among (o_1, i_1, o_2, i_2, …), for all entries in W's order. */
function places({ out, in: into }: Sites, rows: number, cols: number): Int32Array {
  const at = new Int32Array(rows * cols);
  for (let r = 0, n = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++, n++) {
      let place = 0, stride = 1, row = r, column = j;
      for (let k = out.length - 1; k >= 0; k--) {
        place += stride * (into[k] * (row % out[k]) + column % into[k]);
        stride *= out[k] * into[k];
        row = Math.floor(row / out[k]);
        column = Math.floor(column / into[k]);
      }
      at[n] = place;
    }
  }
  return at;
}

/** W as (o_1 · i_1, rest): what the first cut decomposes. */
export function firstUnfolding(w: Matrix, sites: Sites): Doubles {
  const data = new Float64Array(w.data.length), at = places(sites, w.rows, w.cols);
  for (let i = 0; i < at.length; i++) data[at[i]] = w.data[i];
  const rows = sites.out[0] * sites.in[0];
  return { data, rows, cols: data.length / rows };
}

/**
 * Successive truncated singular value decompositions from the left: core k takes U, the rest goes on with S Vᵀ.
 *
 * @param w W (out, in). @param sites whose products are out and in. @param chi the widest bond; large enough, the chain is exact.
 * @throws LabError where the sites do not fit the matrix.
 * Source: Oseledets, SIAM J. Sci. Comput. 33, 2011; as matrix product operators of weights: CompactifAI, arXiv 2401.14109.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fromTrain, toTrain } from "./tensor_train.ts";
 * const w = { data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17), rows: 4, cols: 4 };
 * const train = toTrain(w, { out: [2, 2], in: [2, 2] }, 4);
 * assert.ok(fromTrain(train).data.every((v, i) => Math.abs(v - w.data[i]) < 1e-5));
 * ```
 */
export function toTrain(w: Matrix, sites: Sites, chi: number): TensorTrain {
  const product = (list: readonly number[]) => list.reduce((a, b) => a * b, 1), n = sites.out.length;
  if (n < 2 || sites.in.length !== n || product(sites.out) !== w.rows || product(sites.in) !== w.cols) {
    const cut = `${sites.out.join(" x ")} by ${sites.in.join(" x ")}`;
    throw new LabError("input", "tensor train", `${cut} does not make (${w.rows}, ${w.cols})`);
  }
  const ranks = bondRanks(sites, chi), cores: Float64Array[] = [];
  let rest = firstUnfolding(w, sites).data;
  for (let k = 0; k + 1 < n; k++) {
    const rows = ranks[k] * sites.out[k] * sites.in[k], cols = rest.length / rows, r = ranks[k + 1];
    const f = topSvd({ data: rest, rows, cols }, r);
    const core = new Float64Array(rows * r), next = new Float64Array(r * cols); // bonds beyond the rank stay 0
    for (let i = 0; i < rows; i++) for (let j = 0; j < f.rank; j++) core[i * r + j] = f.u[i * f.rank + j];
    for (let j = 0; j < f.rank; j++) for (let c = 0; c < cols; c++) next[j * cols + c] = f.s[j] * f.vt[j * cols + c];
    cores.push(core);
    rest = next;
  }
  return { sites, ranks, cores: [...cores, rest] };
}

/** The matrix (out, in) of a chain. */
export function fromTrain(t: { sites: Sites; ranks: readonly number[]; cores: readonly ArrayLike<number>[] }): Matrix {
  const { sites, ranks, cores } = t;
  let left = new Float64Array([1]), rows = 1; // (places so far, r_k)
  for (const [k, core] of cores.entries()) {
    const width = sites.out[k] * sites.in[k], from = ranks[k], to = ranks[k + 1];
    const next = new Float64Array(rows * width * to);
    for (let p = 0; p < rows; p++) {
      for (let a = 0; a < from; a++) {
        const f = left[p * from + a];
        for (let i = 0; i < width * to; i++) next[p * width * to + i] += f * core[a * width * to + i];
      }
    }
    left = next;
    rows *= width;
  }
  const w = matrix(sites.out.reduce((a, b) => a * b, 1), sites.in.reduce((a, b) => a * b, 1));
  const at = places(sites, w.rows, w.cols);
  for (let i = 0; i < at.length; i++) w.data[i] = left[at[i]];
  return w;
}

/**
 * A cut into two sites, each side into two factors as equal as they come.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { balancedSites } from "./tensor_train.ts";
 * assert.deepEqual(balancedSites(576, 1536), { out: [24, 24], in: [32, 48] });
 * ```
 */
export function balancedSites(rows: number, cols: number): Sites {
  const cut = (n: number): number[] => {
    let a = Math.floor(Math.sqrt(n));
    while (n % a !== 0) a--;
    return [a, n / a];
  };
  return { out: cut(rows), in: cut(cols) };
}
