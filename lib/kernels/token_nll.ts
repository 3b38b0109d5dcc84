// Likelihoods of tokens from logits that stay on the device: wgsl/token_nll.wgsl, its specification, and what joins its parts.
import type { Gpu } from "../gpu/device.ts";
import { bindKernel, type BoundKernel } from "./bound_kernel.ts";

/** Parts a vector: each holds the largest logit, the sum of exponentials, the token's own logit, and nothing. */
export const NLL_PARTS = 64;

/**
 * −ln softmax(logits)[target] of each vector, in double.
 *
 * @param logits (vectors, vocab). @param targets (vectors). @returns (vectors), in nats.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { nllTwin } from "./token_nll.ts";
 * assert.equal(nllTwin([0, 0, 0, 0], [2])[0], Math.log(4));
 * ```
 */
export function nllTwin(logits: ArrayLike<number>, targets: ArrayLike<number>): Float64Array<ArrayBuffer> {
  const vocab = logits.length / targets.length;
  return Float64Array.from({ length: targets.length }, (_, t) => {
    let most = -Infinity, sum = 0;
    for (let j = 0; j < vocab; j++) most = Math.max(most, logits[t * vocab + j]);
    for (let j = 0; j < vocab; j++) sum += Math.exp(logits[t * vocab + j] - most);
    return most + Math.log(sum) - logits[t * vocab + targets[t]];
  });
}

/**
 * The likelihood from parts, those of all pieces of the vocabulary together: m + ln Σ s·e^(largest − m) − own logit, in double.
 *
 * @param pieces what the kernel wrote for each piece of the vocabulary, (vectors, 64, 4).
 * @returns (vectors), in nats.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { joinNll } from "./token_nll.ts";
 * const parts = new Float32Array(64 * 4).fill(-1e38);
 * for (let i = 0; i < 64; i++) parts.set([0, 1, 0, 0], 4 * i);
 * assert.equal(joinNll([parts], 1)[0], Math.log(64));
 * ```
 */
export function joinNll(pieces: readonly ArrayLike<number>[], vectors: number): Float64Array<ArrayBuffer> {
  return Float64Array.from({ length: vectors }, (_, t) => {
    let most = -Infinity, sum = 0, own = 0;
    for (const piece of pieces) {
      for (let i = t * NLL_PARTS * 4; i < (t + 1) * NLL_PARTS * 4; i += 4) {
        const larger = Math.max(most, piece[i]);
        sum = sum * Math.exp(most - larger) + piece[i + 1] * Math.exp(piece[i] - larger);
        most = larger;
        own += piece[i + 2];
      }
    }
    return most + Math.log(sum) - own;
  });
}

/**
 * Binds the kernel to logits of tokens first … first + rows − 1.
 *
 * @param b logits (vectors, rows), targets (vectors) u32, parts (vectors, 64, 4).
 * @throws LabError of kind "device" when the shader does not compile.
 */
export function bindNll(
  gpu: Gpu,
  part: { readonly first: number; readonly rows: number },
  b: Readonly<Record<"logits" | "targets" | "parts", GPUBuffer>>,
): Promise<BoundKernel> {
  const buffers = { 0: b.logits, 1: b.targets, 2: b.parts };
  const constants = { FIRST: part.first, ROWS: part.rows };
  return bindKernel(gpu, { file: "token_nll.wgsl", constants }, buffers, (_, vectors) => [vectors]);
}
