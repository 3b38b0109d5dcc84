// Codes that point into a fixed table of levels: NormalFloat, FP4, and the 8-bit dynamic map that codes their scales.
//   ŵ = a · level[q],  a = max|w| of a block of the flattened matrix,  q the nearest level of w / a
import { LabError } from "../io/errors.ts";
import type { Floats } from "../io/tensor.ts";

/** The quantile up to which NormalFloat cuts the normal distribution (QLoRA, arXiv 2305.14314, as bitsandbytes has it). */
const NORMAL_OFFSET = 0.9677083;

/**
 * NormalFloat: levels that a normal weight meets equally often, with an exact 0 and one more level above it than below.
 *
 * Positive levels Φ⁻¹(p) at the 2^(b−1) points of linspace(o, ½, 2^(b−1) + 1) without ½, negative ones −Φ⁻¹(p) at the
 * 2^(b−1) − 1 points of linspace(o, ½, 2^(b−1)) without ½; all divided by the largest.
 *
 * @param bits 2 … 8; the paper has 4, the rest is the same rule.
 * @returns 2^bits levels, ascending, −1 … 1.
 * Source: QLoRA, arXiv 2305.14314, section 3; bitsandbytes 0.50.2.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { normalFloat } from "./levels.ts";
 * const nf4 = normalFloat(4);
 * assert.deepEqual([nf4.length, nf4[0], nf4[7], nf4[15]], [16, -1, 0, 1]);
 * assert.ok(Math.abs(nf4[8] - 0.0795803) < 1e-6);
 * ```
 */
export function normalFloat(bits: number): Floats {
  if (!(Number.isInteger(bits) && bits >= 2 && bits <= 8)) {
    throw new LabError("input", "NormalFloat", `${bits} bits`, "It has 2 to 8 bits.");
  }
  const half = 2 ** (bits - 1);
  const side = (n: number) =>
    Array.from({ length: n }, (_, i) => normalQuantile(NORMAL_OFFSET + (0.5 - NORMAL_OFFSET) * i / n));
  const all = [...side(half), 0, ...side(half - 1).map((v) => -v)].sort((a, b) => a - b), top = all[all.length - 1];
  return Float32Array.from(all, (v) => v / top);
}

/** Φ⁻¹(p) for p in [½, 1), by Newton's method on the series Φ(x) = ½ + φ(x) Σ x^(2k+1) / (1·3·5 … (2k+1)). */
function normalQuantile(p: number): number {
  let x = 0;
  for (let round = 0; round < 60; round++) {
    const density = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
    let sum = 0, term = x;
    for (let k = 1; Math.abs(term) > 1e-18; k++) {
      sum += term;
      term *= x * x / (2 * k + 1);
    }
    const step = (0.5 + density * sum - p) / density;
    x -= step;
    if (Math.abs(step) < 1e-15) break;
  }
  return x;
}

/**
 * bitsandbytes' FP4 in the order of its bit patterns: the sign is the highest bit; codes 0 and 8 both mean 0.
 *
 * @returns 16 levels.
 * Source: bitsandbytes 0.50.2: magnitudes {0, 1/16, 8, 12, 4, 6, 2, 3} / 12, which is no IEEE-like E2M1.
 */
export function fp4Levels(): Floats {
  const half = [0, 0.0625, 8, 12, 4, 6, 2, 3].map((v) => v / 12);
  return Float32Array.from([...half, ...half.map((v) => -v)]);
}

/**
 * The signed 8-bit dynamic map: seven decades, each with twice the points of the one below, 0, and 1.
 *
 * @returns 256 levels, ascending.
 * Source: Dettmers, 8-bit approximations, arXiv 1511.04561; bitsandbytes 0.50.2.
 */
export function dynamicMap(): Floats {
  const f32 = Math.fround, all = [0, 1];
  for (let i = 0; i < 7; i++) {
    const points = 2 ** i, at = (k: number) => f32(0.1 + 0.9 * k / points);
    for (let k = 0; k < points; k++) {
      const v = 10 ** (i - 6) * f32(f32(at(k) + at(k + 1)) / 2);
      all.push(v, -v);
    }
  }
  return Float32Array.from(all).sort();
}

/**
 * The place of the nearest level; on a midpoint the lower level.
 *
 * @param levels in any order. @returns a function from a value to an index into `levels`.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { nearestLevel } from "./levels.ts";
 * const nearest = nearestLevel([4, 0, 1]);
 * assert.deepEqual([-3, 0.5, 0.6, 3].map(nearest), [1, 1, 2, 0]);
 * ```
 */
export function nearestLevel(levels: ArrayLike<number>): (v: number) => number {
  const order = Array.from({ length: levels.length }, (_, i) => i).sort((a, b) => levels[a] - levels[b] || a - b);
  const unique = order.filter((id, i) => i === 0 || levels[id] !== levels[order[i - 1]]);
  const middle = Float32Array.from(unique.slice(1), (id, i) => (levels[id] + levels[unique[i]]) / 2);
  return (v) => {
    let low = 0, high = middle.length; // the first middle that is not below v
    while (low < high) {
      const m = (low + high) >> 1;
      if (middle[m] < v) low = m + 1;
      else high = m;
    }
    return unique[low];
  };
}

/** Blocks of a flattened list, coded by their largest magnitude and the nearest level. */
export interface BlockCodes {
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (blocks) max|v|. */
  readonly absmax: Floats;
}

/**
 * Codes of a flattened list; a block may span rows, the last may be short.
 *
 * @param values (n). @param levels of −1 … 1. @param block values that share a scale.
 * @param absmax scales to take instead of the blocks' own, such as rounded ones.
 */
export function blockCodes(values: Floats, levels: ArrayLike<number>, block: number, absmax?: Floats): BlockCodes {
  const n = values.length, own = new Float32Array(Math.ceil(n / block)), codes = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    const b = Math.floor(i / block);
    own[b] = Math.max(own[b], Math.abs(values[i]));
  }
  const scale = absmax ?? own, nearest = nearestLevel(levels);
  for (let i = 0; i < n; i++) {
    const a = scale[Math.floor(i / block)];
    codes[i] = nearest(a === 0 ? 0 : Math.fround(values[i] / a));
  }
  return { codes, absmax: own };
}

/** Scales as 8-bit codes of the dynamic map: a ≈ offset + top[block of 256] · level[code]. */
export interface CodedScales {
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (second-level blocks) max|a − offset|. */
  readonly top: Floats;
  /** The mean of all scales. */
  readonly offset: number;
  /** What the codes stand for. */
  readonly values: Floats;
}

/**
 * Double quantization: scales of blocks, less their mean, in blocks of 256 on the dynamic map.
 *
 * Source: QLoRA, arXiv 2305.14314, section 3; bitsandbytes 0.50.2.
 */
export function codeScales(absmax: Floats, block = 256): CodedScales {
  const offset = Math.fround(absmax.reduce((a, b) => a + b, 0) / absmax.length), map = dynamicMap();
  const { codes, absmax: top } = blockCodes(absmax.map((a) => a - offset), map, block);
  return { codes, top, offset, values: decodeScales(codes, top, offset, block) };
}

/** The scales that codes of the dynamic map stand for. */
export function decodeScales(codes: ArrayLike<number>, top: ArrayLike<number>, offset: number, block = 256): Floats {
  const map = dynamicMap();
  return Float32Array.from(codes, (c, i) => Math.fround(map[c] * top[Math.floor(i / block)]) + offset);
}
