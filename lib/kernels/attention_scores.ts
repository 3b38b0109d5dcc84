// Attention for software drivers, first half: wgsl/attention_scores.wgsl and its specification.
import type { Gpu } from "../gpu/device.ts";
import type { Floats } from "../io/tensor.ts";
import { bindKernel, type BoundKernel } from "./bound_kernel.ts";
import { type AttentionShape, type AttentionStore, quadsOf } from "./rotary.ts";

/** What a query sees. */
export interface AttentionSpec extends AttentionShape {
  /** How many tokens back, itself included; null: all. */
  readonly window: number | null;
  /** (heads, capacity) added to the score of a key by its position (alibi); null for none. */
  readonly bias: Floats | null;
}

/** The first key that a query at `position` sees. */
export function firstKey(window: number | null, position: number): number {
  return window === null ? 0 : Math.max(0, position - window + 1);
}

/**
 * score = q·k + bias of each key that a query sees, in double: the specification of wgsl/attention_scores.wgsl.
 *
 * @param queries (vectors, heads, quads · 4). @param keys (keyHeads, quads, capacity, 4). @param start position of the first query.
 * @returns (vectors, heads, capacity), NaN where a query does not look.
 * @see Vaswani et al. 2017 (arXiv 1706.03762)
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { scoresTwin } from "./attention_scores.ts";
 * const spec = { heads: 1, keyHeads: 1, dim: 4, capacity: 2, window: null, bias: null };
 * const keys = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8);
 * assert.deepEqual([...scoresTwin(spec, Float32Array.of(1, 0, 0, 1), keys, 0, 1)], [5, NaN]);
 * ```
 */
export function scoresTwin(
  spec: AttentionSpec,
  queries: ArrayLike<number>,
  keys: ArrayLike<number>,
  start: number,
  vectors: number,
): Float64Array<ArrayBuffer> {
  const { heads, keyHeads, capacity, bias } = spec, quads = quadsOf(spec.dim), perKey = heads / keyHeads;
  const out = new Float64Array(vectors * heads * capacity).fill(NaN);
  for (let t = 0; t < vectors; t++) {
    for (let h = 0; h < heads; h++) {
      for (let s = firstKey(spec.window, start + t); s <= start + t; s++) {
        let sum = bias ? bias[h * capacity + s] : 0;
        for (let i = 0; i < 4 * quads; i++) {
          const key = ((Math.floor(h / perKey) * quads + (i >> 2)) * capacity + s) * 4 + i % 4;
          sum += queries[(t * heads + h) * 4 * quads + i] * keys[key];
        }
        out[(t * heads + h) * capacity + s] = sum;
      }
    }
  }
  return out;
}

/** What all attention shaders are compiled for; 0 for a window without end. */
export function attentionConstants(spec: AttentionSpec): Record<string, number> {
  return {
    HEADS: spec.heads,
    KEY_HEADS: spec.keyHeads,
    QUADS: quadsOf(spec.dim),
    CAPACITY: spec.capacity,
    WINDOW: spec.window ?? 0,
  };
}

/**
 * Binds the kernel: as `scoresTwin`, in float32, four keys a texel; keys out of sight beside others in sight get −1e30.
 *
 * @param b the store of `bindRotary`, and scores: (vectors · heads, capacity / 4) texels, rows folded (texels.ts).
 * @throws LabError of kind "device" when the shader does not compile.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { firstKey } from "./attention_scores.ts";
 * assert.deepEqual([firstKey(null, 9), firstKey(4, 9), firstKey(4, 1)], [0, 6, 0]);
 * ```
 */
export function bindScores(
  gpu: Gpu,
  spec: AttentionSpec,
  b: Pick<AttentionStore<"lanes">, "queries" | "keys"> & {
    readonly step: GPUBuffer;
    readonly bias: GPUBuffer;
    readonly scores: GPUTexture;
  },
): Promise<BoundKernel> {
  const constants = { ...attentionConstants(spec), BIASED: spec.bias ? 1 : 0 };
  const buffers = { 0: b.step, 1: b.queries, 2: b.keys, 3: b.bias, 4: b.scores };
  return bindKernel(gpu, { file: "attention_scores.wgsl", constants }, buffers, (start, vectors) => {
    const quads = Math.ceil((start + vectors) / 4) - Math.floor(firstKey(spec.window, start) / 4);
    return [Math.ceil(quads / 8), spec.keyHeads, vectors];
  });
}
