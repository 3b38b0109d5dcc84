// Half-quadratic quantization: the zero points that make a sparsity-loving norm of the weights' error small.
import { LabError } from "../io/errors.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";
import { groupsOf } from "./budget.ts";
import { f16round } from "./f16.ts";

/** How HQQ searches. */
export interface HqqOptions {
  readonly bits: number;
  /** Columns that share a grid; 0: the row. */
  readonly groupSize: number;
  /** p of the norm, below 1. */
  readonly lp: number;
  /** Weight of the splitting's quadratic term, 1/unit of a weight: large, nothing is shrunk. */
  readonly beta: number;
  /** Rounds at most. */
  readonly rounds: number;
  /** 16: scale and zero are rounded to f16 before the last codes. */
  readonly scaleBits: 16 | 32;
}

/** The defaults of mobiusml/hqq. */
export const HQQ_DEFAULTS = { lp: 0.7, beta: 10, rounds: 20 } as const;

/** What HQQ finds: ŵ = scale · (code − zero). */
export interface HqqGrid {
  /** (out, in) */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (out, groups) the step, and the zero point, a real number. */
  readonly scale: Floats;
  readonly zero: Floats;
  /** (out, groups) −min/step, where the search begins. */
  readonly firstZero: Floats;
}

const f32 = Math.fround, LARGEST_INVERSE = 2e4, SMALLEST_RANGE = 1e-4;

/**
 * Min–max steps with zero points by half-quadratic splitting. A round takes codes q on the present zero z, shrinks the
 * error, e = sign(u) max(|u| − |u|^(p−1)/β, 0) with u = w − s(q − z), and sets z = mean(q − (w − e)/s) over each group.
 *
 * The rounds end with the first one that does not lower the mean |u| of the whole matrix, and keep that round's zero.
 * At the usual size of weights the shrinkage gives 0, and a round only moves z by the mean error.
 *
 * @param w W (out, in). @param o options; β is constant, as in the reference's default solver.
 * @returns codes (out, in), scale and zero (out, groups).
 * @throws LabError on bits outside 1 … 8.
 * Source: mobiusml/hqq e0b1d00, hqq/core/optimize.py; Badri and Shaji 2023.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { hqq, HQQ_DEFAULTS } from "./hqq.ts";
 * const w = { data: Float32Array.of(0, 1, 2, 3), rows: 1, cols: 4 };
 * const g = hqq(w, { bits: 2, groupSize: 0, scaleBits: 32, ...HQQ_DEFAULTS });
 * assert.deepEqual([[...g.codes], g.scale[0], g.zero[0]], [[0, 1, 2, 3], 1, 0]);
 * ```
 */
export function hqq(w: Matrix, o: HqqOptions): HqqGrid {
  if (!(Number.isInteger(o.bits) && o.bits >= 1 && o.bits <= 8)) {
    throw new LabError("input", "hqq", `${o.bits} bits a code`, "Codes have 1 to 8 bits.");
  }
  const { rows, cols, data } = w, top = 2 ** o.bits - 1, groups = groupsOf(cols, o.groupSize);
  const inverse = new Float32Array(rows * groups), zero = new Float32Array(rows * groups);
  const span = (g: number) => {
    const row = Math.floor(g / groups) * cols, from = (g % groups) * o.groupSize;
    return [row + from, row + (o.groupSize > 0 ? Math.min(from + o.groupSize, cols) : cols)];
  };
  for (let g = 0; g < inverse.length; g++) {
    const [from, to] = span(g);
    let min = Infinity, max = -Infinity;
    for (let i = from; i < to; i++) {
      min = Math.min(min, data[i]);
      max = Math.max(max, data[i]);
    }
    const range = f32(max - min);
    inverse[g] = range <= SMALLEST_RANGE ? 1 : Math.min(f32(top / range), LARGEST_INVERSE);
    zero[g] = -min * inverse[g];
  }
  const firstZero = zero.slice(), never = 0.99 * o.beta ** (-1 / (2 - o.lp)); // |u| ≤ |u|^(p−1)/β below: a power saved
  const code = (x: number, g: number) => Math.max(0, Math.min(top, roundHalfEven(f32(f32(x * inverse[g]) + zero[g]))));
  for (let round = 0, best = Infinity; round < o.rounds; round++) {
    let total = 0;
    for (let g = 0; g < zero.length; g++) {
      const [from, to] = span(g), s = inverse[g], z = zero[g];
      let sum = 0;
      for (let i = from; i < to; i++) {
        const q = code(data[i], g), u = f32(data[i] - f32((q - z) / s)), size = Math.abs(u);
        const e = size < never ? 0 : Math.sign(u) * Math.max(0, size - size ** (o.lp - 1) / o.beta);
        sum += q - (data[i] - e) * s;
        total += size;
      }
      zero[g] = sum / (to - from);
    }
    if (!(total < best)) break;
    best = total;
  }
  const scale = inverse.map((s) => 1 / s);
  if (o.scaleBits === 16) {
    for (let g = 0; g < scale.length; g++) {
      [scale[g], zero[g]] = [f16round(scale[g]) || 2 ** -24, f16round(zero[g])];
      inverse[g] = 1 / scale[g];
    }
  }
  const codes = new Uint8Array(data.length);
  for (let g = 0; g < zero.length; g++) {
    const [from, to] = span(g);
    for (let i = from; i < to; i++) codes[i] = code(data[i], g);
  }
  return { codes, scale, zero, firstZero };
}
