// The damped factorization of a Hessian in a given column order, with the ladder of dampings that precedes giving up.
import type { Floats, Matrix } from "../io/tensor.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { feedbackTwin } from "../kernels/reverse_cholesky.ts";
import { reverseCholesky, type UpperFactor } from "./cholesky.ts";
import { diagonal } from "./hessian.ts";

/** The feedback matrix of a layer and how it was won. */
export interface Factored {
  /** M (in, in), strictly upper, in the permuted order; null where every damping failed. */
  readonly feedback: Floats | null;
  /** The share of the mean diagonal that was added in the end. */
  readonly damp: number;
  /** What went wrong at the dampings before, in words; empty when the first one held. */
  readonly failures: readonly string[];
}

/** Each failed damping is followed by one ten times as large; past a full mean diagonal H is mostly damping. */
const DAMP_STEP = 10, DAMP_LIMIT = 1;

/** The dampings to try: shares of the mean diagonal. An undamped run climbs from 0.01. */
function* ladder(damp: number): Generator<number> {
  for (let share = damp;; share = share === 0 ? 0.01 : Math.min(share * DAMP_STEP, DAMP_LIMIT)) {
    yield share;
    if (!(share < DAMP_LIMIT)) return;
  }
}

/**
 * Factors H + λI in the given order, λ = damp · mean(diag H), and climbs the ladder damp × 1, 10, 100 (at most 1) when
 * a pivot is not positive.
 *
 * Columns with H_jj = 0 get H_jj = 1 first (they interact with nothing). All dampings count the same mean.
 *
 * @param h H (in, in). @param order (in) column order. @param damp first share, such as 0.01. @param kernels what factors;
 * the twin in double where none are given.
 * @returns M, the share used and the failures; M is null where all failed.
 * Source: damping as in GPTQ, arXiv 2210.17323, section 3.3; ladder: research/anchors.md 3.3.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { factorDamped } from "./factor.ts";
 * const h = { data: new Float32Array([1, 1, 1, 1]), rows: 2, cols: 2 };
 * const f = await factorDamped(h, Int32Array.of(0, 1), 0.01);
 * assert.equal(f.damp, 0.01);
 * assert(Math.abs(f.feedback![1] - 1 / 1.01) < 1e-6);
 * ```
 */
export async function factorDamped(
  h: Matrix,
  order: Int32Array,
  damp: number,
  kernels?: Pick<Kernels, "factor">,
): Promise<Factored> {
  const alive = reviveDead(h), mean = meanDiagonal(alive), failures: string[] = [];
  let last = damp;
  for (const share of ladder(damp)) {
    const r = await (kernels ? kernels.factor(alive, share * mean, order) : feedbackTwin(alive, share * mean, order));
    if (r.ok) return { feedback: r.feedback, damp: share, failures };
    failures.push(failureOf(share, order, r));
    last = share;
  }
  return { feedback: null, damp: last, failures };
}

/**
 * R of H + λI = R Rᵀ by the same ladder; null where all dampings failed.
 *
 * @param revive whether columns with H_jj = 0 get 1 before anything is added; SpQR's reference adds first.
 */
export function dampedCholesky(
  h: Matrix,
  order: Int32Array,
  damp: number,
  revive = true,
): Omit<Factored, "feedback"> & { readonly factor: UpperFactor | null } {
  const alive = revive ? reviveDead(h) : h, mean = meanDiagonal(alive), failures: string[] = [];
  let last = damp;
  for (const share of ladder(damp)) {
    const r = reverseCholesky(alive, share * mean, order);
    if (r.ok) return { factor: r.factor, damp: share, failures };
    failures.push(failureOf(share, order, r));
    last = share;
  }
  return { factor: null, damp: last, failures };
}

function failureOf(share: number, order: Int32Array, r: { readonly pivot: number; readonly value: number }): string {
  return `damping ${share}: pivot of column ${order[r.pivot]} is ${r.value}`;
}

function meanDiagonal(h: Matrix): number {
  const d = diagonal(h);
  return d.reduce((a, b) => a + b, 0) / d.length;
}

/** H with 1 on the diagonal where it is 0; H itself where nothing is dead. */
function reviveDead(h: Matrix): Matrix {
  const n = h.rows, dead = [...diagonal(h).entries()].filter(([, v]) => v === 0).map(([j]) => j);
  if (dead.length === 0) return h;
  const data = h.data.slice();
  for (const j of dead) data[j * n + j] = 1;
  return { ...h, data };
}

/**
 * Remembers the last factorization of each Hessian, so that linears with one input and one column order share it.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { FactorCache } from "./factor.ts";
 * const cache = new FactorCache(), h = { data: new Float32Array([2]), rows: 1, cols: 1 };
 * assert.equal(cache.get(h, Int32Array.of(0), 0.01), cache.get(h, Int32Array.of(0), 0.01));
 * ```
 */
export class FactorCache {
  private readonly last = new WeakMap<Floats, { order: Int32Array; damp: number; factored: Promise<Factored> }>();

  /** As {@link factorDamped}, from memory where H, order and damping are those of the last call. */
  get(h: Matrix, order: Int32Array, damp: number, kernels?: Pick<Kernels, "factor">): Promise<Factored> {
    const known = this.last.get(h.data);
    if (known && known.damp === damp && known.order.every((v, i) => v === order[i])) return known.factored;
    const factored = factorDamped(h, order, damp, kernels);
    this.last.set(h.data, { order: order.slice(), damp, factored });
    factored.catch(() => this.last.delete(h.data)); // a lost device is not remembered
    return factored;
  }
}
