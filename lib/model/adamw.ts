// AdamW on plain arrays: the moments in float32, the arithmetic in float64, so a run is the same on every machine.
import type { Floats } from "../io/tensor.ts";

/** The constants of AdamW; weightDecay is multiplied by the learning rate (decoupled). */
export interface AdamWOptions {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/**
 * One step of AdamW, in place:
 * m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − η·(m̂ / (√v̂ + ε) + λw), with m̂ = m/(1−β₁ᵗ) and v̂ = v/(1−β₂ᵗ).
 *
 * @param w weights, changed in place; any length n.
 * @param g gradient (n).
 * @param m running mean of the gradient (n), changed in place; zeros before the first step.
 * @param v running mean of its square (n), changed in place; zeros before the first step.
 * @param t number of this step, from 1.
 * @see Loshchilov and Hutter 2019, arXiv 1711.05101.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { adamwStep } from "./adamw.ts";
 * const w = new Float32Array([1]), m = new Float32Array(1), v = new Float32Array(1);
 * const o = { learningRate: 0.5, beta1: 0.9, beta2: 0.99, epsilon: 0, weightDecay: 0 };
 * adamwStep(w, new Float32Array([-3]), m, v, 1, o);
 * assert.equal(w[0], 1.5); // the first step has the length of the learning rate
 * ```
 */
export function adamwStep(w: Floats, g: Floats, m: Floats, v: Floats, t: number, o: AdamWOptions): void {
  const mScale = 1 / (1 - o.beta1 ** t), vScale = 1 / (1 - o.beta2 ** t);
  for (let i = 0; i < w.length; i++) {
    m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
    v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
    w[i] -= o.learningRate * ((m[i] * mScale) / (Math.sqrt(v[i] * vScale) + o.epsilon) + o.weightDecay * w[i]);
  }
}

/**
 * Scales all gradients, in place, by min(1, limit / ‖g‖₂), the norm taken over all of them together.
 *
 * @returns the norm before scaling.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { clipByNorm } from "./adamw.ts";
 * const g = [new Float32Array([3]), new Float32Array([4])];
 * assert.equal(clipByNorm(g, 2.5), 5);
 * assert.deepEqual([...g[0], ...g[1]], [1.5, 2]);
 * ```
 */
export function clipByNorm(gradients: readonly Floats[], limit: number): number {
  let sum = 0;
  for (const g of gradients) for (let i = 0; i < g.length; i++) sum += g[i] * g[i];
  const norm = Math.sqrt(sum), scale = limit / norm;
  if (scale < 1) { for (const g of gradients) for (let i = 0; i < g.length; i++) g[i] *= scale; }
  return norm;
}

/**
 * Warm-up, plateau, decay: the learning rate rises linearly over `warmup` steps, stays at 1, and falls linearly to 0
 * over the last `decay` steps. On the plateau nothing depends on the end, so a run can be made longer there.
 *
 * @param step from 0.
 * @returns the factor on the learning rate, in (0, 1].
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { warmPlateauDecay } from "./adamw.ts";
 * const at = (step: number) => warmPlateauDecay(step, { steps: 100, warmup: 10, decay: 20 });
 * assert.deepEqual([at(0), at(50), at(90)], [0.1, 1, 0.5]);
 * ```
 */
export function warmPlateauDecay(step: number, o: { steps: number; warmup: number; decay: number }): number {
  return Math.min(1, (step + 1) / o.warmup, (o.steps - step) / o.decay);
}

/**
 * Warm-up, then constant or half a cosine: min(1, (s+1)/w) · (1 or (1 + cos π(s−w)/(S−w))/2), s the step from 0, w the
 * steps of warm-up, S all steps.
 *
 * @returns the factor on the learning rate, in (0, 1].
 * @see Loshchilov and Hutter 2017, arXiv 1608.03983, for the cosine.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { warmSchedule } from "./adamw.ts";
 * const at = (step: number) => warmSchedule(step, { steps: 12, warmup: 2, schedule: "cosine" });
 * assert.deepEqual([at(0), at(2), at(7)].map((x) => +x.toFixed(12)), [0.5, 1, 0.5]);
 * ```
 */
export function warmSchedule(
  step: number,
  o: { readonly steps: number; readonly warmup: number; readonly schedule: "constant" | "cosine" },
): number {
  if (step < o.warmup) return (step + 1) / o.warmup;
  return o.schedule === "constant" ? 1 : (1 + Math.cos(Math.PI * (step - o.warmup) / (o.steps - o.warmup))) / 2;
}
