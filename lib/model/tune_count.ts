// What tuning costs, counted before it begins: trained values, optimizer bytes, the peak of memory, multiplications.
import type { ModelConfig } from "./config.ts";
import { parameterShapes } from "./parameters.ts";
import type { Trainable, TuneLeaf } from "./tune_leaves.ts";

/** The cost of a tuning. */
export interface TuneCost {
  /** Trained values. */
  readonly values: number;
  /** Of all parameters of the base, in percent. */
  readonly percent: number;
  /** AdamW's two moments in float32. */
  readonly optimizerBytes: number;
  /** Values, gradients and moments in float32: what training adds to the frozen base. */
  readonly trainedBytes: number;
  /** The frozen base dequantized to float32, with the embedding on both sides of jax. */
  readonly baseBytes: number;
  /** What one batch holds: the inputs of all blocks, one block's inside with its gradients, the logits. */
  readonly activationBytes: number;
  /** Sum of the three; the runtime itself adds about 0.3 GB. */
  readonly peakBytes: number;
  /** Multiply-adds of a step: forward, again forward, back. */
  readonly multiplyAdds: number;
}

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/**
 * Counts a tuning.
 *
 * @param c the model. @param t what is trained. @param leaves its tensors (tuneLeaves).
 * @param step windows that go through together, tokens of one, batches a step.
 */
export function tuneCost(
  c: ModelConfig,
  t: Trainable,
  leaves: readonly TuneLeaf[],
  step: { readonly batch: number; readonly length: number; readonly accumulate: number },
): TuneCost {
  const values = leaves.reduce((sum, l) => sum + size(l.shape), 0), full = t.method === "full";
  const all = [...parameterShapes(c).values()].reduce((sum, shape) => sum + size(shape), 0);
  const inLinears = c.blocks * c.linears.reduce((sum, l) => sum + l.in * l.out, 0), table = c.vocab * c.embedWidth;
  const sides = leaves.filter((l) => l.inner.endsWith(".side_out"));
  const rowsIn = sides.reduce((sum, l) => {
    const linear = c.linears.find((x) => l.inner === `${x.name}.side_out`)!;
    return sum + l.shape[1] * linear.in;
  }, 0);
  const baseBytes = 4 * ((full ? 0 : inLinears) + 2 * table + (t.method === "wct" ? rowsIn : 0));
  const trainedBytes = 4 * values * (full ? 5 : 4), tokens = step.batch * step.length;
  const inside = 8 * c.width + 6 * c.heads * c.headDim + 8 * c.ffn + 4 * c.heads * step.length;
  const logits = 4 * Math.min(tokens, Math.max(16, Math.floor(12.5e6 / c.vocab))) * c.vocab;
  const activationBytes = 4 * (tokens * (c.width * (c.blocks + 1) + 2 * inside) + logits);
  const sideWork = rowsIn + sides.reduce((sum, l) => sum + size(l.shape), 0);
  const attention = 2 * c.blocks * c.heads * c.headDim * step.length;
  const perToken = 3 * (inLinears + sideWork + attention) + (full ? inLinears : sideWork) + (full ? 3 : 2) * table;
  return {
    values,
    percent: 100 * values / all,
    optimizerBytes: 8 * values,
    trainedBytes,
    baseBytes,
    activationBytes,
    peakBytes: baseBytes + trainedBytes + activationBytes,
    multiplyAdds: tokens * step.accumulate * perToken,
  };
}

/**
 * The paper's count for one block of the first LLaMA family, whose keys and values are as wide as its queries: width d,
 * MLP width D, linears q, k, v, o (d, d), gate, up (D, d), down (d, D).
 *
 * WCT trains k columns (out, k) of each: q, k, v, o and down have d outputs, gate and up D, hence **(5d + 2D)·k**. LoRA
 * trains A (r, in) and B (out, r) of each: 4·2d + 2·(d + D) + (D + d), hence **(11d + 3D)·r**. With shared key heads
 * (SmolLM2, LLaMA-3) k and v have fewer outputs, and tuneLeaves counts fewer values for both.
 *
 * @param d width of the model. @param ffn D. @param rank k or r.
 * @returns trained values of one block.
 * @see papers.md 1.1: 10,878,976 against 159,907,840 for LLaMA-7B at k = 8 and r = 64, 6.8 %.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { llamaBlockValues } from "./tune_count.ts";
 * assert.equal(32 * llamaBlockValues("wct", 4096, 11008, 8), 10_878_976);
 * assert.equal(32 * llamaBlockValues("lora", 4096, 11008, 64), 159_907_840);
 * ```
 */
export function llamaBlockValues(method: "wct" | "lora", d: number, ffn: number, rank: number): number {
  return (method === "wct" ? 5 * d + 2 * ffn : 11 * d + 3 * ffn) * rank;
}
