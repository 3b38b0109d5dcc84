// Tables that tell the forward pass where each token stands: rotary angles, alibi slopes, the causal mask.
import type { Floats } from "../io/tensor.ts";
import type { ModelConfig, Positions } from "./config.ts";

/** Score of a key that a query must not see: far below any real one, yet finite, so that no NaN can arise from it. */
export const masked = -1e30;

/**
 * Rotary frequencies: θ^(−2i/d) for i in 0 … d/2 − 1, stretched where the config says so.
 *
 * Linear scaling divides all by `factor`. Llama 3 divides wavelengths above original/lowFactor by `factor`, keeps those
 * below original/highFactor, and blends between. Rounded to float32 as the reference does, so that far positions turn
 * by the same angle.
 *
 * @returns (headDim / 2) radians a token.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rotaryFrequencies } from "./positions.ts";
 * assert.deepEqual([...rotaryFrequencies({ kind: "rotary", theta: 100, scaling: null }, 4)], [1, Math.fround(0.1)]);
 * ```
 */
export function rotaryFrequencies(p: Positions & { kind: "rotary" }, headDim: number): Floats {
  const base = Float32Array.from({ length: headDim / 2 }, (_, i) => p.theta ** (-2 * i / headDim));
  const s = p.scaling;
  if (s === null) return base;
  if (s.kind === "linear") return base.map((f) => f / s.factor);
  return base.map((f) => {
    const turns = s.original * f / (2 * Math.PI); // full turns within the original context
    if (turns < s.lowFactor) return f / s.factor;
    if (turns > s.highFactor) return f;
    const share = (turns - s.lowFactor) / (s.highFactor - s.lowFactor);
    return (1 - share) * f / s.factor + share * f;
  });
}

/**
 * cos and signed sin of each position's angles, laid out in halves: a head x = (a, b) of two halves turns into
 * x·cos + (b, a)·sin with sin = (−sin, +sin).
 *
 * @param start the first position. @param length how many.
 * @returns cos, sin (length, headDim), the halves one after the other.
 */
export function rotaryTables(
  p: Positions & { kind: "rotary" },
  headDim: number,
  start: number,
  length: number,
): { cos: Floats; sin: Floats } {
  const frequency = rotaryFrequencies(p, headDim), half = headDim / 2;
  const cos = new Float32Array(length * headDim), sin = new Float32Array(length * headDim);
  for (let t = 0; t < length; t++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround((start + t) * frequency[i]), at = t * headDim + i;
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at + half] = Math.sin(angle);
      sin[at] = -sin[at + half];
    }
  }
  return { cos, sin };
}

/**
 * Alibi slopes: the geometric sequence from 2^(−8/n), n the largest power of two within `heads`, and for heads beyond n
 * every other term of the sequence of 2n (Press et al. 2022, https://arxiv.org/abs/2108.12409).
 *
 * @returns (heads).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { alibiSlopes } from "./positions.ts";
 * assert.deepEqual([...alibiSlopes(2)], [1 / 16, 1 / 256]);
 * ```
 */
export function alibiSlopes(heads: number): Floats {
  const n = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from(
    { length: heads },
    (_, h) => h < n ? 2 ** (-8 * (h + 1) / n) : 2 ** (-4 * (2 * (h - n) + 1) / n),
  );
}

/**
 * What to add to the scores of the queries at positions start … start + queries − 1 over keys at 0 … keys − 1: 0 where
 * the query may look, else `masked`.
 *
 * @param window how many tokens back a query sees, itself included; null: all.
 * @returns (queries, keys).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { causalBias, masked } from "./positions.ts";
 * assert.deepEqual([...causalBias(1, 1, 3, null)], [0, 0, Math.fround(masked)]);
 * ```
 */
export function causalBias(start: number, queries: number, keys: number, window: number | null): Floats {
  const bias = new Float32Array(queries * keys);
  for (let i = 0; i < queries; i++) {
    const position = start + i, first = window === null ? 0 : Math.max(0, position - window + 1);
    bias.fill(masked, i * keys, i * keys + first);
    bias.fill(masked, i * keys + position + 1, (i + 1) * keys);
  }
  return bias;
}

/** The nearest number with the 8 significant bits of bfloat16, ties to even. */
function roundToBfloat16(x: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer);
  bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0];
}

/**
 * What an alibi model adds to a key's score at position t: slope·t (a constant per query cancels in the softmax).
 *
 * @returns (heads, keys); null for other models.
 */
export function alibiBias(c: ModelConfig, keys: number): Floats | null {
  const p = c.positions;
  if (p.kind !== "alibi") return null;
  const scale = p.scaled ? 1 / Math.sqrt(c.headDim) : 1, slopes = alibiSlopes(c.heads);
  const round = p.bfloat16 ? roundToBfloat16 : (x: number) => x;
  return Float32Array.from({ length: c.heads * keys }, (_, i) => {
    return scale * round(round(slopes[Math.floor(i / keys)]) * round(i % keys));
  });
}
