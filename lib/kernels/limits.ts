// The limits of the device that every kernel's time is set against: multiply-adds out of registers, copying, an empty dispatch.
import { openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf, wordsOf } from "../gpu/dispatch.ts";
import { openFence } from "../gpu/fence.ts";
import type { Floats } from "../io/tensor.ts";

/** A measurable piece of work on the device. */
export interface TimedWork {
  /** Arithmetic operations of one repeat (a multiply-add is two). */
  readonly operations: number;
  /** Bytes one repeat reads and writes. */
  readonly bytes: number;
  /** Does it `repeats` times in one submission; the seconds until the device was done (lib/gpu/fence.ts). */
  run(repeats: number): Promise<number>;
}

/** What {@link openLimits} offers. */
export interface Limits {
  /** By name: "12 chains" and "16 chains" a lane. */
  readonly multiplyAdd: ReadonlyMap<string, TimedWork>;
  /** By name: "shader", a lane moves a vec4; "buffer", `copyBufferToBuffer`. */
  readonly copy: ReadonlyMap<string, TimedWork>;
  /** One repeat is one dispatch of a single workgroup that does nothing. */
  readonly dispatch: TimedWork;
  /** What each lane of the first `lanes` of a chain kernel ends with, (lanes, 4); to hold against {@link multiplyAddTwin}. */
  chains(name: string, lanes: number): Promise<Floats>;
  close(): void;
}

const LANES = 64, STEPS = 256;

/**
 * Opens the limit kernels of wgsl/limits.wgsl.
 *
 * Chains: a ← a · b + c with b = −1, c = 1, which stays a whole number however it is rounded or fused.
 *
 * @param gpu an open device. @param o.groups workgroups of 64 lanes (enough for every core). @param o.copyBytes bytes of a copy.
 * @throws LabError of kind "device" when a shader does not compile or the device is lost.
 * Source: research on software drivers and GPUs alike (the register-only kernel is the peak that shaders can see).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { openLimits } from "./limits.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const limits = await openLimits(gpu, { groups: 8, copyBytes: 1 << 16 });
 *   for (const work of limits.multiplyAdd.values()) assert.ok(await work.run(1) > 0);
 *   limits.close();
 *   gpu.close();
 * }
 * ```
 */
export async function openLimits(
  gpu: Gpu,
  o: { readonly groups: number; readonly copyBytes: number },
): Promise<Limits> {
  const { device } = gpu, buffers = openBuffers(gpu), fence = openFence(gpu);
  const copyBytes = Math.floor(Math.min(o.copyBytes, gpu.maxBytes) / 256) * 256;
  const source = buffers.scratch(copyBytes, "copied from");
  const target = buffers.scratch(Math.max(copyBytes, o.groups * LANES * 16), "copied to");
  const uniform = buffers.uniform(4), quads = copyBytes / 16;
  device.queue.writeBuffer(uniform, 0, wordsOf(STEPS, quads, { f32: -1 }, { f32: 1 }));

  const prepare = async (entry: string, groups: readonly [number, number]) => {
    const pipeline = await loadKernel(gpu, { file: "limits.wgsl", entry });
    const used = entry === "copy" ? [1, 2, 0] : entry === "nothing" ? [0, 1, 2] : [0, 2];
    const bindGroup = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: used.map((binding) => ({ binding, resource: { buffer: [uniform, source, target][binding] } })),
    });
    return (repeats: number) => {
      const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      for (let i = 0; i < repeats; i++) pass.dispatchWorkgroups(...groups);
      pass.end();
      return fence.submit(encoder, target);
    };
  };
  const chain = async (name: string, count: number): Promise<[string, TimedWork]> => {
    const run = await prepare(`multiply_add_${count}`, [o.groups, 1]);
    return [name, { operations: o.groups * LANES * STEPS * count * 2, bytes: o.groups * LANES * 16, run }];
  };
  const multiplyAdd = new Map([await chain("12 chains", 12), await chain("16 chains", 16)]);
  const copyBuffer = (repeats: number) => {
    const encoder = device.createCommandEncoder();
    for (let i = 0; i < repeats; i++) encoder.copyBufferToBuffer(source, 0, target, 0, copyBytes);
    return fence.submit(encoder, target);
  };
  const copyGroups = gridOf(Math.ceil(quads / LANES), device.limits.maxComputeWorkgroupsPerDimension);
  const copied = { operations: 0, bytes: 2 * copyBytes };
  return {
    multiplyAdd,
    copy: new Map([
      ["shader", { ...copied, run: await prepare("copy", copyGroups) }],
      ["buffer", { ...copied, run: copyBuffer }],
    ]),
    dispatch: { operations: 0, bytes: 0, run: await prepare("nothing", [1, 1]) },
    async chains(name, lanes) {
      await multiplyAdd.get(name)!.run(1);
      return new Float32Array(await buffers.read(target, lanes * 16));
    },
    close() {
      fence.close();
      buffers.free();
    },
  };
}

/**
 * What lane `lane` of a chain kernel ends with: the sum over its vec4 of a after `steps` times a ← a · b + c.
 *
 * @param chains 12 or 16. @param steps of each chain; the kernels do 256.
 * @returns (4), exact while |b| = 1 and c is whole.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { multiplyAddTwin } from "./limits.ts";
 * assert.deepEqual([...multiplyAddTwin(12, 0, -1, 1, 256)], [12, 15, 18, 21]); // an even number of steps changes nothing
 * ```
 */
export function multiplyAddTwin(chains: 12 | 16, lane: number, b: number, c: number, steps = STEPS): Floats {
  const out = new Float32Array(4);
  for (let i = 0; i < chains; i++) {
    let a = (lane & 15) + i;
    for (let s = 0; s < steps; s++) a = Math.fround(a * b + c);
    out[i % 4] += a;
  }
  return out;
}
