// What a golden family is made of: a case, the comparisons it asks for, and the words in which a bound is told.
import type { SafetensorsFile } from "../io/safetensors.ts";
import { asMatrix, type Matrix } from "../io/tensor.ts";
import { HessianMean } from "../quant/hessian.ts";
import type { Kernels } from "../kernels/kernels.ts";

/** One comparison with its bound. */
export interface GoldenCheck {
  readonly what: string;
  readonly value: number;
  readonly bound: number;
  /** "at most" or "at least" the bound. */
  readonly sense: "max" | "min";
}

/** One kind of golden case: a file in golden_families/ and a line in its registry. */
export interface GoldenFamily {
  /** The `method` (or, where a file has none, the `format`) in the metadata of its files. */
  readonly names: readonly string[];
  /** Computes what the file's options say and compares. Throws LabError where an option is unknown here. */
  replay(golden: GoldenCase, kernels: Kernels): Promise<GoldenCheck[]>;
}

/**
 * Whether a check holds; NaN never does.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { holds } from "./golden_check.ts";
 * assert(holds({ what: "x", value: 1, bound: 2, sense: "max" }));
 * assert(!holds({ what: "x", value: NaN, bound: 2, sense: "max" }));
 * ```
 */
export function holds(c: GoldenCheck): boolean {
  return c.sense === "max" ? c.value <= c.bound : c.value >= c.bound;
}

/** A golden file as the replays read it. */
export class GoldenCase {
  constructor(readonly file: SafetensorsFile) {}

  get label(): string {
    return this.file.label;
  }

  /** Whether the file holds a tensor; the largest files leave some out. */
  has(name: string): boolean {
    return this.file.tensors.has(name);
  }

  /** A float tensor of rank 2. */
  async matrix(name: string): Promise<Matrix> {
    return asMatrix(await this.file.read(name));
  }

  /** A float tensor's values. */
  async floats(name: string) {
    return (await this.file.read(name)).data;
  }

  /** An integer tensor's values. */
  ints(name: string) {
    return this.file.readInts(name).data;
  }

  /** A text of the metadata; "" where there is none. */
  text(name: string): string {
    return this.file.metadata.get(name) ?? "";
  }

  /** A number of the metadata; NaN where there is none. */
  number(name: string): number {
    return this.file.metadata.has(name) ? Number(this.text(name)) : NaN;
  }

  /** A flag of the metadata, "True" or "true". */
  flag(name: string): boolean {
    return this.text(name).toLowerCase() === "true";
  }
}

/**
 * Collects comparisons.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Checks, holds } from "./golden_check.ts";
 * const c = new Checks();
 * c.close("scale", [1, 2], [1, 2.00001], 1e-5);
 * c.share("codes", [1, 2, 3, 4], [1, 2, 3, 5], 0.9);
 * assert.deepEqual(c.list.map(holds), [true, false]);
 * ```
 */
export class Checks {
  readonly list: GoldenCheck[] = [];

  max(what: string, value: number, bound: number): void {
    this.list.push({ what, value, bound, sense: "max" });
  }

  min(what: string, value: number, bound: number): void {
    this.list.push({ what, value, bound, sense: "min" });
  }

  /** max|a − b| ≤ bound · max|b|; other lengths and NaN never hold. */
  close(what: string, ours: ArrayLike<number>, theirs: ArrayLike<number>, bound: number): void {
    let gap = ours.length === theirs.length ? 0 : NaN, size = 0;
    for (let i = 0; i < theirs.length; i++) {
      const d = Math.abs(ours[i] - theirs[i]);
      if (!(d <= gap)) gap = d; // NaN stays
      size = Math.max(size, Math.abs(theirs[i]));
      if (Number.isNaN(gap)) break;
    }
    this.max(`${what}, largest difference relative to the largest value`, gap === 0 ? 0 : gap / size, bound);
  }

  /** |a/b − 1| ≤ bound. */
  relative(what: string, ours: number, theirs: number, bound: number): void {
    this.max(`${what}, relative`, ours === theirs ? 0 : Math.abs(ours / theirs - 1), bound);
  }

  /** The share of equal entries is at least `bound` (1: all). */
  share(what: string, ours: ArrayLike<number>, theirs: ArrayLike<number>, bound = 1): void {
    let same = 0;
    for (let i = 0; i < theirs.length; i++) if (ours[i] === theirs[i]) same++;
    this.min(`equal ${what}`, ours.length === theirs.length ? same / theirs.length : NaN, bound);
  }

  /** The share of weights within `tolerance` of their row's largest |w| is at least `bound`; shapes (out, in). */
  weights(what: string, ours: Matrix, theirs: Matrix, bound: number, tolerance = 1e-4): void {
    const { rows, cols } = theirs;
    let same = 0;
    for (let r = 0; r < rows; r++) {
      let size = 0;
      for (let i = r * cols; i < (r + 1) * cols; i++) size = Math.max(size, Math.abs(theirs.data[i]));
      for (let i = r * cols; i < (r + 1) * cols; i++) {
        if (Math.abs(ours.data[i] - theirs.data[i]) <= tolerance * size) same++;
      }
    }
    const fits = ours.rows === rows && ours.cols === cols;
    this.min(`${what}: weights within ${tolerance} of the row's largest`, fits ? same / (rows * cols) : NaN, bound);
  }
}

/** A − B, both of one shape. */
export function difference(a: Matrix, b: Matrix): Matrix {
  return { ...a, data: a.data.map((v, i) => v - b.data[i]) };
}

/** H of inputs X (tokens, in) that are `batches` equal parts in order, each counted as one sample. */
export function hessianOf(x: Matrix, batches: number, name: string): Matrix {
  const mean = new HessianMean(x.cols, name), tokens = x.rows / batches;
  for (let s = 0; s < batches; s++) {
    mean.add({ data: x.data.slice(s * tokens * x.cols, (s + 1) * tokens * x.cols), rows: tokens, cols: x.cols });
  }
  return mean.value();
}

/**
 * ‖X(W − Ŵ)ᵀ‖², summed in double: the `objective` of the neighbours' cases.
 *
 * @param x X (tokens, in). @param w W (out, in). @param approximation Ŵ (out, in).
 * @returns a squared output, summed over tokens and rows.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { outputError } from "./golden_check.ts";
 * const m = (...v: number[]) => ({ data: Float32Array.from(v), rows: 1, cols: v.length });
 * assert.equal(outputError(m(1, 2), m(3, 4), m(3, 5)), 4);
 * ```
 */
export function outputError(x: Matrix, w: Matrix, approximation: Matrix): number {
  const n = w.cols, d = new Float64Array(w.data.length);
  for (let i = 0; i < d.length; i++) d[i] = w.data[i] - approximation.data[i];
  let total = 0;
  for (let t = 0; t < x.rows; t++) {
    for (let r = 0; r < w.rows; r++) {
      let s = 0;
      for (let j = 0; j < n; j++) s += x.data[t * n + j] * d[r * n + j];
      total += s * s;
    }
  }
  return total;
}
