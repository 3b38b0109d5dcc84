// Attention for software drivers, second half: wgsl/attention_mix.wgsl and its specification.
import type { Gpu } from "../gpu/device.ts";
import { attentionConstants, type AttentionSpec, firstKey } from "./attention_scores.ts";
import { bindKernel, type BoundKernel } from "./bound_kernel.ts";
import { quadsOf } from "./rotary.ts";

/**
 * Σ softmax(scores)·values over the keys that each query sees, in double: the specification of wgsl/attention_mix.wgsl,
 * and after `scoresTwin` that of wgsl/attention_group.wgsl.
 *
 * @param scores (vectors, heads, capacity). @param values (keyHeads, capacity, quads · 4). @param start position of the first query.
 * @returns (vectors, heads · dim).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mixTwin } from "./attention_mix.ts";
 * const spec = { heads: 1, keyHeads: 1, dim: 1, capacity: 2, window: null, bias: null };
 * const values = Float32Array.of(1, 0, 0, 0, 3, 0, 0, 0);
 * assert.deepEqual([...mixTwin(spec, Float32Array.of(0, 0), values, 1, 1)], [2]);
 * ```
 */
export function mixTwin(
  spec: AttentionSpec,
  scores: ArrayLike<number>,
  values: ArrayLike<number>,
  start: number,
  vectors: number,
): Float64Array<ArrayBuffer> {
  const { heads, keyHeads, dim, capacity } = spec, padded = 4 * quadsOf(dim);
  const out = new Float64Array(vectors * heads * dim);
  for (let t = 0; t < vectors; t++) {
    for (let h = 0; h < heads; h++) {
      const at = (t * heads + h) * capacity, keyHead = Math.floor(h / (heads / keyHeads));
      const first = firstKey(spec.window, start + t);
      let most = -Infinity, total = 0;
      for (let s = first; s <= start + t; s++) most = Math.max(most, scores[at + s]);
      for (let s = first; s <= start + t; s++) total += Math.exp(scores[at + s] - most);
      for (let s = first; s <= start + t; s++) {
        const share = Math.exp(scores[at + s] - most) / total;
        for (let i = 0; i < dim; i++) {
          out[(t * heads + h) * dim + i] += share * values[(keyHead * capacity + s) * padded + i];
        }
      }
    }
  }
  return out;
}

/**
 * Binds the kernel: as `mixTwin`, in float32.
 *
 * @throws LabError of kind "device" when the shader does not compile.
 */
export function bindMix(
  gpu: Gpu,
  spec: AttentionSpec,
  b: { readonly step: GPUBuffer; readonly scores: GPUTexture; readonly values: GPUTexture; readonly mixed: GPUBuffer },
): Promise<BoundKernel> {
  const quads = quadsOf(spec.dim);
  const constants = { ...attentionConstants(spec), DIM: spec.dim };
  const buffers = { 0: b.step, 1: b.scores, 2: b.values, 3: b.mixed };
  return bindKernel(gpu, { file: "attention_mix.wgsl", constants }, buffers, (_, vectors) => {
    return [Math.ceil(spec.keyHeads * quads / 8), vectors];
  });
}
