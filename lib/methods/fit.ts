// From a target of stored bits to the settings of a method's knobs, the same way for all methods.
import { LabError } from "../io/errors.ts";
import { plannedBits, type StoredBits } from "../quant/budget.ts";
import type { StorePlan } from "../quant/store.ts";
import type { LinearShape, Method, Options, Setting } from "./method.ts";

/** A setting and what a linear stores with it. */
export interface Fitted extends Setting {
  readonly stored: StoredBits;
}

/**
 * The first of a method's candidates that stores no more than the target.
 *
 * @param method the method. @param shape (out, in). @param options as the user set them.
 * @param target bits a weight, everything counted. @param name of the linear, for the message.
 * @throws LabError that says how few bits the method can do with.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fitToTarget } from "./fit.ts";
 * import { HQQ } from "./hqq.ts";
 * const fitted = fitToTarget(HQQ, { rows: 256, cols: 256 }, HQQ.defaults, 3.5, "doc");
 * assert.deepEqual([fitted.bits, fitted.options.groupSize, fitted.stored.perWeight], [3, 64, 3.5]);
 * ```
 */
export function fitToTarget(
  method: Method,
  shape: LinearShape,
  options: Options,
  target: number,
  name: string,
): Fitted {
  let least = Infinity;
  for (const setting of method.candidates(shape, options, target)) {
    const stored = method.stored(shape, setting.options, setting.bits, setting.weakColumns ?? 0);
    if (stored.perWeight <= target + 1e-9) return { ...setting, stored };
    least = Math.min(least, stored.perWeight);
  }
  const can = least === Infinity
    ? `has no setting for`
    : `stores at least ${least.toFixed(3)} bits a weight in ${name} (${shape.rows}, ${shape.cols}), not`;
  throw new LabError(
    "input",
    "bits",
    `${method.name} ${can} a target of ${target}`,
    "Ask for more bits, or leave the linear out with --layers.",
  );
}

/**
 * The usual knobs of a grid: as many bits a code as fit, then as small groups.
 *
 * @param length weights of a line that is cut into groups: in, or out for groups along the outputs.
 * @param o options with `groupSize` and, where a method has it, `codeBits`, each 0 where it is to be solved.
 * @param target bits a weight. @param widths widths that a code may have.
 */
export function* gridCandidates(
  length: number,
  o: Options,
  target: number,
  widths: readonly number[] = [8, 7, 6, 5, 4, 3, 2],
): Generator<Setting> {
  for (const bits of wanted(o, "codeBits", widths.filter((b) => b <= target))) {
    for (const groupSize of wanted(o, "groupSize", groupSizes(length))) {
      yield { bits, options: { ...o, ...("codeBits" in o ? { codeBits: bits } : {}), groupSize } };
    }
  }
}

/** Less than this share of kept weights is not worth counting the rows' entries. */
const LEAST_SHARE = 0.002;

/**
 * Knobs of methods that keep single weights beside a grid: as many bits a code as fit, then as small groups as leave room
 * for a share of kept weights, then groups alone.
 *
 * @param o options with `codeBits`, `groupSize` and `share`, each 0 where it is to be solved (share below 0: none).
 * @param most the largest share worth keeping. @param sizes group sizes, ascending.
 * @param plan what is stored under given options.
 */
export function* sparseCandidates(
  shape: LinearShape,
  o: Options,
  target: number,
  most: number,
  sizes: readonly number[],
  plan: (shape: LinearShape, o: Options, bits: number) => StorePlan[],
): Generator<Setting> {
  const weights = shape.rows * shape.cols, entry = 16 + Math.max(1, Math.ceil(Math.log2(shape.cols)));
  const counts = Math.ceil(Math.log2(shape.cols + 1)) / shape.cols + 96 / weights; // rows' counts, ends of streams
  for (const bits of wanted(o, "codeBits", [8, 7, 6, 5, 4, 3, 2].filter((b) => b <= target))) {
    for (const keep of o.share === 0 ? [true, false] : [false]) {
      for (const groupSize of wanted(o, "groupSize", sizes)) {
        const options = { ...o, codeBits: bits, groupSize };
        const none = { ...options, share: keep ? -1 : Number(o.share) || -1 };
        if (!keep) yield { bits, options: none };
        const base = plannedBits(plan(shape, none, bits), weights).perWeight;
        const share = (target - base - counts) / entry;
        if (keep && share >= LEAST_SHARE) yield { bits, options: { ...options, share: Math.min(share, most) } };
      }
    }
  }
}

/** What the user set, or else all there are. */
export function wanted(o: Options, key: string, all: readonly number[]): readonly number[] {
  const set = Number(o[key] ?? 0);
  return set === 0 ? all : [set];
}

/** Group sizes that cut `length` into equal parts as far as it goes, ascending from about 8. */
export function groupSizes(length: number): number[] {
  const sizes = new Set<number>();
  for (let n = Math.ceil(length / 8); n >= 1; n--) sizes.add(Math.ceil(length / n));
  return [...sizes];
}
