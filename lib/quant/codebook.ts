// Codebooks for normal numbers in one and two dimensions, by Lloyd's rule: each point goes to its nearest entry, each entry
// to the mean of its points. Nothing is drawn at random: one dimension is integrated, two are covered by a spiral of points.
import type { Floats } from "../io/tensor.ts";

/** 2^lutBits entries of `dim` numbers, row-major. */
export interface Codebook {
  readonly dim: number;
  readonly entries: Floats;
  /** Mean squared error a number, for normal numbers of variance 1. */
  readonly distortion: number;
}

/**
 * Mean squared error a number of the best books for normal numbers of variance 1, by weights an entry and log2 of the
 * entries: what a choice between books needs to know before any is made. Our own books, one dimension exact, two to 2 %.
 */
export const GAUSSIAN_DISTORTION: Readonly<Record<number, readonly number[]>> = {
  1: [1, 0.3634, 0.1175, 0.03455, 0.009505, 0.002507, 0.0006451, 0.0001637, 0.00004123],
  2: [1, 0.6817, 0.3634, 0.2012, 0.1077, 0.0574, 0.02984, 0.01534, 0.00782, 0.003976, 0.001996],
};

const FAR = 9, PANELS = 48, ROUNDS = 400;

/** The normal density, up to a factor √(2π) that cancels where ratios are taken. */
function density(x: number): number {
  return Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
}

/** ∫ φ from a to b by Simpson's rule. */
function mass(a: number, b: number): number {
  const h = (b - a) / PANELS;
  let s = density(a) + density(b);
  for (let i = 1; i < PANELS; i++) s += (i % 2 ? 4 : 2) * density(a + i * h);
  return s * h / 3;
}

/**
 * Lloyd–Max: the best 2^bits levels for a normal number.
 *
 * Starts where the companded quantizer of high resolution has its levels (density of levels ∝ φ^(1/3)).
 *
 * @param bits 1 … 10.
 * @returns levels ascending and symmetric, and their distortion, exact to about 1e-6 of it up to 6 bits.
 * Source: Lloyd 1982, IEEE Trans. Inf. Theory 28; Max 1960.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { lloydMax } from "./codebook.ts";
 * const { entries, distortion } = lloydMax(1);
 * assert(Math.abs(entries[1] - Math.sqrt(2 / Math.PI)) < 1e-6);
 * assert(Math.abs(distortion - (1 - 2 / Math.PI)) < 1e-6);
 * ```
 */
export function lloydMax(bits: number): Codebook {
  const half = 2 ** (bits - 1), levels = new Float64Array(half); // the positive ones
  for (let i = 0; i < half; i++) levels[i] = Math.sqrt(3) * normalQuantile(0.5 + (i + 0.5) / (2 * half));
  let distortion = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let moved = 0, low = 0, kept = 0;
    for (let i = 0; i < half; i++) {
      const high = i + 1 < half ? (levels[i] + levels[i + 1]) / 2 : Math.max(FAR, low + 4);
      const share = mass(low, high), mean = (density(low) - density(high)) / share;
      kept += 2 * mean * mean * share;
      moved = Math.max(moved, Math.abs(mean - levels[i]));
      levels[i] = mean;
      low = high; // the next boundary still sees the old right neighbour: one sweep is a mixed step, as good
    }
    distortion = 1 - kept;
    if (moved < 1e-9) break;
  }
  const entries = Float32Array.from(
    { length: 2 * half },
    (_, i) => i < half ? -levels[half - 1 - i] : levels[i - half],
  );
  return { dim: 1, entries, distortion };
}

/** Φ⁻¹ by bisection: only for starting values. */
function normalQuantile(p: number): number {
  let low = 0, high = FAR;
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (0.5 + mass(0, middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The golden angle: the k-th of n points of a spiral lies as far from its neighbours as may be. */
const GOLDEN = Math.PI * (3 - Math.sqrt(5));
/** Points a cell, and at least: with few of them Lloyd's rule stops early, 1 % above at 64, 0.1 % at 400. */
const POINTS_A_CELL = 128, LEAST_POINTS = 20000;
/** Entries from which one quadrant is solved and mirrored: a quarter of the work, and next to nothing lost along the axes. */
const MIRRORED = 512;
/** An entry goes further than to the mean of its points, which saves rounds. */
const STRIDE = 1.6;

/** n points of a plane or a quadrant, as dense as a normal law of variance 2 has them: the density that the best entries have. */
function spiral(n: number, quadrant: boolean): Float64Array {
  const p = new Float64Array(2 * n);
  for (let k = 0; k < n; k++) {
    const r = Math.sqrt(-4 * Math.log(1 - (k + 0.5) / n)), turn = k * GOLDEN;
    const angle = quadrant ? turn / 4 % (Math.PI / 2) : turn;
    p[2 * k] = r * Math.cos(angle);
    p[2 * k + 1] = r * Math.sin(angle);
  }
  return p;
}

/**
 * Lloyd's rule for pairs of normal numbers.
 *
 * @param lutBits log2 of the number of entries, 1 … 12. @param rounds of Lloyd's rule.
 * @returns entries (2^lutBits, 2) and their distortion, to about 0.5 % of it.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { planeCodebook } from "./codebook.ts";
 * const { distortion } = planeCodebook(4);
 * assert(distortion < 0.112 && distortion > 4 ** -2); // scalar levels: 0.1175
 * ```
 */
export function planeCodebook(lutBits: number, rounds = 40): Codebook {
  const all = 2 ** lutBits, mirrored = all >= MIRRORED, n = mirrored ? all / 4 : all;
  const count = Math.max(mirrored ? LEAST_POINTS / 4 : LEAST_POINTS, POINTS_A_CELL * n);
  const points = spiral(count, mirrored), entries = spiral(n, mirrored), weight = new Float64Array(count);
  let total = 0;
  for (let i = 0; i < count; i++) {
    weight[i] = Math.exp(-(points[2 * i] ** 2 + points[2 * i + 1] ** 2) / 4);
    total += weight[i];
  }
  const nearest = new NearestEntry(entries), of = new Int32Array(count), sums = new Float64Array(3 * n);
  let distortion = 0;
  for (let round = 0; round <= rounds; round++) {
    let error = 0;
    sums.fill(0);
    nearest.index();
    for (let i = 0; i < count; i++) {
      const x = points[2 * i], y = points[2 * i + 1], e = nearest.find(x, y, of[i]), w = weight[i];
      of[i] = e;
      error += w * ((x - entries[2 * e]) ** 2 + (y - entries[2 * e + 1]) ** 2);
      sums[3 * e] += w;
      sums[3 * e + 1] += w * x;
      sums[3 * e + 2] += w * y;
    }
    distortion = error / total / 2;
    const stride = round < rounds - 1 ? STRIDE : 1;
    for (let e = 0; e < n && round < rounds; e++) {
      if (sums[3 * e] === 0) continue;
      entries[2 * e] += stride * (sums[3 * e + 1] / sums[3 * e] - entries[2 * e]);
      entries[2 * e + 1] += stride * (sums[3 * e + 2] / sums[3 * e] - entries[2 * e + 1]);
    }
  }
  const mirror = (x: number, y: number) => Array.from(entries, (v, i) => i % 2 ? y * v : x * v);
  const values = mirrored ? [[1, 1], [-1, 1], [1, -1], [-1, -1]].flatMap(([x, y]) => mirror(x, y)) : entries;
  return { dim: 2, entries: Float32Array.from(values), distortion };
}

/** The nearest of many entries of the plane, by squares of about one entry each. */
class NearestEntry {
  private readonly side: number;
  private readonly reach: number;
  private start: Int32Array = new Int32Array(0);
  private list: Int32Array = new Int32Array(0);

  constructor(private readonly entries: Float64Array) {
    const n = entries.length / 2;
    this.side = Math.max(1, Math.ceil(Math.sqrt(n)));
    this.reach = entries.reduce((m, v) => Math.max(m, Math.abs(v)), 0) * 1.05;
  }

  private cell(v: number): number {
    return Math.max(0, Math.min(this.side - 1, Math.floor((v / this.reach + 1) / 2 * this.side)));
  }

  /** Sorts the entries into the squares. */
  index(): void {
    const n = this.entries.length / 2, { side } = this, at = new Int32Array(n);
    this.start = new Int32Array(side * side + 1);
    for (let e = 0; e < n; e++) {
      at[e] = this.cell(this.entries[2 * e + 1]) * side + this.cell(this.entries[2 * e]);
      this.start[at[e] + 1]++;
    }
    for (let i = 0; i < side * side; i++) this.start[i + 1] += this.start[i];
    const fill = this.start.slice();
    this.list = new Int32Array(n);
    for (let e = 0; e < n; e++) this.list[fill[at[e]]++] = e;
  }

  /** @param guess an entry that is likely near. */
  find(x: number, y: number, guess: number): number {
    const { entries, side } = this, width = 2 * this.reach / side, cx = this.cell(x), cy = this.cell(y);
    let best = guess, least = (x - entries[2 * guess]) ** 2 + (y - entries[2 * guess + 1]) ** 2;
    // A ring at distance d holds nothing nearer than (d − 1) squares, for points inside the reach; outside, even farther.
    for (let d = 0; d < side && (d - 1 < 0 || ((d - 1) * width) ** 2 <= least); d++) {
      for (let j = Math.max(0, cy - d); j <= Math.min(side - 1, cy + d); j++) {
        const edge = Math.abs(j - cy) === d;
        for (let i = cx - d; i <= cx + d; i += edge || d === 0 ? 1 : 2 * d) {
          if (i < 0 || i >= side) continue;
          const cell = j * side + i;
          for (let k = this.start[cell]; k < this.start[cell + 1]; k++) {
            const e = this.list[k], gap = (x - entries[2 * e]) ** 2 + (y - entries[2 * e + 1]) ** 2;
            if (gap < least) [best, least] = [e, gap];
          }
        }
      }
    }
    return best;
  }
}

/** The nearest entry of a codebook to a vector, the first of equals; for codebooks of a few hundred entries. */
export function nearestEntry(book: Pick<Codebook, "dim" | "entries">, v: ArrayLike<number>): number {
  const { dim, entries } = book;
  let best = 0, least = Infinity;
  for (let e = 0; e * dim < entries.length; e++) {
    let gap = 0;
    for (let i = 0; i < dim; i++) gap += (v[i] - entries[e * dim + i]) ** 2;
    if (gap < least) [best, least] = [e, gap];
  }
  return best;
}
