// Bounds on the score of every candidate of the grid search, in time that does not depend on the length of the row.
//
// Measure weights in half units: Z = 2w / unit, unit = R / (steps · levels). The scale of step i is then exactly 2i, its
// levels sit at 2i·k and its rounding boundaries at odd multiples of i: all of them integers. So the row is needed only
// as moments Σ 1, Σ |Z|, … Σ |Z|⁴ of the weights below each integer, positive and negative ones apart. |x|^2.4 is a
// polynomial of degree 4 to 2.7e-4 on [0, 1] (half a cell) and, relative to itself, to 8e-6 on each [2^t, 2^(t+1)] (the
// clipped tail); the sum of a polynomial over an interval is a dot product of five with the difference of two moments.
import type { Floats } from "../io/tensor.ts";

/** Minimax coefficients of x^2.4 on [0, 1] and on [1, 2], lowest degree first (Remez exchange; tests hold the bounds). */
export const NEAR = [
  2.6078962748e-4,
  -0.02175750601484905,
  0.5037391604326272,
  0.6665374766510415,
  -0.14904071032378194,
];
export const FAR = [
  0.05295180862329543,
  -0.2564150950561029,
  0.936350393864337,
  0.28517857943457336,
  -0.018057992542326515,
];
export const NEAR_BOUND = 2.61e-4;
/** Of the far polynomial (7.7e-6), of float32 scales against exact ones, and of sums in double. */
const RELATIVE_BOUND = 3e-5;
const DEGREE = 4, WIDTH = DEGREE + 1;

/** One side of zero: `sums[h · 5 + l]` = Σ |Z|^l over the weights with |Z| < h. */
interface Side {
  readonly sums: Float64Array;
  /** All weights lie below this integer. */
  top: number;
}

/** Scratch memory and coefficient tables of the bounds for one (steps, levels). */
export interface Moments {
  readonly steps: number;
  readonly levels: number;
  readonly positive: Side;
  readonly negative: Side;
  /** Coefficients in Z/i of the error in the half cell above level k, and of the one below it. */
  readonly above: readonly Float64Array[];
  readonly below: readonly Float64Array[];
  /** The same of the part of the tail above level k at 2^t … 2^(t+1) half steps. */
  readonly tail: readonly (readonly Float64Array[])[];
  /** By m levels on a side: the error of that side, and the part of it that clipping alone makes. */
  readonly positiveLoss: Loss;
  readonly negativeLoss: Loss;
}

interface Loss {
  readonly all: Float64Array;
  readonly clipped: Float64Array;
}

/** The candidates that may be the best one, in no particular order. */
export interface Candidates {
  readonly steps: number[];
  readonly zeros: number[];
  /** Lower bound of each one's score, in units of its row's. */
  readonly low: number[];
}

/** Coefficients of p(sign · (y − shift)) as a polynomial in y. */
function shifted(p: readonly number[], shift: number, sign: number): Float64Array {
  const out = new Float64Array(WIDTH);
  for (let j = DEGREE; j >= 0; j--) { // Horner: out ← out · sign · (y − shift) + p[j]
    for (let l = DEGREE; l >= 0; l--) out[l] = sign * ((l > 0 ? out[l - 1] : 0) - shift * out[l]);
    out[0] += p[j];
  }
  return out;
}

/** Prepares the bounds for `steps` ranges on grids that reach `top` levels to either side of zero. */
export function openMoments(steps: number, levels: number, top: number): Moments {
  const bins = 2 * steps * levels + 2;
  const side = () => ({ sums: new Float64Array((bins + 1) * WIDTH), top: 0 });
  const loss = () => ({ all: new Float64Array(top + 1), clipped: new Float64Array(top + 1) });
  const ks = Array.from({ length: top + 1 }, (_, k) => k);
  const octaves = Array.from({ length: Math.ceil(Math.log2(bins)) + 1 }, (_, t) => t);
  return {
    steps,
    levels,
    positive: side(),
    negative: side(),
    above: ks.map((k) => shifted(NEAR, 2 * k, 1)),
    below: ks.map((k) => shifted(NEAR, 2 * k, -1)),
    tail: ks.map((k) => octaves.map((t) => shifted(FAR.map((c, j) => c * 2 ** (t * (2.4 - j))), 2 * k, 1))),
    positiveLoss: loss(),
    negativeLoss: loss(),
  };
}

/** Fills both sides' running moments from one row; `inverse` is 2 / unit. */
function accumulate(m: Moments, row: Floats, inverse: number): void {
  const last = 2 * m.steps * m.levels;
  const { positive, negative } = m;
  positive.sums.fill(0, 0, (positive.top + 1) * WIDTH);
  negative.sums.fill(0, 0, (negative.top + 1) * WIDTH);
  let high = 0, low = 0;
  for (let j = 0; j < row.length; j++) {
    const z = row[j] * inverse;
    const a = z < 0 ? -z : z;
    let bin = a | 0;
    if (bin > last) bin = last; // rounding of the unit can push the extreme weight over the edge
    const sums = z < 0 ? negative.sums : positive.sums;
    if (z < 0) low = bin > low ? bin : low;
    else high = bin > high ? bin : high;
    const at = (bin + 1) * WIDTH, a2 = a * a;
    sums[at] += 1;
    sums[at + 1] += a;
    sums[at + 2] += a2;
    sums[at + 3] += a2 * a;
    sums[at + 4] += a2 * a2;
  }
  positive.top = high + 1;
  negative.top = low + 1;
  run(positive);
  run(negative);
}

function run({ sums, top }: Side): void {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0;
  for (let h = 0, at = 0; h <= top; h++, at += WIDTH) {
    sums[at] = s0 += sums[at];
    sums[at + 1] = s1 += sums[at + 1];
    sums[at + 2] = s2 += sums[at + 2];
    sums[at + 3] = s3 += sums[at + 3];
    sums[at + 4] = s4 += sums[at + 4];
  }
}

/** The error of one side at step i for `low` … `high` levels on that side, to within the bounds above. */
function sideLoss(m: Moments, side: Side, i: number, low: number, high: number, out: Loss): void {
  const { sums, top } = side;
  const i1 = 1 / i, i2 = i1 * i1, i3 = i2 * i1, i4 = i2 * i2, unit = i ** 2.4;
  // Σ over the weights with h0 <= |Z| < h1 of the polynomial c in |Z| / i
  const part = (c: Float64Array, h0: number, h1: number): number => {
    const p = h0 * WIDTH, q = (h1 < top ? h1 : top) * WIDTH;
    return c[0] * (sums[q] - sums[p]) + c[1] * (sums[q + 1] - sums[p + 1]) * i1 +
      c[2] * (sums[q + 2] - sums[p + 2]) * i2 + c[3] * (sums[q + 3] - sums[p + 3]) * i3 +
      c[4] * (sums[q + 4] - sums[p + 4]) * i4;
  };
  let rounded = 0;
  for (let k = 0; k <= high; k++) {
    const center = 2 * i * k;
    if (k > 0 && center - i < top) rounded += part(m.below[k], center - i, center);
    let above = 0;
    if (center < top) above = part(m.above[k], center, center + i);
    if (k >= low) {
      let clipped = above;
      for (let t = 0, h = i; center + h < top; t++, h *= 2) clipped += part(m.tail[k][t], center + h, center + 2 * h);
      out.all[k] = unit * (rounded + clipped);
      out.clipped[k] = unit * clipped;
    }
    rounded += above;
  }
}

/**
 * Every candidate (i, z) of one row whose score may be the least, given the bounds of this file.
 *
 * @param inverse 2 / unit
 * @param firstZero @param lastZero the zero points to try
 * @param topCode 2^b − 1
 * @param out is emptied, then filled.
 */
export function boundCandidates(
  m: Moments,
  row: Floats,
  inverse: number,
  firstZero: number,
  lastZero: number,
  topCode: number,
  out: Candidates,
): void {
  accumulate(m, row, inverse);
  out.steps.length = out.zeros.length = out.low.length = 0;
  const { positiveLoss, negativeLoss } = m;
  let best = Infinity, first = firstZero, last = lastZero;
  for (let i = m.steps; i >= 1; i--) {
    const slack = NEAR_BOUND * row.length * i ** 2.4;
    sideLoss(m, m.positive, i, topCode - last, topCode - first, positiveLoss);
    sideLoss(m, m.negative, i, first, last, negativeLoss);
    for (let z = first; z <= last; z++) {
      const loss = positiveLoss.all[topCode - z] + negativeLoss.all[z];
      const margin = slack + RELATIVE_BOUND * loss;
      if (loss - margin > best) continue;
      if (loss + margin < best) best = loss + margin;
      out.steps.push(i);
      out.zeros.push(z);
      out.low.push(loss - margin);
    }
    // What clipping alone costs only grows as i falls, so a zero point that it rules out here is out for good.
    const limit = (best + slack) * (1 + RELATIVE_BOUND);
    while (first <= last && positiveLoss.clipped[topCode - last] > limit) last--;
    while (first <= last && negativeLoss.clipped[first] > limit) first++;
    if (first > last) break;
  }
  let kept = 0;
  for (let c = 0; c < out.low.length; c++) {
    if (out.low[c] > best) continue;
    out.steps[kept] = out.steps[c];
    out.zeros[kept] = out.zeros[c];
    out.low[kept++] = out.low[c];
  }
  out.steps.length = out.zeros.length = out.low.length = kept;
}
