// Trit planes: each group of weights as a sum of a few ternary vectors with a scale each, by alternating between a small
// ridge regression for the scales and an exhaustive search for the trits.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";

/** How a group is solved. */
export interface TritOptions {
  /** Planes, 1 to 3. */
  readonly planes: number;
  /** Columns that share scales; 0: the row. */
  readonly groupSize: number;
  readonly rounds: number;
  /** A group is done when its scales move less, in units of a weight. */
  readonly epsilon: number;
  /** The ridge: from `ridge` tenfold up to `mostRidge` while the condition estimate of the Gram matrix is above `condition`. */
  readonly ridge: number;
  readonly mostRidge: number;
  readonly condition: number;
}

/** The settings of PTQTP. */
export const PTQTP_DEFAULTS: TritOptions = {
  planes: 2,
  groupSize: 128,
  rounds: 50,
  epsilon: 1e-4,
  ridge: 1e-8,
  mostRidge: 1,
  condition: 1e6,
};

/** One group: ŵ_j = Σ_k scale_k · trits_k[j]. */
export interface TritGroup {
  /** (planes), any sign. */
  readonly scale: Floats;
  /** (planes) of (group) −1, 0, 1. */
  readonly trits: readonly Int8Array<ArrayBuffer>[];
  readonly rounds: number;
  readonly converged: boolean;
}

const f32 = Math.fround;

/** The tuples of trits in the order in which equal errors are decided: fewer first, later planes first. */
const TUPLES: readonly (readonly (readonly number[])[])[] = [0, 1, 2, 3].map((planes) => {
  const supports = Array.from(
    { length: 2 ** planes },
    (_, s) => Array.from({ length: planes }, (_, k) => s >> (planes - 1 - k) & 1),
  );
  const count = (s: readonly number[]) => s.reduce((a, b) => a + b, 0);
  supports.sort((a, b) => count(a) - count(b)); // stable: within one count, later planes first
  return supports.flatMap((s) => {
    const signed: number[][] = [[]];
    for (const on of s) {
      const longer = signed.flatMap((t) => (on ? [-1, 1] : [0]).map((v) => [...t, v]));
      signed.splice(0, signed.length, ...longer);
    }
    return signed;
  });
});

/** The sums that the tuples give, in float32. */
function sumsOf(planes: number, scale: ArrayLike<number>): Floats {
  return Float32Array.from(TUPLES[planes], (t) => t.reduce((v, c, k) => f32(v + f32(scale[k] * c)), 0));
}

/** The tuple with the nearest sum for each weight, in float32, the first of equals. */
function searchTuples(w: Floats, planes: number, scale: ArrayLike<number>, tuple: Uint8Array): void {
  const values = sumsOf(planes, scale), n = values.length;
  for (let j = 0; j < w.length; j++) {
    const x = w[j];
    let best = 0, least = Infinity;
    for (let i = 0; i < n; i++) {
      const d = f32(x - values[i]), error = f32(d * d);
      if (error < least) {
        best = i;
        least = error;
      }
    }
    tuple[j] = best;
  }
}

/** (TᵀT + λI)⁻¹ Tᵀw in double, rounded to float32; λ grows while the matrix is near singular. */
function solveScales(w: Floats, tuple: Uint8Array, n: number, o: TritOptions): Floats {
  const tuples = TUPLES[n], count = new Int32Array(tuples.length), sum = new Float64Array(tuples.length);
  for (let j = 0; j < w.length; j++) {
    count[tuple[j]]++;
    sum[tuple[j]] += w[j];
  }
  const gram = new Float64Array(n * n), right = new Float64Array(n);
  tuples.forEach((t, i) => {
    for (let k = 0; k < n; k++) {
      right[k] += t[k] * sum[i];
      for (let l = 0; l < n; l++) gram[k * n + l] += count[i] * t[k] * t[l];
    }
  });
  for (let ridge = f32(o.ridge);; ridge = Math.min(ridge * 10, o.mostRidge)) {
    const a = gram.map((v, i) => i % (n + 1) === 0 ? v + ridge : v), { adjugate, determinant } = adjugateOf(a, n);
    const condition = Math.sqrt(squares(a) * squares(adjugate)) / determinant;
    if (n > 1 && condition > o.condition && ridge < o.mostRidge) continue;
    return Float32Array.from({ length: n }, (_, k) => {
      let s = 0;
      for (let l = 0; l < n; l++) s += adjugate[k * n + l] * right[l];
      return s / determinant;
    });
  }
}

/** The planes of a list of tuples. */
function planesOf(tuple: Uint8Array, planes: number): Int8Array<ArrayBuffer>[] {
  return Array.from({ length: planes }, (_, k) => Int8Array.from(tuple, (t) => TUPLES[planes][t][k]));
}

function squares(a: Float64Array): number {
  return a.reduce((s, v) => s + v * v, 0);
}

/** Adjugate and determinant of a symmetric matrix of up to three rows. */
function adjugateOf(a: Float64Array, n: number): { adjugate: Float64Array; determinant: number } {
  if (n === 1) return { adjugate: Float64Array.of(1), determinant: a[0] };
  if (n === 2) return { adjugate: Float64Array.of(a[3], -a[1], -a[2], a[0]), determinant: a[0] * a[3] - a[1] * a[2] };
  const minor = (r: number, c: number) => {
    const [i, k] = [0, 1, 2].filter((x) => x !== r), [j, l] = [0, 1, 2].filter((x) => x !== c);
    return (a[i * 3 + j] * a[k * 3 + l] - a[i * 3 + l] * a[k * 3 + j]) * ((r + c) % 2 ? -1 : 1);
  };
  const adjugate = Float64Array.from({ length: 9 }, (_, i) => minor(i % 3, Math.floor(i / 3)));
  return { adjugate, determinant: a[0] * adjugate[0] + a[1] * adjugate[3] + a[2] * adjugate[6] };
}

/**
 * One group: all planes start at sign(w); a round solves for the scales, then takes the best trits for each weight. Ends
 * where the scales move less than epsilon.
 *
 * @param w the group's weights. @param o options.
 * Source: PTQTP, arXiv 2509.16989, algorithm 1; order of equals and ridge as in matteo-grella/fucina 4b636db.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { PTQTP_DEFAULTS, tritGroup } from "./ptqtp.ts";
 * const w = [5, 5, 1, -1, -5, 0]; // 4 t + u
 * const { scale, trits } = tritGroup(w, PTQTP_DEFAULTS);
 * const back = w.map((_, j) => scale[0] * trits[0][j] + scale[1] * trits[1][j]);
 * assert(back.every((v, j) => Math.abs(v - w[j]) < 1e-3));
 * ```
 */
export function tritGroup(w: ArrayLike<number>, o: TritOptions): TritGroup {
  const { planes } = o, values = w instanceof Float32Array ? w as Floats : Float32Array.from(w);
  const same = (sign: number) => TUPLES[planes].findIndex((t) => t.every((v) => v === sign));
  const start = new Map([-1, 0, 1].map((sign) => [sign, same(sign)]));
  const tuple = Uint8Array.from(values, (v) => start.get(Math.sign(v) + 0) ?? 0);
  let scale: Floats = new Float32Array(planes).fill(1), rounds = 0, converged = false;
  while (rounds < o.rounds && !converged) {
    rounds++;
    const next = solveScales(values, tuple, planes, o);
    searchTuples(values, planes, next, tuple);
    const move = Math.sqrt(next.reduce((s, v, k) => s + (v - scale[k]) ** 2, 0));
    scale = next;
    converged = move < f32(o.epsilon);
  }
  return { scale, trits: planesOf(tuple, planes), rounds, converged };
}

/**
 * One group on 3^planes even levels: the scales are tied 3 to 1, the step is the best of 65.
 *
 * @param w the group's weights. @param planes 2 or 3.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { tiedGroup } from "./ptqtp.ts";
 * const { scale, trits } = tiedGroup([4, -2, 1], 2);
 * assert.deepEqual([[...scale], [...trits[0]], [...trits[1]]], [[3, 1], [1, -1, 0], [1, 1, 1]]);
 * ```
 */
export function tiedGroup(w: ArrayLike<number>, planes: number): TritGroup {
  const top = (3 ** planes - 1) / 2, values = Float32Array.from(w);
  const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const trits = Array.from({ length: planes }, () => new Int8Array(w.length));
  if (largest === 0) return { scale: new Float32Array(planes), trits, rounds: 1, converged: true };
  const code = (v: number, s: number) => Math.max(-top, Math.min(top, roundHalfAway(f32(v / s))));
  let step = f32(largest / top), least = Infinity;
  for (let i = 0; i <= 64; i++) {
    const s = f32(largest / f32(top - 0.75 + i / 32));
    let error = 0;
    for (const v of values) error += f32(v - f32(s * code(v, s))) ** 2;
    if (error < least) [step, least] = [s, error];
  }
  values.forEach((v, j) => {
    for (let k = 0, rest = code(v, step); k < planes; k++) {
      const unit = 3 ** (planes - 1 - k), t = Math.floor((rest + (unit - 1) / 2) / unit);
      trits[k][j] = t;
      rest -= unit * t;
    }
  });
  const scale = Float32Array.from({ length: planes }, (_, k) => 3 ** (planes - 1 - k) * step);
  return { scale, trits, rounds: 1, converged: true };
}

function roundHalfAway(x: number): number {
  const down = Math.trunc(x);
  return Math.abs(x - down) >= 0.5 ? down + Math.sign(x) : down;
}

/**
 * A group as it is stored: scales without sign in 16 bits, which the trits of both signs make good, and the best trits for
 * just those scales.
 */
export function packTrits(w: ArrayLike<number>, g: TritGroup): TritGroup {
  const scale = g.scale.map((v) => Math.f16round(Math.min(Math.abs(v), 65504))), tuple = new Uint8Array(w.length);
  searchTuples(Float32Array.from(w), scale.length, scale, tuple);
  return { ...g, scale, trits: planesOf(tuple, scale.length) };
}

/** Σ_k scale_k · trits_k of a group, in float32. */
export function tritValues(g: TritGroup): Floats {
  const out = new Float32Array(g.trits[0].length);
  for (let j = 0; j < out.length; j++) {
    let v = 0;
    for (let k = 0; k < g.trits.length; k++) v = f32(v + f32(g.scale[k] * g.trits[k][j]));
    out[j] = v;
  }
  return out;
}

/**
 * All groups of a matrix, row by row.
 *
 * @param w W (out, in). @param groupSize columns of a group; 0: the row; the last may be short.
 * @param solve what to do with one group: its weights, its row and its place in the row.
 * @returns (out · groups) and Ŵ (out, in).
 */
export function tritMatrix(
  w: Matrix,
  groupSize: number,
  solve: (w: Floats, row: number, group: number) => TritGroup,
): { groups: TritGroup[]; approximation: Matrix } {
  const approximation = matrix(w.rows, w.cols), groups: TritGroup[] = [], size = groupSize || w.cols;
  for (let r = 0; r < w.rows; r++) {
    for (let j = 0; j < w.cols; j += size) {
      const at = r * w.cols + j;
      const found = solve(w.data.slice(at, Math.min(at + size, (r + 1) * w.cols)), r, j / size);
      groups.push(found);
      approximation.data.set(tritValues(found), at);
    }
  }
  return { groups, approximation };
}
