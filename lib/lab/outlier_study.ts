// Where a layer's output error sits, column by column: s_j = H_jj · ‖ΔW_:,j‖², how unevenly it is spread, and which rule
// finds the columns that matter. OWQ, arXiv 2306.02272, sections 3.2 and 3.3.
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Matrix } from "../io/tensor.ts";
import type { LinearInfo } from "../model/config.ts";
import type { QuantContext } from "../quant/context.ts";
import { diagonal, objective } from "../quant/hessian.ts";
import { optq, OPTQ_DEFAULTS } from "../quant/optq.ts";
import { type OwqOptions, roundedForScore } from "../quant/owq.ts";
import { byScore, columnScores, SENSITIVITY_RULES, type SensitivityRule } from "../quant/sensitivity.ts";
import { overlap } from "./concentration.ts";
import type { StudyLayer } from "./layer_study.ts";

/** Everything about the input columns of one layer that is one number a column; each array is (in). */
export interface ColumnProfile {
  readonly name: string;
  /** For titles. */
  readonly label: string;
  readonly block: number;
  readonly linear: LinearInfo;
  /** Root mean square of what flows into the column: √(H_jj / (2 · windowLength)). */
  readonly inputRms: Float64Array;
  /** H_jj */
  readonly hessian: Float64Array;
  /** ‖ΔW_:,j‖², ΔW = W − Q(W) with each row on a grid of its own. */
  readonly error: Float64Array;
  /** ‖W_:,j‖² */
  readonly magnitude: Float64Array;
  /** s_j = H_jj · ‖ΔW_:,j‖² */
  readonly score: Float64Array;
  /** The scores of every rule, for {@link overlapOfRules}. */
  readonly scores: ReadonlyMap<SensitivityRule, Float64Array>;
}

/**
 * Profiles the columns of a layer.
 *
 * @param layer W (out, in), H (in, in). @param o OWQ's options: bits, the way a grid is chosen, steps of its search.
 * @throws LabError on a NaN or an option that does not fit.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "../kernels/kernels.ts";
 * import { OWQ_DEFAULTS } from "../quant/owq.ts";
 * import { profileColumns, topColumns } from "./outlier_study.ts";
 * const linear = { name: "q", out: 1, in: 3, input: "attention", stage: 0, ratio: 1, bias: false };
 * const weight = { data: Float32Array.of(0, 0.4, 3), rows: 1, cols: 3 };
 * const hessian = { data: Float32Array.of(2, 0, 0, 0, 8, 0, 0, 0, 2), rows: 3, cols: 3 };
 * const p = await profileColumns({ name: "0.q", label: "0.q", block: 0, linear, weight, hessian, windowLength: 1, seed: 0 },
 *   { ...OWQ_DEFAULTS, bits: 2, tuning: "minmax" }, { kernels: await openKernels("cpu") });
 * assert.deepEqual([...p.inputRms], [1, 2, 1]);
 * assert.equal(topColumns(p.score, 1)[0], 1); // 0.4 is the one that is off the grid 0, 1, 2, 3
 * ```
 */
export async function profileColumns(layer: StudyLayer, o: OwqOptions, context: QuantContext): Promise<ColumnProfile> {
  const rounded = await roundedForScore(layer.weight, o, o.sensitivitySteps, context);
  const scores = new Map(SENSITIVITY_RULES.map((rule) => [rule, columnScores(rule, { ...layer, rounded })]));
  const of = (rule: SensitivityRule) => scores.get(rule)!, hessian = diagonal(layer.hessian);
  return {
    name: layer.name,
    label: layer.label,
    block: layer.block,
    linear: layer.linear,
    inputRms: hessian.map((h) => Math.sqrt(h / (2 * layer.windowLength))),
    hessian,
    error: of("error"),
    magnitude: of("magnitude"),
    score: of("hessian-error"),
    scores,
  };
}

/** {@link profileColumns} of a stream of layers; holds no weights, so that a large model fits. */
export async function profileLayers(
  layers: AsyncIterable<StudyLayer> | Iterable<StudyLayer>,
  o: OwqOptions,
  context: QuantContext,
): Promise<ColumnProfile[]> {
  const profiles: ColumnProfile[] = [];
  for await (const layer of layers) profiles.push(await profileColumns(layer, o, context));
  return profiles;
}

/**
 * The exact share of each column in tr(D H Dᵀ): D_:,jᵀ (D H)_:,j over the trace. Where inputs are correlated the errors of
 * two columns can cancel, so that a share may be negative; the score s_j is this without the other columns.
 *
 * @param d D = Ŵ − W (out, in). @param h H (in, in).
 * @returns (in), sum 1; zeros where there is no error.
 * @throws RangeError when the shapes do not fit.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { errorShares } from "./outlier_study.ts";
 * const m = (rows: number, cols: number, v: number[]) => ({ data: Float32Array.from(v), rows, cols });
 * assert.deepEqual([...errorShares(m(1, 2, [1, 1]), m(2, 2, [3, 0, 0, 1]))], [0.75, 0.25]);
 * ```
 */
export function errorShares(d: Matrix, h: Matrix): Float64Array {
  const { rows, cols: n } = d;
  if (h.rows !== n || h.cols !== n) throw new RangeError(`D has ${n} columns, H is (${h.rows}, ${h.cols})`);
  // G = Dᵀ D; share_j = Σ_k G_jk H_jk
  const shares = new Float64Array(n), gram = new Float64Array(n);
  for (let j = 0; j < n; j++) {
    gram.fill(0);
    for (let r = 0; r < rows; r++) {
      const at = r * n, dj = d.data[at + j];
      if (dj !== 0) { for (let k = 0; k < n; k++) gram[k] += dj * d.data[at + k]; }
    }
    for (let k = 0; k < n; k++) shares[j] += gram[k] * h.data[j * n + k];
  }
  const total = shares.reduce((a, b) => a + b, 0);
  return total === 0 ? shares : shares.map((s) => s / total);
}

/** The `count` columns of the highest score, the highest first. */
export function topColumns(scores: Float64Array, count: number): number[] {
  return [...byScore(scores).subarray(0, count)];
}

/**
 * The mean overlap of the top `count` columns by each pair of rules, over layers.
 *
 * @returns (rules, rules), symmetric, 1 on the diagonal. By chance it would be count / in.
 */
export function overlapOfRules(profiles: readonly ColumnProfile[], rules: readonly SensitivityRule[], count: number) {
  const n = rules.length, data = new Float32Array(n * n);
  for (const p of profiles) {
    const tops = rules.map((rule) => topColumns(p.scores.get(rule)!, count));
    for (let i = 0; i < n * n; i++) data[i] += overlap(tops[Math.floor(i / n)], tops[i % n]) / profiles.length;
  }
  return { data, rows: n, cols: n };
}

/** How often a column is among the weak ones. */
export interface Recurrence {
  readonly column: number;
  readonly layers: number;
}

/**
 * How many of the layers have each column among their top `count`; the most frequent first, columns that no layer chose left
 * out. Only layers that read the same kind of input can be compared: the residual stream keeps its channels over blocks.
 */
export function recurringColumns(profiles: readonly ColumnProfile[], count: number): Recurrence[] {
  const seen = new Map<number, number>();
  for (const p of profiles) for (const j of topColumns(p.score, count)) seen.set(j, (seen.get(j) ?? 0) + 1);
  return [...seen].map(([column, layers]) => ({ column, layers }))
    .sort((a, b) => b.layers - a.layers || a.column - b.column);
}

/**
 * The map of scores over layers: row i is layer i, each score as a multiple of its layer's mean (1: an average column).
 *
 * @param profiles layers of one width. @returns (layers, in).
 * @throws LabError "input" when the widths differ or there is no layer.
 */
export function scoreMap(profiles: readonly ColumnProfile[]): Matrix {
  const cols = profiles[0]?.score.length ?? 0, data = new Float32Array(profiles.length * cols);
  if (cols === 0) throw new LabError("input", "score map", "there is no layer to draw");
  profiles.forEach((p, i) => {
    if (p.score.length !== cols) {
      throw new LabError("input", "score map", `${p.name} has ${p.score.length} columns, ${profiles[0].name} ${cols}`);
    }
    const mean = p.score.reduce((a, b) => a + b, 0) / cols;
    p.score.forEach((s, j) => data[i * cols + j] = mean > 0 ? s / mean : 0);
  });
  return { data, rows: profiles.length, cols };
}

/** How far the inputs of a layer reach. */
export interface InputSpread {
  /** The largest channel's root mean square over the median channel's. */
  readonly largestToMedian: number;
  /** Channels above six times the median. */
  readonly outliers: number;
  /** Channels that nothing flows through. */
  readonly dead: number;
}

/**
 * Whether some input channels stand out: LLM.int8 (arXiv 2208.07339) counts those above six times the usual as outliers.
 *
 * @param rms (in) root mean square of each channel.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { inputSpread } from "./outlier_study.ts";
 * assert.deepEqual(inputSpread([1, 1, 20]), { largestToMedian: 20, outliers: 1, dead: 0 });
 * ```
 */
export function inputSpread(rms: ArrayLike<number>): InputSpread {
  const sorted = Float64Array.from(rms).sort(), n = sorted.length, half = n >> 1;
  const median = n % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  const largest = sorted[n - 1], dead = sorted.filter((r) => r === 0).length;
  return {
    largestToMedian: median > 0 ? largest / median : largest > 0 ? Infinity : 1,
    outliers: sorted.filter((r) => r > 6 * median).length,
    dead,
  };
}

/** What makes the scores of a layer differ: shares of the variance of log s over its columns; they sum to 1. */
export interface FactorShares {
  /** What flows in: H_jj. */
  readonly input: number;
  /** How badly the column rounds: ‖ΔW_:,j‖². */
  readonly rounding: number;
}

/**
 * log s = log H_jj + log ‖ΔW_j‖², so var(log s) = cov(log H, log s) + cov(log e, log s): the two parts over the whole.
 * Columns whose score is 0 are left out.
 *
 * @returns input + rounding = 1; a negative part works against the other. Both 0.5 where all scores are equal.
 */
export function factorShares(p: Pick<ColumnProfile, "hessian" | "error" | "score">): FactorShares {
  const alive = [...p.score.keys()].filter((j) => p.score[j] > 0);
  const logs = (values: Float64Array) => alive.map((j) => Math.log(values[j]));
  const s = logs(p.score), variance = covariance(s, s);
  if (!(variance > 0)) return { input: 0.5, rounding: 0.5 };
  return { input: covariance(logs(p.hessian), s) / variance, rounding: covariance(logs(p.error), s) / variance };
}

function covariance(a: readonly number[], b: readonly number[]): number {
  const mean = (v: readonly number[]) => v.reduce((x, y) => x + y, 0) / v.length, ma = mean(a), mb = mean(b);
  return a.reduce((sum, v, i) => sum + (v - ma) * (b[i] - mb), 0) / a.length;
}

/** A layer's output error with its top columns kept by one rule. */
export interface KeptError {
  readonly rule: SensitivityRule;
  /** k */
  readonly count: number;
  /** Ids of the kept columns, the highest score first. */
  readonly kept: readonly number[];
  /** Rounding to nearest, the k columns put back as they were: tr(D H Dᵀ) / tr(W H Wᵀ). */
  readonly plain: number;
  /** OPTQ with the k columns in 16 bits, taking up the others' errors: the same ratio. */
  readonly compensated: number;
}

/**
 * A layer's output error against the number k of columns kept in 16 bits, for each rule that may choose them.
 *
 * @param layer W (out, in), H (in, in). @param o OWQ's options; `o.rule` is replaced by each of `rules` in turn.
 * @param counts values of k, each 0 … in.
 * @returns one entry a rule and count.
 * @throws LabError when a count does not fit the layer.
 */
export async function errorAgainstCount(
  layer: StudyLayer,
  rules: readonly SensitivityRule[],
  counts: readonly number[],
  o: OwqOptions,
  context: QuantContext,
  onProgress?: OnProgress,
): Promise<KeptError[]> {
  const { weight, hessian } = layer, energy = objective(weight, hessian), out: KeptError[] = [];
  const rounded = await roundedForScore(weight, o, o.sensitivitySteps, context);
  const d = { ...weight, data: rounded.data.map((v, i) => v - weight.data[i]) };
  for (const rule of rules) {
    const scores = columnScores(rule, { ...layer, rounded });
    for (const count of counts) {
      onProgress?.({ what: "keeping columns", done: out.length, total: rules.length * counts.length, unit: "runs" });
      if (!(Number.isInteger(count) && count >= 0 && count <= weight.cols)) {
        throw new LabError("input", layer.name, `${count} columns kept of ${weight.cols}`);
      }
      const same = count === 0 && !o.actOrder ? out.find((e) => e.count === 0) : undefined; // no rule has a say in it
      if (same) {
        out.push({ ...same, rule });
        continue;
      }
      const weak = byScore(scores).slice(0, count);
      const { report } = await optq(layer, { ...OPTQ_DEFAULTS, ...o }, context, weak, scores);
      const plain = objective(withoutColumns(d, weak), hessian);
      out.push({ rule, count, kept: [...weak], plain: plain / energy, compensated: report.objective / energy });
    }
  }
  onProgress?.({ what: "keeping columns", done: out.length, total: out.length, unit: "runs" });
  return out;
}

/** D with some columns set to zero. */
function withoutColumns(d: Matrix, columns: Int32Array): Matrix {
  const data = d.data.slice();
  for (const j of columns) for (let r = 0; r < d.rows; r++) data[r * d.cols + j] = 0;
  return { ...d, data };
}
