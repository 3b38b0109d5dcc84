// Hierarchical linear quantization: bit planes whose scales are free, so that 2^b levels lie where b + 1 numbers put them.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { pseudoInverse } from "./pseudo_inverse.ts";
import { diagonal } from "./hessian.ts";
import { fromColumns, inverseFactor, obsSweep } from "./obs_sweep.ts";
import { permuteColumns } from "./optq.ts";
import { byScore } from "./sensitivity.ts";

/** How HLQ rounds. */
export interface HlqOptions {
  readonly bits: number;
  /** Columns that share planes' scales; 0: the row. */
  readonly groupSize: number;
  /** Rounds of assigning codes and solving for scales. */
  readonly rounds: number;
  readonly damp: number;
  readonly actOrder: boolean;
  /** 16: scales and zero are rounded to f16 before the last codes. */
  readonly scaleBits: 16 | 32;
}

/** The defaults of Nkniexin/ELUTQ, at 2 bits. */
export const HLQ_DEFAULTS: HlqOptions = {
  bits: 2,
  groupSize: 128,
  rounds: 10,
  damp: 0.01,
  actOrder: false,
  scaleBits: 32,
};

/** One group: ŵ = zero + Σ_k bit_k(code) · scale_k. */
export interface HlqGroup {
  /** (b) any sign, in no order. */
  readonly scale: Float64Array<ArrayBuffer>;
  readonly zero: number;
  /** Codes of the group's weights, bit k for plane k. */
  readonly codes: Uint8Array<ArrayBuffer>;
}

/** A matrix of groups. */
export interface HlqMatrix {
  /** (out, in) in the order of work. */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (out, groups, b) and (out, groups). */
  readonly scale: Floats;
  readonly zero: Floats;
  /** (out, in) Ŵ in W's own order. */
  readonly approximation: Matrix;
}

/** The 2^b values of a group's codes. */
function valuesOf(scale: Float64Array, zero: number): Float64Array {
  const values = new Float64Array(2 ** scale.length).fill(zero);
  for (let c = 0; c < values.length; c++) {
    for (let k = 0; k < scale.length; k++) if (c >> k & 1) values[c] += scale[k];
  }
  return values;
}

/** The nearest value's code for each weight, the first of equals. */
function assign(w: ArrayLike<number>, values: Float64Array, codes: Uint8Array): void {
  for (let i = 0; i < w.length; i++) {
    let best = 0, gap = Infinity;
    for (let c = 0; c < values.length; c++) {
      const d = Math.abs(w[i] - values[c]);
      if (d < gap) [best, gap] = [c, d];
    }
    codes[i] = best;
  }
}

/** Least squares of the weights on their bits and 1. A plane that is all 0 or all 1 makes it rank-deficient. */
function solve(w: ArrayLike<number>, codes: Uint8Array, bits: number): [Float64Array<ArrayBuffer>, number] {
  const n = bits + 1, normal = new Float64Array(n * n), right = new Float64Array(n), levels = 2 ** bits;
  const count = new Int32Array(levels), sum = new Float64Array(levels);
  for (let i = 0; i < w.length; i++) {
    count[codes[i]]++;
    sum[codes[i]] += w[i];
  }
  for (let c = 0; c < levels; c++) {
    const ones = c | levels; // bit b is the constant
    for (let k = 0; k < n; k++) {
      if (!(ones >> k & 1)) continue;
      right[k] += sum[c];
      for (let l = 0; l < n; l++) if (ones >> l & 1) normal[k * n + l] += count[c];
    }
  }
  const x = solvePositive(normal, right, n) ?? shortest(normal, right, n);
  return [x.slice(0, bits), x[bits]];
}

/** The solution by elimination, or null where a pivot is next to nothing: counts are whole numbers, others are not small. */
function solvePositive(normal: Float64Array, right: Float64Array, n: number): Float64Array<ArrayBuffer> | null {
  const a = normal.slice(), x = Float64Array.from(right);
  for (let p = 0; p < n; p++) {
    const pivot = a[p * n + p];
    if (!(pivot > 1e-6 * normal[p * n + p])) return null;
    for (let i = p + 1; i < n; i++) {
      const f = a[i * n + p] / pivot;
      for (let k = p; k < n; k++) a[i * n + k] -= f * a[p * n + k];
      x[i] -= f * x[p];
    }
  }
  for (let p = n - 1; p >= 0; p--) {
    for (let k = p + 1; k < n; k++) x[p] -= a[p * n + k] * x[k];
    x[p] /= a[p * n + p];
  }
  return x;
}

/** The shortest of all solutions. */
function shortest(normal: Float64Array, right: Float64Array, n: number): Float64Array<ArrayBuffer> {
  const inverse = pseudoInverse(normal, n, n * 2 ** -23), x = new Float64Array(n);
  for (let k = 0; k < n; k++) for (let l = 0; l < n; l++) x[k] += inverse[k * n + l] * right[l];
  return x;
}

/**
 * One group by alternating: each weight takes the nearest of the 2^b sums, then scales and zero are the least squares
 * solution for those codes; a last assignment follows.
 *
 * @param w the group's weights. @param o bits, rounds, width of the scales.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { HLQ_DEFAULTS, hlqGroup } from "./hlq.ts";
 * const g = hlqGroup([0, 1.5, 4.5, 6, 0, 6], { ...HLQ_DEFAULTS, bits: 2 }); // no uniform grid of four levels
 * const fitted = [...g.codes].map((c) => g.zero + (c & 1 ? g.scale[0] : 0) + (c & 2 ? g.scale[1] : 0));
 * assert.deepEqual(fitted.map((v) => Math.round(v * 1e6) / 1e6), [0, 1.5, 4.5, 6, 0, 6]);
 * ```
 */
export function hlqGroup(w: ArrayLike<number>, o: Pick<HlqOptions, "bits" | "rounds" | "scaleBits">): HlqGroup {
  let min = Infinity, max = -Infinity;
  for (let i = 0; i < w.length; i++) {
    min = Math.min(min, w[i]);
    max = Math.max(max, w[i]);
  }
  let scale = Float64Array.from({ length: o.bits }, (_, k) => 2 ** k * (max - min) / (2 ** o.bits - 1)), zero = min;
  const codes = new Uint8Array(w.length);
  for (let round = 0; round < o.rounds; round++) {
    assign(w, valuesOf(scale, zero), codes);
    [scale, zero] = solve(w, codes, o.bits);
  }
  const stored = o.scaleBits === 16 ? Math.f16round : Math.fround;
  scale = scale.map(stored);
  zero = stored(zero);
  assign(w, valuesOf(scale, zero), codes);
  return { scale, zero, codes };
}

/** Fits and remembers the groups of a matrix, column by column. */
class Groups {
  readonly codes: Uint8Array<ArrayBuffer>;
  readonly scale: Floats;
  readonly zero: Floats;
  private readonly groups: number;

  constructor(readonly rows: number, readonly cols: number, readonly o: HlqOptions) {
    this.groups = o.groupSize > 0 ? Math.ceil(cols / o.groupSize) : 1;
    this.codes = new Uint8Array(rows * cols);
    this.scale = new Float32Array(rows * this.groups * o.bits);
    this.zero = new Float32Array(rows * this.groups);
  }

  /** Fits the group that begins at column j; `at` gives a weight of it. */
  fit(j: number, at: (r: number, k: number) => number): void {
    const { bits } = this.o, size = Math.min(this.o.groupSize || this.cols, this.cols - j);
    const w = new Float64Array(size), g = Math.floor(j / (this.o.groupSize || this.cols));
    for (let r = 0; r < this.rows; r++) {
      for (let k = 0; k < size; k++) w[k] = at(r, j + k);
      const found = hlqGroup(w, this.o);
      this.codes.set(found.codes, r * this.cols + j);
      this.scale.set(found.scale, (r * this.groups + g) * bits);
      this.zero[r * this.groups + g] = found.zero;
    }
  }

  value(r: number, j: number): number {
    const { bits } = this.o, g = r * this.groups + Math.floor(j / (this.o.groupSize || this.cols));
    let v = this.zero[g];
    for (let k = 0; k < bits; k++) if (this.codes[r * this.cols + j] >> k & 1) v += this.scale[g * bits + k];
    return v;
  }
}

/**
 * HLQ of each group by itself, without data.
 *
 * @param w W (out, in).
 */
export function hlqPlain(w: Matrix, o: HlqOptions): HlqMatrix {
  const groups = new Groups(w.rows, w.cols, o), approximation = matrix(w.rows, w.cols);
  for (let j = 0; j < w.cols; j += o.groupSize || w.cols) groups.fit(j, (r, k) => w.data[r * w.cols + k]);
  for (let i = 0; i < w.data.length; i++) {
    approximation.data[i] = groups.value(Math.floor(i / w.cols), i % w.cols);
  }
  const { codes, scale, zero } = groups;
  return { codes, scale, zero, approximation };
}

/**
 * HLQ inside an OPTQ sweep: a group is fitted when the sweep reaches it, to the weights as they stand, and keeps those
 * codes while its own errors are passed on.
 *
 * @param w W (out, in). @param h H (in, in).
 * @returns codes in the order of work, and that order.
 * @throws LabError as inverseFactor.
 * Source: ELUTQ, arXiv 2510.19482; Nkniexin/ELUTQ 54cf472.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { hlq, HLQ_DEFAULTS } from "./hlq.ts";
 * const w = { data: Float32Array.of(0, 1.5, 4.5, 6), rows: 1, cols: 4 };
 * const h = { data: Float32Array.from({ length: 16 }, (_, i) => i % 5 === 0 ? 1 : 0.5), rows: 4, cols: 4 };
 * const { approximation } = hlq(w, h, { ...HLQ_DEFAULTS, groupSize: 0 });
 * assert.deepEqual([...approximation.data].map((v) => Math.round(v * 1e5) / 1e5), [0, 1.5, 4.5, 6]);
 * ```
 */
export function hlq(
  w: Matrix,
  h: Matrix,
  o: HlqOptions,
): HlqMatrix & { readonly order: Int32Array<ArrayBuffer>; readonly loss: number; readonly damp: number } {
  const { rows, cols } = w, d = diagonal(h), natural = Int32Array.from({ length: cols }, (_, j) => j);
  const order = o.actOrder ? byScore(d) : natural, factor = inverseFactor(h, order, o.damp);
  const alive = { ...w, data: w.data.map((v, i) => d[i % cols] === 0 ? 0 : v) };
  const groups = new Groups(rows, cols, o), size = o.groupSize || cols;
  const { columns, loss } = obsSweep({
    weight: permuteColumns(alive, order),
    factor,
    round: (j, standing) => {
      if (j % size === 0) groups.fit(j, (r, k) => standing[k][r]);
      return Float64Array.from({ length: rows }, (_, r) => groups.value(r, j));
    },
  });
  const { codes, scale, zero } = groups;
  const total = loss.reduce((a, b) => a + b, 0);
  return { codes, scale, zero, approximation: fromColumns(columns, order), order, loss: total, damp: factor.damp };
}
