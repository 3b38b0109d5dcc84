// PTQ1.61: the input channels with the largest activations at 4 bits, all others as a sign with scales of rows and columns,
// which are trained on the layer's output.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";
import { channelSize, linearOutput } from "./smooth.ts";

/** How PTQ1.61 rounds and trains. */
export interface Ptq161Options {
  /** Bits of the salient channels. */
  readonly bits: number;
  /** ⌊share · in⌋ + 1 channels are salient; NaN: none ("low" in the reference). */
  readonly share: number;
  readonly epochs: number;
  /** Learning rates of the rows' α, and of the factors of rows and columns. */
  readonly rateScale: number;
  readonly rateFactor: number;
}

/** The defaults of zjq0455/PTQ1.61. */
export const PTQ161_DEFAULTS: Ptq161Options = {
  bits: 4,
  share: 0.2,
  epochs: 20,
  rateScale: 5e-4,
  rateFactor: 1e-3,
};

/** What PTQ1.61 finds: ŵ = high where the mask is set, else r1_i r2_j (α_i sign(w − mean_i) + mean_i). */
export interface Ptq161Layer {
  /** (in) 1: salient. */
  readonly mask: Uint8Array<ArrayBuffer>;
  /** Q(W) (out, in) at `bits` on one grid a row, and that grid. */
  readonly high: HighGrid;
  /** (out) mean of what is not salient and not 0; frozen. */
  readonly mean: Floats;
  readonly alpha: Floats;
  readonly r1: Floats;
  /** (in) */
  readonly r2: Floats;
  /** Mean loss of each epoch. */
  readonly losses: readonly number[];
}

/** One grid a row over all columns, 0 in its range. */
export interface HighGrid {
  readonly codes: Uint8Array<ArrayBuffer>;
  readonly scale: Floats;
  readonly zero: Floats;
}

const f32 = Math.fround, SMALLEST_ACTIVATION = 1e-5, EPSILON = 1e-8, BETA1 = 0.9, BETA2 = 0.999;

/**
 * Channels whose largest |x| is at or above that of rank ⌊share · in⌋, counted from 0: ⌊share · in⌋ + 1 where none are equal.
 *
 * @param size (in) max|x_j|. @returns (in) 1: salient.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { salientChannels } from "./ptq161.ts";
 * assert.deepEqual([...salientChannels([1, 9, 3, 2, 8], 0.2)], [0, 1, 0, 0, 1]);
 * ```
 */
export function salientChannels(size: ArrayLike<number>, share: number): Uint8Array<ArrayBuffer> {
  const floored = Array.from(size, (v) => Math.max(v, f32(SMALLEST_ACTIVATION)));
  const bound = floored.toSorted((a, b) => b - a)[Math.floor(floored.length * share)];
  return Uint8Array.from(floored, (v) => v >= bound ? 1 : 0);
}

/** Codes of whole rows, the range with 0 in it, in float32. @param stored what a scale is rounded to. */
export function highGrid(w: Matrix, bits: number, stored: (x: number) => number = f32): HighGrid {
  const top = 2 ** bits - 1, codes = new Uint8Array(w.data.length);
  const scale = new Float32Array(w.rows), zero = new Float32Array(w.rows);
  for (let r = 0; r < w.rows; r++) {
    const row = w.data.subarray(r * w.cols, (r + 1) * w.cols);
    let min = row.reduce((a, b) => Math.min(a, b), 0), max = row.reduce((a, b) => Math.max(a, b), 0);
    if (min === 0 && max === 0) [min, max] = [-1, 1];
    scale[r] = stored(f32(f32(max - min) / top)) || 2 ** -24;
    zero[r] = Math.min(top, roundHalfEven(f32(-min / scale[r])));
    for (let j = 0; j < w.cols; j++) {
      const q = roundHalfEven(f32(row[j] / scale[r])) + zero[r];
      codes[r * w.cols + j] = Math.max(0, Math.min(top, q));
    }
  }
  return { codes, scale, zero };
}

/** Mean and mean size of each row over what is neither salient nor 0; "low" counts zeros too. */
function rowMeans(w: Matrix, mask: Uint8Array, countZeros: boolean): { mean: Floats; alpha: Floats } {
  const mean = new Float32Array(w.rows), alpha = new Float32Array(w.rows);
  for (let r = 0; r < w.rows; r++) {
    let n = 0, sum = 0, size = 0;
    for (let j = 0; j < w.cols; j++) {
      const v = w.data[r * w.cols + j];
      if (mask[j] || (v === 0 && !countZeros)) continue;
      n++;
      sum += v;
      size += Math.abs(v);
    }
    if (n > 0) [mean[r], alpha[r]] = [sum / n, size / n];
  }
  return { mean, alpha };
}

/**
 * The mask, the grid, and scales before any training: factors of 1.
 *
 * @param w W (out, in). @param size (in) max|x_j|.
 */
export function startPtq161(w: Matrix, size: ArrayLike<number>, o: Ptq161Options): Ptq161Layer {
  const low = Number.isNaN(o.share), mask = low ? new Uint8Array(w.cols) : salientChannels(size, o.share);
  const ones = (n: number) => new Float32Array(n).fill(1);
  const { mean, alpha } = rowMeans(w, mask, low);
  return { mask, high: highGrid(w, o.bits), mean, alpha, r1: ones(w.rows), r2: ones(w.cols), losses: [] };
}

/** Ŵ (out, in) of a layer. */
export function composePtq161(w: Matrix, l: Omit<Ptq161Layer, "losses">): Matrix {
  const out = matrix(w.rows, w.cols);
  for (let i = 0; i < out.data.length; i++) {
    const r = Math.floor(i / w.cols), j = i % w.cols;
    out.data[i] = l.mask[j]
      ? l.high.scale[r] * (l.high.codes[i] - l.high.zero[r])
      : l.r1[r] * l.r2[j] * (l.alpha[r] * Math.sign(w.data[i] - l.mean[r]) + l.mean[r]);
  }
  return out;
}

/** AdamW without decay on one list of numbers, in place. */
class Adam {
  private readonly first: Float64Array;
  private readonly second: Float64Array;
  private step = 0;

  constructor(readonly values: Float64Array, readonly rate: number) {
    this.first = new Float64Array(values.length);
    this.second = new Float64Array(values.length);
  }

  update(gradient: Float64Array): void {
    this.step++;
    const c1 = 1 - BETA1 ** this.step, c2 = Math.sqrt(1 - BETA2 ** this.step);
    for (let i = 0; i < gradient.length; i++) {
      this.first[i] = BETA1 * this.first[i] + (1 - BETA1) * gradient[i];
      this.second[i] = BETA2 * this.second[i] + (1 - BETA2) * gradient[i] ** 2;
      this.values[i] -= this.rate / c1 * this.first[i] / (Math.sqrt(this.second[i]) / c2 + EPSILON);
    }
  }
}

/**
 * 2 MSE(ŷ, y) − 2 ln|mean over tokens of cos(ŷ_t, y_t)| and its derivative by ŷ: the reference's loss where the quantized
 * and the float path read the same inputs.
 *
 * @param y and @param approximation (tokens, out).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { outputLoss } from "./ptq161.ts";
 * const m = (...v: number[]) => ({ data: Float32Array.from(v), rows: 1, cols: v.length });
 * assert.equal(outputLoss(m(3, 4), m(3, 4)).loss, 0);
 * assert(Math.abs(outputLoss(m(3, 4), m(6, 8)).loss - 25) < 1e-12); // the direction is right, the size is not
 * ```
 */
export function outputLoss(y: Matrix, approximation: Matrix): { loss: number; gradient: Float64Array } {
  const { rows, cols } = y, a = approximation.data, b = y.data, n = rows * cols;
  const cosine = new Float64Array(rows), sizeA = new Float64Array(rows), sizeB = new Float64Array(rows);
  let square = 0;
  for (let t = 0; t < rows; t++) {
    let dot = 0, aa = 0, bb = 0;
    for (let i = t * cols; i < (t + 1) * cols; i++) {
      dot += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
      square += (a[i] - b[i]) ** 2;
    }
    sizeA[t] = Math.max(Math.sqrt(aa), EPSILON);
    sizeB[t] = Math.max(Math.sqrt(bb), EPSILON);
    cosine[t] = dot / (sizeA[t] * sizeB[t]);
  }
  const mean = cosine.reduce((s, v) => s + v, 0) / rows, gradient = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const t = Math.floor(i / cols), turn = b[i] / (sizeA[t] * sizeB[t]) - cosine[t] * a[i] / sizeA[t] ** 2;
    gradient[i] = 4 * (a[i] - b[i]) / n - 2 * turn / (mean * rows);
  }
  return { loss: 2 * square / n - 2 * Math.log(Math.abs(mean)), gradient };
}

/** Gᵀ X (out, in), G (tokens, out), four tokens at a time. */
function weightGradient(g: Float64Array, x: Matrix, rows: number): Float64Array {
  const { cols, data } = x, out = new Float64Array(rows * cols), last = x.rows - 1;
  for (let r = 0; r < rows; r++) {
    const row = out.subarray(r * cols, (r + 1) * cols);
    for (let t = 0; t <= last; t += 4) {
      const at = (k: number) => t + k <= last ? g[(t + k) * rows + r] : 0;
      const g0 = at(0), g1 = at(1), g2 = at(2), g3 = at(3);
      const x0 = t * cols, x1 = Math.min(t + 1, last) * cols, x2 = Math.min(t + 2, last) * cols;
      const x3 = Math.min(t + 3, last) * cols;
      for (let j = 0; j < cols; j++) {
        row[j] += g0 * data[x0 + j] + g1 * data[x1 + j] + g2 * data[x2 + j] + g3 * data[x3 + j];
      }
    }
  }
  return out;
}

/**
 * Trains α, r1 and r2 on the layer's output, a sequence a step, AdamW without decay.
 *
 * @param w W (out, in). @param start from {@link startPtq161}. @param sequences X (tokens, in) each, taken in order.
 * @returns the trained layer with the mean loss of each epoch.
 * Source: PTQ1.61, arXiv 2502.13179; zjq0455/PTQ1.61 4561118, whose block is one linear here.
 */
export function trainPtq161(
  w: Matrix,
  start: Ptq161Layer,
  sequences: readonly Matrix[],
  o: Ptq161Options,
): Ptq161Layer {
  const { rows, cols } = w, n = rows * cols;
  const alpha = new Adam(Float64Array.from(start.alpha), o.rateScale);
  const r1 = new Adam(Float64Array.from(start.r1), o.rateFactor),
    r2 = new Adam(Float64Array.from(start.r2), o.rateFactor);
  const now = (): Ptq161Layer => ({
    ...start,
    alpha: Float32Array.from(alpha.values),
    r1: Float32Array.from(r1.values),
    r2: Float32Array.from(r2.values),
  });
  const targets = sequences.map((x) => linearOutput(x, w)), losses: number[] = [];
  for (let epoch = 0; epoch < o.epochs; epoch++) {
    let total = 0;
    sequences.forEach((x, s) => {
      const { loss, gradient } = outputLoss(targets[s], linearOutput(x, composePtq161(w, now())));
      total += loss / sequences.length;
      const byWeight = weightGradient(gradient, x, rows); // ∂L/∂Ŵ = (∂L/∂ŷ)ᵀ X
      const da = new Float64Array(rows), d1 = new Float64Array(rows), d2 = new Float64Array(cols);
      for (let i = 0, r = 0, j = -1; i < n; i++) {
        if (++j === cols) [r, j] = [r + 1, 0];
        if (start.mask[j]) continue;
        const sign = Math.sign(w.data[i] - start.mean[r]), base = alpha.values[r] * sign + start.mean[r];
        da[r] += byWeight[i] * r1.values[r] * r2.values[j] * sign;
        d1[r] += byWeight[i] * r2.values[j] * base;
        d2[j] += byWeight[i] * r1.values[r] * base;
      }
      alpha.update(da);
      r1.update(d1);
      r2.update(d2);
    });
    losses.push(total);
  }
  return { ...now(), losses };
}

/**
 * PTQ1.61 of one linear.
 *
 * @param w W (out, in). @param sequences X (tokens, in) each. @param o options; no epochs: the start.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ptq161, PTQ161_DEFAULTS } from "./ptq161.ts";
 * const w = { data: Float32Array.of(0.5, -1, 0.2, 0.9, 1, -0.3), rows: 2, cols: 3 };
 * const x = { data: Float32Array.of(9, 1, -1, -9, 1, 2), rows: 2, cols: 3 };
 * const { mask, losses } = ptq161(w, [x], { ...PTQ161_DEFAULTS, epochs: 3 });
 * assert.deepEqual([...mask], [1, 0, 0]);
 * assert(losses[2] < losses[0]);
 * ```
 */
export function ptq161(w: Matrix, sequences: readonly Matrix[], o: Ptq161Options): Ptq161Layer {
  const size = new Float64Array(w.cols);
  for (const x of sequences) channelSize(x, "max").forEach((v, j) => size[j] = Math.max(size[j], v));
  const start = startPtq161(w, size, o);
  return o.epochs > 0 ? trainPtq161(w, start, sequences, o) : start;
}
