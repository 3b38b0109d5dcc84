// Dispatches that are bound once and recorded often: making a bind group costs as much as a small product.

/** A dispatch, ready to be recorded. */
export interface Step {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly grid: readonly [number, number?];
}

/** What can be bound. */
export type Bindable = GPUBuffer | GPUTextureView;

/** How many sets of buffers a linear remembers: a model gives each of its linears the same ones over and over. */
const REMEMBERED = 8;

/**
 * A memory of steps by what they were made for.
 *
 * @returns a function that gives the steps of a key (numbers and buffers, compared one by one), making them where they are
 * new; the latest eight keys are remembered.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rememberSteps } from "./steps.ts";
 * const remember = rememberSteps();
 * const first = remember([1, 2], () => []);
 * assert.equal(remember([1, 2], () => []), first);
 * assert.notEqual(remember([1, 3], () => []), first);
 * ```
 */
export function rememberSteps(): (
  key: readonly (number | Bindable)[],
  make: () => readonly Step[],
) => readonly Step[] {
  const known: { readonly key: readonly (number | Bindable)[]; readonly steps: readonly Step[] }[] = [];
  return (key, make) => {
    const found = known.find((k) => k.key.length === key.length && k.key.every((part, i) => part === key[i]));
    if (found) return found.steps;
    const steps = make();
    known.unshift({ key, steps });
    known.length = Math.min(known.length, REMEMBERED);
    return steps;
  };
}

/**
 * Makes a step.
 *
 * @param device whose it is. @param pipeline with an automatic layout, group 0. @param bound by binding. @param grid workgroups.
 */
export function stepOf(
  device: GPUDevice,
  pipeline: GPUComputePipeline,
  bound: Readonly<Record<number, Bindable>>,
  grid: readonly [number, number?],
): Step {
  const entries = Object.entries(bound).map(([binding, r]) => ({
    binding: Number(binding),
    resource: r instanceof GPUBuffer ? { buffer: r } : r,
  }));
  return { pipeline, grid, bindGroup: device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }) };
}

/** Adds steps to a compute pass. */
export function recordSteps(pass: GPUComputePassEncoder, steps: readonly Step[]): void {
  for (const { pipeline, bindGroup, grid } of steps) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...grid);
  }
}
