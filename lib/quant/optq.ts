// OPTQ (GPTQ, arXiv 2210.17323) in its feedback form, with room for weak columns (OWQ, arXiv 2306.02272):
// column after column is rounded, and what went wrong so far is fed back into the columns that are still to come,
//   w_k' = w_k + Σ_{j<k} (w_j − ŵ_j) · M[j, k],   ŵ_k = grid(w_k'),   M from H + λI = R Rᵀ.
// Weak columns come last, are never rounded to codes, and so absorb the error of all others.
import { LabError } from "../io/errors.ts";
import { f16round } from "./f16.ts";
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { minmaxGrid } from "../kernels/minmax.ts";
import { groupsOf } from "./budget.ts";
import { layerObjective, type QuantContext, secondsSince } from "./context.ts";
import { dequantize } from "./dequantize.ts";
import { factorDamped } from "./factor.ts";
import { checkHessian, diagonal } from "./hessian.ts";
import { inverseFactor, obsSweep } from "./obs_sweep.ts";
import { type LayerProblem, NO_REPORT, type QuantizedLayer } from "./layer.ts";
import { roundToGrid, rtn } from "./rtn.ts";
import { byScore } from "./sensitivity.ts";

/** How a layer is rounded. Every field is an option of `owq quantize --set key=value`. */
export interface GridOptions {
  /** Bits of a code, 2 … 8. */
  readonly bits: number;
  /** "mse": search scale and zero point for the least mean |error|^2.4; "minmax": from the row's range. */
  readonly tuning: "mse" | "minmax";
  readonly symmetric: boolean;
  /** Columns that share a scale; 0: the whole row. */
  readonly groupSize: number;
  /** Scales the search tries for a row (100 in the reference). */
  readonly steps: number;
  /** The same for a group, where it searches again and again (40 in the reference). */
  readonly groupSteps: number;
  /** 32: scales as computed. 16: rounded to f16 before any column is rounded, so that the error is accounted for. */
  readonly scaleBits: 16 | 32;
}

/** OPTQ's own options. */
export interface OptqOptions extends GridOptions {
  /** Columns by descending importance instead of their natural order. */
  readonly actOrder: boolean;
  /** Grids of groups on the weights as they came, groups of neighbours whatever the order of work (with actOrder). */
  readonly staticGroups: boolean;
  /** λ as a share of the mean diagonal of H. */
  readonly damp: number;
  /** Columns between two updates of everything to the right; also when groups are searched (see the sweep's kernel). */
  readonly blockSize: number;
  /** Columns nothing flows through: "round" like any other, or "zero" as the reference does. */
  readonly deadColumns: "round" | "zero";
}

/** The reference's settings for OPTQ and OWQ, at 3 bits. */
export const OPTQ_DEFAULTS: OptqOptions = {
  bits: 3,
  tuning: "mse",
  symmetric: false,
  groupSize: 0,
  steps: 100,
  groupSteps: 40,
  scaleBits: 32,
  actOrder: false,
  staticGroups: false,
  damp: 0.01,
  blockSize: 128,
  deadColumns: "round",
};

/**
 * Quantizes a layer by OPTQ, keeping the given weak columns in 16 bits.
 *
 * @param problem W (out, in) and H (in, in). @param o options. @param context kernels and helpers.
 * @param weak ids of the weak columns by descending score (the order in which they are compensated); empty for OPTQ.
 * @param scores (in) the importance that act-order sorts by; diag(H) where null.
 * @returns codes (out, in), grid and compensated weak columns, with a report; where no damping makes H positive
 *   definite, round-to-nearest on the same grid with `report.fallback` saying why.
 * @throws LabError on a NaN, a shape or an option that does not fit.
 * Source: arXiv 2210.17323; order of work: research/performance.md, section 3.2.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { OPTQ_DEFAULTS, optq } from "./optq.ts";
 * const weight = { data: new Float32Array([0.3, -0.9, 0.5, 1]), rows: 2, cols: 2 };
 * const hessian = { data: new Float32Array([2, 0, 0, 2]), rows: 2, cols: 2 };
 * const layer = await optq({ name: "doc", weight, hessian, seed: 0 }, OPTQ_DEFAULTS,
 *   { kernels: await openKernels("cpu") }, new Int32Array(0), null);
 * assert.equal(layer.codes.length, 4); // a diagonal H feeds nothing back: plain rounding
 * ```
 */
export async function optq(
  problem: LayerProblem,
  o: OptqOptions,
  context: QuantContext,
  weak: Int32Array,
  scores: Float64Array | null,
): Promise<QuantizedLayer> {
  const { name, weight } = problem, { rows, cols } = weight;
  const h = problem.hessian;
  if (!h) throw new LabError("input", name, "OPTQ needs a Hessian", "Give calibration text.");
  checkWeight(weight, name);
  checkHessian(h, cols, name);
  checkOptions(o, cols, name);
  const seconds: Record<string, number> = {};
  const lap = async <T>(stage: string, work: () => T | Promise<T>): Promise<T> => {
    const start = performance.now();
    const value = await work();
    seconds[stage] = (seconds[stage] ?? 0) + secondsSince(start);
    return value;
  };

  const h0 = diagonal(h), dead = [...h0.keys()].filter((j) => h0[j] === 0);
  const order = columnOrder(cols, weak, o.actOrder ? scores ?? h0 : null);
  const quantized = cols - weak.length, permuted = permuteColumns(weight, order);
  const search = { tuning: o.tuning, symmetric: o.symmetric, steps: o.groupSteps };
  const grid = o.groupSize > 0 || quantized === 0
    ? null
    : await lap("search", () => searchRows(permuted, quantized, o, context));
  if (o.deadColumns === "zero") zeroColumns(permuted, order, new Set(dead));
  const { kernels } = context;
  const factored = await lap(
    "factor",
    () => context.factors?.get(h, order, o.damp, kernels) ?? factorDamped(h, order, o.damp, kernels),
  );

  let layer: QuantizedLayer, fallback: string | null = null;
  if (quantized === 0) {
    layer = assemble(problem, o, weak, order, new Uint8Array(0), oneGrid(rows), permuted.data);
  } else if (factored.feedback && o.staticGroups && o.groupSize > 0) {
    const swept = await lap("sweep", () => sweepStaticGroups(weight, h, permuted, order, quantized, o, context));
    layer = assemble(problem, o, weak, order, swept.codes, swept, swept.weak);
  } else if (factored.feedback) {
    const sweep = await lap("sweep", () =>
      context.kernels.sweep({
        weight: permuted,
        feedback: factored.feedback!,
        quantized,
        bits: o.bits,
        grid,
        groupSize: o.groupSize,
        search: o.groupSize > 0 ? search : null,
        scaleBits: o.scaleBits,
        blockSize: o.blockSize,
      }));
    layer = assemble(problem, o, weak, order, sweep.codes, sweep, sweep.weak);
  } else {
    fallback = `rounded to nearest, because H is not positive definite (${factored.failures.join("; ")})`;
    const flat = grid ?? (await lap("search", () => searchRows(permuted, quantized, o, context)));
    layer = assemble(problem, { ...o, groupSize: 0 }, weak, order, ...roundPlainly(permuted, quantized, flat, o.bits));
  }
  const [objective, objectiveRtn] = await lap("objective", async () => [
    await layerObjective(context, dequantize(layer), weight, h),
    await layerObjective(context, dequantize(rtn(problem, o)), weight, h),
  ]);
  const damp = factored.damp;
  return { ...layer, report: { objective, objectiveRtn, damp, fallback, deadColumns: dead.length, seconds } };
}

/** Columns in the order of work: those with codes (natural, or by descending importance), then the weak ones. */
function columnOrder(cols: number, weak: Int32Array, importance: Float64Array | null): Int32Array<ArrayBuffer> {
  const isWeak = new Set(weak);
  const all = importance ? [...byScore(importance)] : Array.from({ length: cols }, (_, j) => j);
  return Int32Array.from([...all.filter((j) => !isWeak.has(j)), ...weak]);
}

/** The columns of W (out, in) that the order names, in that order, as a copy. */
export function permuteColumns(w: Matrix, order: Int32Array): Matrix {
  const out = matrix(w.rows, order.length);
  for (let r = 0, i = 0; r < w.rows; r++) {
    for (let k = 0; k < order.length; k++, i++) out.data[i] = w.data[r * w.cols + order[k]];
  }
  return out;
}

function zeroColumns(permuted: Matrix, order: Int32Array, dead: ReadonlySet<number>): void {
  if (dead.size === 0) return;
  for (let r = 0; r < permuted.rows; r++) {
    for (let k = 0; k < permuted.cols; k++) if (dead.has(order[k])) permuted.data[r * permuted.cols + k] = 0;
  }
}

/** One grid a row over the first `count` columns of W (out, in), as the options choose it: searched or min–max. */
export async function rowGrid(w: Matrix, count: number, o: GridOptions, steps: number, context: QuantContext) {
  const { bits, symmetric } = o, columns = { start: 0, count };
  return o.tuning === "mse"
    ? await context.kernels.searchGrid(w, { bits, symmetric, steps, exponent: 2.4, columns })
    : minmaxGrid(w, { bits, symmetric, columns });
}

/** OPTQ with the grids of all groups chosen beforehand on W; a group is a run of columns with codes, in W's own order. */
async function sweepStaticGroups(
  weight: Matrix,
  h: Matrix,
  permuted: Matrix,
  order: Int32Array,
  quantized: number,
  o: OptqOptions,
  context: QuantContext,
) {
  const { rows, cols } = weight, k = cols - quantized, groups = groupsOf(quantized, o.groupSize);
  const natural = Int32Array.from([...order.subarray(0, quantized)].sort((a, b) => a - b));
  const rank = new Map([...natural].map((id, i) => [id, i])), standing = permuteColumns(weight, natural);
  const scale = new Float32Array(rows * groups), zero = new Float32Array(rows * groups);
  for (let g = 0; g < groups; g++) {
    const start = g * o.groupSize, count = Math.min(o.groupSize, quantized - start), part = matrix(rows, count);
    for (let r = 0; r < rows; r++) {
      part.data.set(standing.data.subarray(r * standing.cols + start, r * standing.cols + start + count), r * count);
    }
    const grid = await searchRows(part, count, { ...o, steps: o.groupSteps }, context);
    for (let r = 0; r < rows; r++) [scale[r * groups + g], zero[r * groups + g]] = [grid.scale[r], grid.zero[r]];
  }
  const codes = new Uint8Array(rows * quantized), weak = new Float32Array(rows * k);
  const round = (j: number, columns: readonly Float64Array[]) => {
    if (j >= quantized) {
      for (let r = 0; r < rows; r++) weak[r * k + j - quantized] = columns[j][r];
      return columns[j];
    }
    const g = Math.floor(rank.get(order[j])! / o.groupSize);
    return columns[j].map((w, r) => {
      const s = scale[r * groups + g], z = zero[r * groups + g], code = roundToGrid(w, s, z, o.bits);
      codes[r * quantized + j] = code;
      return Math.fround(s * (code - z));
    });
  };
  obsSweep({ weight: permuted, factor: inverseFactor(h, order, o.damp), round });
  return { codes, scale, zero, weak };
}

/** The grid of a layer; scales rounded to f16 where they are stored so. */
async function searchRows(w: Matrix, count: number, o: GridOptions, context: QuantContext) {
  const { scale, zero } = await rowGrid(w, count, o, o.steps, context);
  return { scale: o.scaleBits === 16 ? scale.map(f16round) : scale, zero };
}

function oneGrid(rows: number) {
  return { scale: new Float32Array(rows).fill(1), zero: new Float32Array(rows) };
}

/** Codes and weak columns without any feedback. */
function roundPlainly(w: Matrix, quantized: number, grid: { scale: Floats; zero: Floats }, bits: number) {
  const codes = new Uint8Array(w.rows * quantized), k = w.cols - quantized, weak = new Float32Array(w.rows * k);
  for (let r = 0; r < w.rows; r++) {
    const row = w.data.subarray(r * w.cols, (r + 1) * w.cols);
    for (let j = 0; j < quantized; j++) {
      codes[r * quantized + j] = roundToGrid(row[j], grid.scale[r], grid.zero[r], bits);
    }
    weak.set(row.subarray(quantized), r * k);
  }
  return [codes, grid, weak] as const;
}

/** Puts permuted codes and weak columns back into the layer's own order. */
function assemble(
  problem: LayerProblem,
  o: OptqOptions,
  weak: Int32Array,
  order: Int32Array,
  codes: Uint8Array,
  grid: { readonly scale: Floats; readonly zero: Floats },
  weakValues: Floats,
): QuantizedLayer {
  const { rows, cols } = problem.weight, k = weak.length, quantized = cols - k;
  const groups = groupsOf(quantized, o.groupSize), out = new Uint8Array(rows * cols);
  const weakIds = Int32Array.from(weak).sort(), rank = new Map([...weakIds].map((id, i) => [id, i]));
  const values = new Float32Array(rows * k);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < quantized; j++) out[r * cols + order[j]] = codes[r * quantized + j];
    for (let i = 0; i < k; i++) {
      out[r * cols + weak[i]] = grid.zero[r * groups]; // dequantizes to 0 in a kernel that does not know of weak columns
      values[r * k + rank.get(weak[i])!] = f16round(weakValues[r * k + i]);
    }
  }
  let groupOf: Int32Array<ArrayBuffer> | null = null;
  if (o.groupSize > 0 && o.actOrder && !o.staticGroups) {
    groupOf = new Int32Array(cols);
    for (let j = 0; j < quantized; j++) groupOf[order[j]] = Math.floor(j / o.groupSize);
  }
  return {
    name: problem.name,
    method: k > 0 ? "owq" : "optq",
    rows,
    cols,
    bits: o.bits,
    groupSize: o.groupSize,
    scaleBits: o.scaleBits,
    codes: out,
    scale: grid.scale,
    zero: grid.zero,
    groupOf,
    weakIds,
    weak: values,
    report: NO_REPORT,
  };
}

/**
 * Refuses a weight with NaN or infinity, naming the first one's place.
 *
 * @param w W (out, in). @param name the layer.
 * @throws LabError.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { checkWeight } from "./optq.ts";
 * assert.throws(() => checkWeight({ data: Float32Array.of(1, NaN), rows: 1, cols: 2 }, "3.fc1"), /3\.fc1.*\(0, 1\)/);
 * ```
 */
export function checkWeight(w: Matrix, name: string): void {
  if (w.rows < 1 || w.cols < 1 || w.data.length !== w.rows * w.cols) {
    throw new LabError("input", name, `a weight of shape (${w.rows}, ${w.cols}) with ${w.data.length} values`);
  }
  for (let i = 0; i < w.data.length; i++) {
    if (!Number.isFinite(w.data[i])) {
      const where = `(${Math.floor(i / w.cols)}, ${i % w.cols})`;
      throw new LabError("numeric", name, `${w.data[i]} in the weight at ${where}`, "Is the model file damaged?");
    }
  }
}

/** Refuses options that do not fit the layer. */
function checkOptions(o: OptqOptions, cols: number, name: string): void {
  const refuse = (what: string, hint: string) => {
    throw new LabError("input", name, what, hint);
  };
  if (!(Number.isInteger(o.bits) && o.bits >= 2 && o.bits <= 8)) {
    refuse(`${o.bits} bits a code`, "Codes have 2 to 8 bits.");
  }
  if (!Number.isInteger(o.groupSize) || o.groupSize < 0 || o.groupSize > cols) {
    refuse(`groups of ${o.groupSize} in ${cols} columns`, `Use 0 for one scale a row, or 1 to ${cols}.`);
  }
  if (!(o.damp >= 0 && o.damp < Infinity)) {
    refuse(`damping ${o.damp}`, "It is a share of the mean diagonal, such as 0.01.");
  }
  if (!(Number.isInteger(o.blockSize) && o.blockSize > 0)) refuse(`blocks of ${o.blockSize} columns`, "Use 128.");
}
