// Kernels with their buffers bound once, to be recorded into one compute pass after another: the steps of the packed runtime.
import { type KernelSource, loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";

/** One dispatch of a model's pass over some tokens. */
export interface BoundKernel {
  /**
   * Adds it to a compute pass.
   *
   * @param start position of the first token. @param vectors how many tokens; both also stand in the step's uniform.
   */
  record(pass: GPUComputePassEncoder, start: number, vectors: number): void;
}

/** Workgroups of a dispatch for `vectors` tokens from position `start`. */
export type GridOf = (start: number, vectors: number) => [number, number?, number?];

/**
 * Compiles an entry point (once a device and set of constants) and binds its buffers.
 *
 * @param buffers by binding, storage textures too. The step's uniform, where a kernel reads it, is `start: u32, vectors: u32`.
 * @throws LabError as loadKernel.
 * @example
 * ```ts
 * import { openBuffers } from "../gpu/buffers.ts";
 * import { openGpu } from "../gpu/device.ts";
 * import { bindKernel } from "./bound_kernel.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const b = openBuffers(gpu), constants = { FIRST: 0, ROWS: 5 };
 *   const buffers = { 0: b.scratch(20, "logits"), 1: b.scratch(4, "targets"), 2: b.scratch(1024, "parts") };
 *   await bindKernel(gpu, { file: "token_nll.wgsl", entry: "main", constants }, buffers, (_, vectors) => [vectors]);
 *   b.free();
 *   gpu.close();
 * }
 * ```
 */
export async function bindKernel(
  gpu: Gpu,
  source: KernelSource,
  buffers: Readonly<Record<number, GPUBuffer | GPUTexture>>,
  grid: GridOf,
): Promise<BoundKernel> {
  const pipeline = await loadKernel(gpu, source);
  const bindGroup = gpu.device.createBindGroup({
    label: source.file,
    layout: pipeline.getBindGroupLayout(0),
    entries: Object.entries(buffers).map(([binding, buffer]) => ({
      binding: Number(binding),
      resource: buffer instanceof GPUBuffer ? { buffer } : buffer.createView(),
    })),
  });
  return {
    record(pass, start, vectors) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(...grid(start, vectors));
    },
  };
}

/** A grid for `each` lanes a token in workgroups of `size`, numbered through as `group.x + group.y · groups.x`. */
export function flatGrid(gpu: Gpu, each: number, size: number): GridOf {
  const limit = gpu.device.limits.maxComputeWorkgroupsPerDimension;
  return (_, vectors) => gridOf(Math.ceil(each * vectors / size), limit);
}
