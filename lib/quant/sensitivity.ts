// Which columns are weak: s_j = H_jj · ‖W_:,j − Q(W)_:,j‖² (OWQ, AAAI'24, section 3.3), and rules to compare it with.
import { LabError } from "../io/errors.ts";
import { rng } from "../io/rng.ts";
import type { Matrix } from "../io/tensor.ts";
import { diagonal } from "./hessian.ts";

/** How a column is scored. The paper's rule is "hessian-error"; the others are there to compare with. */
export type SensitivityRule = "hessian-error" | "hessian" | "error" | "magnitude" | "random";

/** All rules, the paper's first. */
export const SENSITIVITY_RULES: readonly SensitivityRule[] = [
  "hessian-error",
  "hessian",
  "error",
  "magnitude",
  "random",
];

/** What a rule may look at. */
export interface SensitivityInput {
  readonly name: string;
  /** W (out, in). */
  readonly weight: Matrix;
  /** H (in, in); null allowed for rules that do not use it. */
  readonly hessian: Matrix | null;
  /** Q(W) (out, in), W rounded on a grid of its own; null allowed for rules that do not use it. */
  readonly rounded: Matrix | null;
  readonly seed: number;
}

/**
 * Scores the input columns of a layer.
 *
 * hessian-error: H_jj · ‖W_:,j − Q(W)_:,j‖² · hessian: H_jj · error: ‖W_:,j − Q(W)_:,j‖² · magnitude: ‖W_:,j‖² ·
 * random: uniform, from the seed's stream of that layer.
 *
 * @returns (in) scores in f64, the larger the weaker.
 * @throws LabError when the rule needs a Hessian or a rounded matrix that is not there.
 * Source: OWQ, arXiv 2306.02272, section 3.3 and table 7.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { columnScores } from "./sensitivity.ts";
 * const m = (v: number[]) => ({ data: new Float32Array(v), rows: v.length / 2, cols: 2 });
 * const s = columnScores("hessian-error", {
 *   name: "doc", weight: m([1, 4]), rounded: m([2, 4.5]), hessian: m([3, 0, 0, 8]), seed: 0 });
 * assert.deepEqual([...s], [3, 2]);
 * ```
 */
export function columnScores(rule: SensitivityRule, input: SensitivityInput): Float64Array {
  const { weight: w, name } = input;
  const need = <T>(value: T | null, what: string): T => {
    if (value === null) throw new LabError("input", name, `the rule "${rule}" needs ${what}`);
    return value;
  };
  switch (rule) {
    case "hessian":
      return diagonal(need(input.hessian, "a Hessian"));
    case "error":
      return squaredColumns(w, need(input.rounded, "a rounded matrix"));
    case "hessian-error": {
      const s = diagonal(need(input.hessian, "a Hessian"));
      const e = squaredColumns(w, need(input.rounded, "a rounded matrix"));
      return s.map((h, j) => h * e[j]);
    }
    case "magnitude":
      return squaredColumns(w, null);
    case "random": {
      const stream = rng(input.seed, `random columns of ${name}`);
      return Float64Array.from({ length: w.cols }, () => stream.float());
    }
  }
}

/** (in) Σ over rows of (W − Q)²; of W² where Q is null. */
function squaredColumns(w: Matrix, q: Matrix | null): Float64Array {
  const sums = new Float64Array(w.cols);
  for (let i = 0, r = 0; r < w.rows; r++) {
    for (let j = 0; j < w.cols; j++, i++) sums[j] += (w.data[i] - (q ? q.data[i] : 0)) ** 2;
  }
  return sums;
}

/**
 * Column indices by descending score; equal scores keep the lower index first, so that no sort decides a tie.
 *
 * @param scores (in). @returns (in) indices.
 * @throws LabError on NaN.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { byScore } from "./sensitivity.ts";
 * assert.deepEqual([...byScore(new Float64Array([1, 5, 5, 2]))], [1, 2, 3, 0]);
 * ```
 */
export function byScore(scores: Float64Array): Int32Array<ArrayBuffer> {
  const nan = scores.findIndex((s) => Number.isNaN(s));
  if (nan >= 0) throw new LabError("numeric", `column ${nan}`, "its sensitivity is NaN");
  return Int32Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b);
}
