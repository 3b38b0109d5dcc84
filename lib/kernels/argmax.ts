// The likeliest token, chosen on the device: wgsl/argmax.wgsl and its specification.
import type { Gpu } from "../gpu/device.ts";
import { bindKernel, type BoundKernel } from "./bound_kernel.ts";

/** Winners that each part of the vocabulary puts forward. */
export const ARGMAX_LANES = 256;

/** What stands in place of a token where some logit is not finite. */
export const NOT_FINITE = 0xffffffff;

/**
 * The index of the largest logit, the first of equals; NOT_FINITE where one is NaN or infinite.
 *
 * @param logits (vocab).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { argmaxTwin, NOT_FINITE } from "./argmax.ts";
 * assert.deepEqual([argmaxTwin([1, 3, 3]), argmaxTwin([1, NaN])], [1, NOT_FINITE]);
 * ```
 */
export function argmaxTwin(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i] - logits[i] !== 0) return NOT_FINITE;
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

/** The logits of tokens first … first + rows − 1. */
export interface LogitsPart {
  readonly buffer: GPUBuffer;
  readonly first: number;
  readonly rows: number;
}

/** Words of the buffer that `bindArgmax` wants for so many parts. */
export function winnersWords(parts: number): number {
  return 2 * ARGMAX_LANES * parts;
}

/**
 * Binds the kernels, one for each part of the vocabulary and one that picks: ids[0] and written[position] become `argmaxTwin`
 * of all logits.
 *
 * @param b winners (parts · 256, 2), ids (1 or more), written (positions), all u32.
 * @throws LabError of kind "device" when the shader does not compile.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { winnersWords } from "./argmax.ts";
 * assert.equal(winnersWords(2), 1024);
 * ```
 */
export async function bindArgmax(
  gpu: Gpu,
  parts: readonly LogitsPart[],
  b: Readonly<Record<"step" | "winners" | "ids" | "written", GPUBuffer>>,
): Promise<BoundKernel[]> {
  const kernels: BoundKernel[] = [], file = "argmax.wgsl";
  for (const [i, { buffer, first, rows }] of parts.entries()) {
    const constants = { FIRST: first, ROWS: rows, AT: i * ARGMAX_LANES };
    const buffers = { 0: buffer, 1: b.winners };
    kernels.push(await bindKernel(gpu, { file, entry: "scan", constants }, buffers, () => [ARGMAX_LANES / 64]));
  }
  const constants = { COUNT: parts.length * ARGMAX_LANES };
  const buffers = { 1: b.winners, 2: b.step, 3: b.ids, 4: b.written };
  kernels.push(await bindKernel(gpu, { file, entry: "pick", constants }, buffers, () => [1]));
  return kernels;
}
