// Long work in short submissions: a driver's watchdog never bites, the event loop lives, and a run can be stopped.
import type { Gpu } from "./device.ts";

/** One kernel over `groups` workgroups. Its uniform struct begins with `first: u32, end: u32`, the workgroups of a submission. */
export interface Work {
  readonly pipeline: GPUComputePipeline;
  /** Buffers and textures by binding; binding 0 is the uniform. */
  readonly buffers: Readonly<Record<number, GPUBuffer | GPUTexture>>;
  readonly uniform: GPUBuffer;
  /** The struct's words after `first` and `end`; see `wordsOf`. */
  readonly words: Uint32Array;
  readonly groups: number;
  /** What a workgroup costs, about: its arithmetic operations. Submissions are cut by it. */
  readonly operations: number;
}

const TARGET_MS = 100;

/**
 * Runs workgroups 0 … groups − 1 in submissions of about 100 ms, as fast as the device has shown itself so far.
 *
 * Returns once everything is submitted; what reads the result waits for it (`Buffers.read`). In between, whenever about
 * 100 ms of work are under way, it waits for them, lets the event loop run and looks at the signal.
 * The grid of a submission is two-dimensional (no dimension exceeds the limit); a kernel finds its number as
 * `first + workgroup_id.x + workgroup_id.y · num_workgroups.x` and must leave when that is `end` or more.
 *
 * @throws the signal's reason when it is aborted in between; LabError when the device is lost.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { gridOf } from "./dispatch.ts";
 * assert.deepEqual(gridOf(70000, 65535), [35000, 2]);
 * ```
 */
export async function runWork(gpu: Gpu, work: Work, signal?: AbortSignal): Promise<void> {
  const { device, pace } = gpu;
  const bindGroup = device.createBindGroup({
    layout: work.pipeline.getBindGroupLayout(0),
    entries: Object.entries({ ...work.buffers, 0: work.uniform })
      .map(([binding, r]) => ({
        binding: Number(binding),
        resource: r instanceof GPUTexture ? r.createView() : { buffer: r },
      })),
  });
  for (let first = 0; first < work.groups;) {
    signal?.throwIfAborted();
    gpu.check();
    const room = (TARGET_MS - pace.pendingMs) * pace.operationsPerMs;
    const count = Math.min(Math.max(1, Math.floor(room / work.operations)), work.groups - first);
    device.queue.writeBuffer(work.uniform, 0, Uint32Array.of(first, first + count, ...work.words));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(work.pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...gridOf(count, device.limits.maxComputeWorkgroupsPerDimension));
    pass.end();
    if (pace.pendingMs === 0) pace.since = performance.now();
    device.queue.submit([encoder.finish()]);
    first += count;
    pace.pendingMs += count * work.operations / pace.operationsPerMs;
    if (pace.pendingMs >= TARGET_MS * 0.9) await catchUp(gpu);
  }
}

/** Waits for everything submitted, and learns from the time it took. */
async function catchUp(gpu: Gpu): Promise<void> {
  const { pace } = gpu;
  await gpu.device.queue.onSubmittedWorkDone();
  const factor = pace.pendingMs / Math.max(performance.now() - pace.since, 0.1);
  pace.operationsPerMs *= Math.min(Math.max(factor, 0.25), 8); // one odd measurement must not make the next one last
  pace.pendingMs = 0;
  await new Promise((resolve) => setTimeout(resolve));
}

/** Words of a uniform struct: u32 fields as they are, `{ f32 }` fields by their bits. */
export function wordsOf(...fields: (number | { readonly f32: number })[]): Uint32Array {
  const words = new Uint32Array(fields.length), floats = new Float32Array(words.buffer);
  fields.forEach((field, i) => {
    if (typeof field === "number") words[i] = field;
    else floats[i] = field.f32;
  });
  return words;
}

/** Columns and rows of a grid of at least `count` workgroups in which no side exceeds `limit`. */
export function gridOf(count: number, limit: number): [number, number] {
  const rows = Math.ceil(count / limit);
  return [Math.ceil(count / rows), rows];
}
