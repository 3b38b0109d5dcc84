// Attention in one dispatch for GPUs: wgsl/attention_group.wgsl. Its specification is scoresTwin, then mixTwin.
import type { Gpu } from "../gpu/device.ts";
import { LabError } from "../io/errors.ts";
import { attentionConstants, type AttentionSpec } from "./attention_scores.ts";
import { bindKernel, type BoundKernel } from "./bound_kernel.ts";

/** The widest head it takes: a lane a vec4. */
const WIDEST = 512;

/**
 * Binds the kernel: softmax(q kᵀ + bias) v with a workgroup a query and head, in float32 with a running softmax.
 *
 * @throws LabError of kind "device" for heads of more than 512 numbers, or when the shader does not compile.
 * @see Milakov & Gimelshein 2018 (arXiv 1805.02867) for the running softmax
 */
export async function bindGroupAttention(
  gpu: Gpu,
  spec: AttentionSpec,
  b: Readonly<Record<"step" | "queries" | "keys" | "bias" | "values" | "mixed", GPUBuffer>>,
): Promise<BoundKernel> {
  if (spec.dim > WIDEST) {
    throw new LabError("device", "attention", `heads of ${spec.dim} numbers, a workgroup takes ${WIDEST}`);
  }
  const constants = { ...attentionConstants(spec), DIM: spec.dim, BIASED: spec.bias ? 1 : 0 };
  const buffers = { 0: b.step, 1: b.queries, 2: b.keys, 3: b.bias, 4: b.values, 5: b.mixed };
  return await bindKernel(gpu, { file: "attention_group.wgsl", constants }, buffers, (_, vectors) => {
    return [spec.heads, vectors];
  });
}
