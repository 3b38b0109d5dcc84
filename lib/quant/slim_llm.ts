// Salience-driven mixed precision: whole groups of columns get a bit more or a bit less, in equal numbers, by how much the
// layer's output distribution moves; inside a group the range is searched so that salient weights come out well.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";
import { diagonal } from "./hessian.ts";
import { fromColumns, inverseFactor, obsSweep } from "./obs_sweep.ts";

/** How SliM-LLM rounds. */
export interface SlimOptions {
  /** Bits of an ordinary group; the others have one more or one less. */
  readonly bits: number;
  readonly groupSize: number;
  readonly damp: number;
  /** Weight of the salient part in a group's error, and the power of |ŵ − w| in both. */
  readonly lambda: number;
  readonly norm: number;
  /** The range is tried at 1 ± tau · k / steps, k = 0 … steps. */
  readonly tau: number;
  readonly steps: number;
  /**
   * The reference's quantizer begins symmetric and stays so until the first group that has no bit less: groups before it
   * get the zero point 2^(b−1). False: no group is symmetric.
   */
  readonly startSymmetric: boolean;
  /** 16: scales, and the means of 1-bit groups, are rounded to f16 before anything is rounded on them. */
  readonly scaleBits: 16 | 32;
}

/** The defaults of Aaronhuang-778/SliM-LLM, at 2 bits. */
export const SLIM_DEFAULTS: SlimOptions = {
  bits: 2,
  groupSize: 128,
  damp: 0.01,
  lambda: 1,
  norm: 2.4,
  tau: 0.1,
  steps: 50,
  startSymmetric: true,
  scaleBits: 32,
};

/** What SliM-LLM gives. */
export interface SlimLayer {
  /** (groups) */
  readonly bits: Int32Array<ArrayBuffer>;
  /** (groups) 1 where the zero point is 2^(b−1) without looking at the weights. */
  readonly symmetric: Uint8Array<ArrayBuffer>;
  /** (out, groups). One bit: ŵ = zero ± scale, code 1 for plus; otherwise ŵ = scale · (code − zero). */
  readonly scale: Floats;
  readonly zero: Floats;
  /** (out, in) */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** Ŵ (out, in). In a 1-bit group a weight that equals the mean to the last digit becomes the mean itself. */
  readonly approximation: Matrix;
  readonly loss: number;
  readonly damp: number;
}

const f32 = Math.fround, RIDGE = 0.01, Z_SCORE = 2, FLOOR = 1e-6;

/** H with 1 for 0 and then 0.01 on the diagonal: the reference adds it once and never takes it away. */
export function ridged(h: Matrix): Matrix {
  const data = h.data.slice();
  for (let j = 0; j < h.cols; j++) {
    const at = j * (h.cols + 1);
    data[at] = f32((data[at] === 0 ? 1 : data[at]) + RIDGE);
  }
  return { ...h, data };
}

function naturalFactor(h: Matrix, damp: number) {
  return inverseFactor(h, Int32Array.from({ length: h.rows }, (_, j) => j), damp);
}

/**
 * Σ w²/U_jj² of each group of columns.
 *
 * @param w W (out, in). @param u U's diagonal (in). @returns (groups)
 */
export function groupSalience(w: Matrix, u: (j: number) => number, groupSize: number): Float64Array {
  const out = new Float64Array(Math.ceil(w.cols / groupSize));
  for (let i = 0; i < w.data.length; i++) {
    const j = i % w.cols;
    out[Math.floor(j / groupSize)] += (w.data[i] / u(j)) ** 2;
  }
  return out;
}

/** The groups' salience with which the search ranks them: W as it is, U of {@link ridged} H without more damping. */
export function searchSalience(w: Matrix, h: Matrix, groupSize: number): Float64Array {
  const { u } = naturalFactor(ridged(h), 0);
  return groupSalience(w, (j) => u[j * (w.cols + 1)], groupSize);
}

/**
 * Bits of each group when the `trade` least salient ones give a bit to the `trade` most salient ones.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { tradedBits } from "./slim_llm.ts";
 * assert.deepEqual([...tradedBits([3, 1, 9, 5, 4], 1, 2)], [2, 1, 3, 2, 2]);
 * ```
 */
export function tradedBits(salience: ArrayLike<number>, trade: number, bits: number): Int32Array<ArrayBuffer> {
  const order = Array.from(salience, (_, g) => g).sort((a, b) => salience[a] - salience[b]);
  const out = new Int32Array(salience.length).fill(bits);
  for (let i = 0; i < trade; i++) {
    out[order[i]] = bits - 1;
    out[order[order.length - 1 - i]] = bits + 1;
  }
  return out;
}

/** min–max over a group of a row with 0 in the range, in float32: [min, max]. */
function rangeOf(w: ArrayLike<number>): [number, number] {
  let min = 0, max = 0;
  for (let i = 0; i < w.length; i++) {
    min = Math.min(min, w[i]);
    max = Math.max(max, w[i]);
  }
  return min === 0 && max === 0 ? [-1, 1] : [f32(min), f32(max)];
}

function meansOf(w: ArrayLike<number>): [size: number, mean: number] {
  let size = 0, mean = 0;
  for (let i = 0; i < w.length; i++) {
    size += Math.abs(w[i]);
    mean += w[i];
  }
  return [f32(size / w.length), f32(mean / w.length)];
}

function codeOf(w: number, scale: number, zero: number, top: number): number {
  return Math.max(0, Math.min(top, roundHalfEven(w / scale) + zero));
}

/** One group of one row rounded without search, into `out`. */
function roundPlain(w: ArrayLike<number>, bits: number, out: Float64Array): void {
  if (bits === 1) {
    const [size, mean] = meansOf(w);
    for (let i = 0; i < w.length; i++) out[i] = Math.sign(w[i] - mean) * size + mean;
    return;
  }
  const [min, max] = rangeOf(w), top = 2 ** bits - 1, scale = f32(f32(max - min) / top);
  const zero = roundHalfEven(f32(-min / scale));
  for (let i = 0; i < w.length; i++) out[i] = scale * (codeOf(w[i], scale, zero, top) - zero);
}

/**
 * How far the layer's output distribution moves for each number of traded groups: Σ p̂ ln(p̂/p) over tokens and
 * outputs, p and p̂ the softmax over outputs of X Wᵀ and X Ŵᵀ, no less than 1e-6 each.
 *
 * Ŵ is plain min–max rounding. From one trade to the next two groups change, and only their part of X Ŵᵀ is done anew.
 *
 * @param w W (out, in). @param x X (tokens, in). @param salience (groups) as {@link searchSalience}.
 * @param o bits and group size. @param from the first number of trades, to ⌊groups/2⌋ − 1.
 * @returns scores of `from` … ⌊groups/2⌋ − 1 trades.
 * Source: SliM-LLM, arXiv 2405.14917, section 3.2; Aaronhuang-778/SliM-LLM cfdf5ff, which begins at 1.
 */
export function searchTrades(
  w: Matrix,
  x: Matrix,
  salience: ArrayLike<number>,
  o: Pick<SlimOptions, "bits" | "groupSize">,
  from = 1,
): Float64Array {
  const groups = salience.length, rounds = Math.max(0, Math.floor(groups / 2) - from);
  const exact = new Float64Array(x.rows * w.rows), moved = new Float64Array(x.rows * w.rows);
  const present = new Int32Array(groups), scores = new Float64Array(rounds);
  addProduct(exact, x, w, 0, w.cols);
  for (let t = 0; t < rounds; t++) {
    const bits = tradedBits(salience, from + t, o.bits);
    for (let g = 0; g < groups; g++) {
      if (present[g] === bits[g]) continue;
      const begin = g * o.groupSize, end = Math.min(begin + o.groupSize, w.cols);
      addProduct(moved, x, roundedGroup(w, begin, end, bits[g], present[g]), begin, end);
      present[g] = bits[g];
    }
    scores[t] = divergence(moved, exact, x.rows, w.rows);
  }
  return scores;
}

/** The change of columns begin … end from one width to another, as a matrix (out, end − begin); width 0: the column 0. */
function roundedGroup(w: Matrix, begin: number, end: number, bits: number, before: number): Matrix {
  const d = matrix(w.rows, end - begin), one = new Float64Array(d.cols), other = new Float64Array(d.cols);
  for (let r = 0; r < w.rows; r++) {
    const row = w.data.subarray(r * w.cols + begin, r * w.cols + end);
    roundPlain(row, bits, one);
    if (before > 0) roundPlain(row, before, other);
    for (let i = 0; i < d.cols; i++) d.data[r * d.cols + i] = one[i] - other[i];
  }
  return d;
}

/** out (tokens, out) += X[:, begin … end) · Dᵀ, D's columns being those. */
function addProduct(out: Float64Array, x: Matrix, d: Matrix, begin: number, end: number): void {
  const n = end - begin, part = new Float64Array(n);
  for (let t = 0; t < x.rows; t++) {
    for (let j = 0; j < n; j++) part[j] = x.data[t * x.cols + begin + j];
    for (let r = 0; r < d.rows; r++) {
      let s = 0;
      for (let j = 0, at = r * n; j < n; j++) s += part[j] * d.data[at + j];
      out[t * d.rows + r] += s;
    }
  }
}

function divergence(moved: Float64Array, exact: Float64Array, tokens: number, width: number): number {
  let total = 0;
  for (let t = 0; t < tokens; t++) {
    const p = softmax(moved.subarray(t * width, (t + 1) * width));
    const q = softmax(exact.subarray(t * width, (t + 1) * width));
    for (let i = 0; i < width; i++) {
      const a = Math.max(p[i], FLOOR), b = Math.max(q[i], FLOOR);
      total += a * Math.log(a / b);
    }
  }
  return total;
}

function softmax(y: Float64Array): Float64Array {
  const top = y.reduce((a, b) => Math.max(a, b), -Infinity), e = y.map((v) => Math.exp(v - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

/** The least score's number of trades. @param scores from `from` trades on. */
export function bestTrade(scores: ArrayLike<number>, from = 1): number {
  let best = 0;
  for (let t = 1; t < scores.length; t++) if (scores[t] < scores[best]) best = t;
  return from + best;
}

/** Marks of a block's salient weights: at or above the least value that lies more than two deviations off the mean. */
function salientOf(values: Float64Array): Uint8Array {
  const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
  const deviation = Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / (n - 1));
  let least = Infinity;
  for (const v of values) if (Math.abs(v - mean) / deviation > Z_SCORE && v < least) least = v;
  return Uint8Array.from(values, (v) => v >= least ? 1 : 0);
}

/** The factors of a range in the order in which they are tried. */
function factorsOf(o: SlimOptions): number[] {
  const steps = Array.from({ length: o.steps }, (_, k) => o.tau * (k + 1) / o.steps);
  return [1, ...steps.map((d) => f32(1 + d)), ...steps.map((d) => f32(1 - d))];
}

/**
 * SliM-LLM: groups of `bits` − 1, `bits` and `bits` + 1 bits by salience, then an OPTQ sweep in whose groups the range is
 * searched on the weights as they stand.
 *
 * @param w W (out, in). @param h H (in, in), undamped. @param trade how many groups give a bit to as many others.
 * @param o options. @throws LabError as inverseFactor.
 * Source: SliM-LLM, arXiv 2405.14917; Aaronhuang-778/SliM-LLM cfdf5ff.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { slimLlm, SLIM_DEFAULTS } from "./slim_llm.ts";
 * const w = { data: Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)), rows: 2, cols: 16 };
 * const h = { data: Float32Array.from({ length: 256 }, (_, i) => i % 17 === 0 ? 1 + i : 0), rows: 16, cols: 16 };
 * const { bits } = slimLlm(w, h, 1, { ...SLIM_DEFAULTS, groupSize: 4 });
 * assert.deepEqual([...bits], [1, 2, 2, 3]); // the louder the inputs, the more bits
 * ```
 */
export function slimLlm(w: Matrix, h: Matrix, trade: number, o: SlimOptions): SlimLayer {
  const { rows, cols } = w, size = o.groupSize, d = diagonal(h), factor = naturalFactor(ridged(h), o.damp);
  const alive = { ...w, data: w.data.map((v, i) => d[i % cols] === 0 ? 0 : v) };
  const u = (j: number) => factor.u[j * (cols + 1)];
  const bits = tradedBits(groupSalience(alive, u, size), trade, o.bits), groups = bits.length;
  const switched = bits.findIndex((b) => b !== o.bits - 1), ordinary = switched < 0 ? groups : switched;
  const symmetric = Uint8Array.from(bits, (b, g) => o.startSymmetric && g < ordinary && b > 1 ? 1 : 0);
  const scale = new Float32Array(rows * groups), zero = new Float32Array(rows * groups);
  const codes = new Uint8Array(rows * cols);
  const { columns, loss } = obsSweep({
    weight: alive,
    factor,
    round: (j, standing) => {
      const g = Math.floor(j / size), top = 2 ** bits[g] - 1;
      if (j % size === 0) {
        fitGroup(standing.slice(j, j + size), u, j, bits[g], symmetric[g] === 1, o, (r, s, z) => {
          scale[r * groups + g] = s;
          zero[r * groups + g] = z;
        });
      }
      return standing[j].map((v, r) => {
        const s = scale[r * groups + g], z = zero[r * groups + g], at = r * cols + j;
        if (bits[g] === 1) {
          codes[at] = v >= z ? 1 : 0;
          return z + s * Math.sign(v - z);
        }
        codes[at] = codeOf(v, s, z, top);
        return s * (codes[at] - z);
      });
    },
  });
  const natural = Int32Array.from({ length: cols }, (_, j) => j), approximation = fromColumns(columns, natural);
  const total = loss.reduce((a, b) => a + b, 0);
  return { bits, symmetric, scale, zero, codes, approximation, loss: total, damp: factor.damp };
}

/** Scales and zeros of a group of columns as they stand. */
function fitGroup(
  columns: readonly Float64Array[],
  u: (j: number) => number,
  from: number,
  bits: number,
  symmetric: boolean,
  o: SlimOptions,
  set: (row: number, scale: number, zero: number) => void,
): void {
  const rows = columns[0].length, n = columns.length, row = new Float64Array(n);
  const stored = o.scaleBits === 16 ? (v: number) => Math.f16round(v) || 2 ** -24 : f32;
  const take = (r: number) => columns.forEach((c, k) => row[k] = c[r]);
  if (bits === 1) {
    for (let r = 0; r < rows; r++) {
      take(r);
      const [size, mean] = meansOf(row);
      set(r, stored(size), o.scaleBits === 16 ? Math.f16round(mean) : mean);
    }
    return;
  }
  const salience = new Float64Array(rows * n);
  for (let r = 0; r < rows; r++) for (let k = 0; k < n; k++) salience[r * n + k] = (columns[k][r] / u(from + k)) ** 2;
  const salient = salientOf(salience), factors = factorsOf(o), top = 2 ** bits - 1;
  for (let r = 0; r < rows; r++) {
    take(r);
    const [min, max] = rangeOf(row);
    let scale = 0, zero = 0, least = Infinity;
    for (const p of factors) {
      const low = f32(p * min), s = stored(f32(f32(f32(p * max) - low) / top));
      const z = symmetric ? 2 ** (bits - 1) : roundHalfEven(f32(-low / s));
      let error = 0;
      for (let k = 0; k < n && error < least; k++) {
        const gap = Math.abs(s * (codeOf(row[k], s, z, top) - z) - row[k]) ** o.norm;
        error += salient[r * n + k] ? o.lambda * gap : gap;
      }
      if (error < least) [scale, zero, least] = [s, z, error];
    }
    set(r, scale, zero);
  }
}
