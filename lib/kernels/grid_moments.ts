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

/** Scratch memory and coefficient tables of the bounds for one (steps, levels) and one length of row. */
export interface Moments {
  readonly steps: number;
  readonly levels: number;
  /**
   * Weights are sorted by the integer part of |Z|, positive ones first: `sums[5e + l]` = Σ |Z|^l over the entries before
   * entry e of the same side. `ends[offset + h]` is the entry after the last one with |Z| < h + 1; a side's `offset` − 1
   * holds its first entry.
   */
  readonly sums: Float64Array;
  readonly ends: Int32Array;
  readonly offsets: { readonly positive: number; readonly negative: number };
  /** |Z| of each weight of a row, and where in `ends` it counts. */
  readonly sizes: Float64Array;
  readonly bins: Int32Array;
  /** Five coefficients in Z/i of the error between t and t + 1 half steps from zero: above a level, below the next one, … */
  readonly near: Float64Array;
  /** The same of the part of the tail above level k at 2^t … 2^(t+1) half steps. */
  readonly far: readonly (readonly Float64Array[])[];
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

/** Prepares the bounds for `steps` ranges on grids that reach `top` levels to either side of zero, rows of `count` weights. */
export function openMoments(steps: number, levels: number, top: number, count: number): Moments {
  const bins = 2 * steps * levels + 2;
  const loss = () => ({ all: new Float64Array(top + 1), clipped: new Float64Array(top + 1) });
  const near = new Float64Array(2 * (top + 1) * WIDTH);
  for (let t = 0; t < 2 * (top + 1); t++) near.set(shifted(NEAR, t + t % 2, t % 2 ? -1 : 1), t * WIDTH);
  const octaves = Array.from({ length: Math.ceil(Math.log2(bins)) + 1 }, (_, t) => t);
  return {
    steps,
    levels,
    sums: new Float64Array((count + 2) * WIDTH),
    ends: new Int32Array(2 * (bins + 1)),
    offsets: { positive: 1, negative: bins + 2 },
    sizes: new Float64Array(count),
    bins: new Int32Array(count),
    near,
    far: Array.from(
      { length: top + 1 },
      (_, k) => octaves.map((t) => shifted(FAR.map((c, j) => c * 2 ** (t * (2.4 - j))), 2 * k, 1)),
    ),
    positiveLoss: loss(),
    negativeLoss: loss(),
  };
}

/** Sorts one row (a counting sort) and runs up its sums; `inverse` is 2 / unit, the row lies within −low … high + 1. */
function accumulate(m: Moments, row: Floats, inverse: number, high: number, low: number): void {
  const { sums, ends, sizes, bins } = m, { positive, negative } = m.offsets, n = row.length;
  const signs = new Uint32Array(row.buffer, row.byteOffset, n), apart = negative - positive;
  const last = 2 * m.steps * m.levels; // rounding of the unit can push the extreme weight over it
  ends.fill(0, positive, positive + high + 1);
  ends.fill(0, negative, negative + low + 1);
  for (let j = 0; j < n; j++) { // no branch on the sign: it is as good as random
    const size = Math.abs(row[j] * inverse);
    const bin = (Math.min(size, last) | 0) + positive + (signs[j] >>> 31) * apart;
    sizes[j] = size;
    bins[j] = bin;
    ends[bin]++;
  }
  const next = starts(ends, positive, high, 0) + 1; // one entry more: each side begins with an empty sum
  starts(ends, negative, low, next);
  for (let j = 0; j < n; j++) sums[WIDTH * ++ends[bins[j]]] = sizes[j];
  run(sums, 0, next);
  run(sums, next, n + 2);
}

/** Turns the numbers of weights in a side's bins into each bin's first entry, from entry `first` on; gives the end. */
function starts(ends: Int32Array, offset: number, last: number, first: number): number {
  ends[offset - 1] = first;
  let entry = first;
  for (let h = offset; h <= offset + last; h++) {
    const here = ends[h];
    ends[h] = entry;
    entry += here;
  }
  return entry;
}

/** Entries first … end − 1: from |Z|, each at the head of the entry after its own, to sums of the powers before. */
function run(sums: Float64Array, first: number, end: number): void {
  let s1 = 0, s2 = 0, s3 = 0, s4 = 0;
  sums.fill(0, first * WIDTH, (first + 1) * WIDTH);
  for (let e = first + 1, at = e * WIDTH; e < end; e++, at += WIDTH) {
    const z = sums[at], z2 = z * z;
    sums[at] = e - first;
    sums[at + 1] = s1 += z;
    sums[at + 2] = s2 += z2;
    sums[at + 3] = s3 += z2 * z;
    sums[at + 4] = s4 += z2 * z2;
  }
}

/** The error of one side at step i for `low` … `high` levels there, to within the bounds above; no |Z| is over `last` + 1. */
function sideLoss(m: Moments, offset: number, last: number, i: number, low: number, high: number, out: Loss): void {
  const { sums, ends, near } = m;
  const i1 = 1 / i, i2 = i1 * i1, i3 = i2 * i1, i4 = i2 * i2, unit = i ** 2.4;
  const end = WIDTH * ends[offset + last];
  let p = WIDTH * ends[offset - 1], rounded = 0;
  for (let t = 0, c = 0, h = i; t <= 2 * high; t++, c += WIDTH, h += i) {
    const q = h <= last ? WIDTH * ends[offset + h - 1] : end;
    let part = 0;
    if (q > p) {
      part = near[c] * (sums[q] - sums[p]) + near[c + 1] * (sums[q + 1] - sums[p + 1]) * i1 +
        near[c + 2] * (sums[q + 2] - sums[p + 2]) * i2 + near[c + 3] * (sums[q + 3] - sums[p + 3]) * i3 +
        near[c + 4] * (sums[q + 4] - sums[p + 4]) * i4;
    }
    if ((t & 1) === 0 && t >= 2 * low) {
      const k = t >> 1;
      let clipped = part;
      for (let octave = 0, at = q, reach = 2 * i; at < end; octave++, reach *= 2) {
        const f = m.far[k][octave], edge = h - i + reach, next = edge <= last ? WIDTH * ends[offset + edge - 1] : end;
        clipped += f[0] * (sums[next] - sums[at]) + f[1] * (sums[next + 1] - sums[at + 1]) * i1 +
          f[2] * (sums[next + 2] - sums[at + 2]) * i2 + f[3] * (sums[next + 3] - sums[at + 3]) * i3 +
          f[4] * (sums[next + 4] - sums[at + 4]) * i4;
        at = next;
      }
      out.all[k] = unit * (rounded + clipped);
      out.clipped[k] = unit * clipped;
    }
    rounded += part;
    p = q;
  }
}

/**
 * Every candidate (i, z) of one row whose score may be the least, given the bounds of this file.
 *
 * @param inverse 2 / unit. @param min @param max the row's range, zero included
 * @param firstZero @param lastZero the zero points to try
 * @param topCode 2^b − 1
 * @param out is emptied, then filled.
 */
export function boundCandidates(
  m: Moments,
  row: Floats,
  inverse: number,
  { min, max }: { readonly min: number; readonly max: number },
  firstZero: number,
  lastZero: number,
  topCode: number,
  out: Candidates,
): void {
  const most = 2 * m.steps * m.levels;
  const high = Math.min(max * inverse, most) | 0, low = Math.min(-min * inverse, most) | 0;
  accumulate(m, row, inverse, high, low);
  out.steps.length = out.zeros.length = out.low.length = 0;
  const { positiveLoss, negativeLoss } = m;
  let best = Infinity, first = firstZero, last = lastZero;
  for (let i = m.steps; i >= 1; i--) {
    const slack = NEAR_BOUND * row.length * i ** 2.4;
    sideLoss(m, m.offsets.positive, high, i, topCode - last, topCode - first, positiveLoss);
    sideLoss(m, m.offsets.negative, low, i, first, last, negativeLoss);
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
