// A predictor of a configuration's divergence: cubic radial basis functions with a linear tail.
import { LuDecomposition, Matrix } from "ml-matrix"; // pivoted LU in double
import { LabError } from "../../io/errors.ts";

/** A fitted surface. */
export interface Surface {
  /** The tail (constant, then one per input), then one weight per point. */
  readonly coefficients: Float64Array;
  /** The surface's value at a point (inputs), in the inputs' own units. */
  predict(point: ArrayLike<number>): number;
}

export interface SurfaceOptions {
  /** Bounds that inputs are scaled by, to [0, 1]; one for all or one an input. */
  readonly lower: number | readonly number[];
  readonly upper: number | readonly number[];
  /** Added to the diagonal of Φ: equal points stay solvable, and the surface passes close to them, not through. */
  readonly eta?: number;
}

/**
 * s(x) = Σ λᵢ ‖x − xᵢ‖³ + c₀ + cᵀx with [[0, Pᵀ], [P, Φ + ηI]] [c; λ] = [0; y], P = [1, X].
 *
 * @param points X (n, inputs). @param values y (n).
 * @throws LabError "input" for fewer points than inputs + 1, "numeric" where the points do not span the tail.
 * Source: pySOT 0.3.3 (RBFInterpolant, CubicKernel, LinearTail) as AMQ uses it.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fitSurface } from "./rbf.ts";
 * const s = fitSurface([[0, 0], [2, 0], [0, 2], [2, 2]], [0, 2, 4, 6], { lower: 0, upper: 2 });
 * assert(Math.abs(s.predict([1, 1]) - 3) < 1e-9); // linear data: the tail alone
 * ```
 */
export function fitSurface(
  points: readonly ArrayLike<number>[],
  values: ArrayLike<number>,
  o: SurfaceOptions,
): Surface {
  const n = points.length, dim = points[0]?.length ?? 0, tail = dim + 1;
  if (n < tail || values.length !== n) {
    const problem = `${n} points and ${values.length} values for ${dim} inputs`;
    throw new LabError("input", "a surface", problem, `It takes ${tail} points or more, each with a value.`);
  }
  const bound = (b: number | readonly number[], j: number) => typeof b === "number" ? b : b[j];
  const scaled = (x: ArrayLike<number>) =>
    Float64Array.from({ length: dim }, (_, j) => {
      const low = bound(o.lower, j), range = bound(o.upper, j) - low;
      return range > 0 ? (x[j] - low) / range : 0;
    });
  const x = points.map(scaled), a = Matrix.zeros(tail + n, tail + n), y = Matrix.zeros(tail + n, 1);
  for (let i = 0; i < n; i++) {
    y.set(tail + i, 0, values[i]);
    for (let j = 0; j < tail; j++) {
      const p = j === 0 ? 1 : x[i][j - 1];
      a.set(tail + i, j, p);
      a.set(j, tail + i, p);
    }
    for (let k = 0; k < n; k++) a.set(tail + i, tail + k, cubed(x[i], x[k]) + (i === k ? o.eta ?? 1e-6 : 0));
  }
  const lu = new LuDecomposition(a);
  if (lu.isSingular()) {
    throw new LabError("numeric", "a surface", "its points do not span all inputs", "Add other points, or pin inputs.");
  }
  const coefficients = Float64Array.from(lu.solve(y).to1DArray());
  return {
    coefficients,
    predict: (point) => {
      const q = scaled(point);
      let sum = coefficients[0];
      for (let j = 0; j < dim; j++) sum += coefficients[1 + j] * q[j];
      for (let i = 0; i < n; i++) sum += coefficients[tail + i] * cubed(q, x[i]);
      return sum;
    },
  };
}

/** ‖a − b‖³. */
function cubed(a: Float64Array, b: Float64Array): number {
  let squares = 0;
  for (let j = 0; j < a.length; j++) squares += (a[j] - b[j]) ** 2;
  return squares * Math.sqrt(squares);
}
