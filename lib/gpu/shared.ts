// Scratch memory that all work on a device shares: written and read within one piece of recorded work, never kept.
import { openBuffers } from "./buffers.ts";
import type { Gpu } from "./device.ts";

/**
 * A storage buffer of at least `bytes` that other work may overwrite as soon as the caller's has been recorded.
 *
 * One that has become too small is left to those passes that already refer to it.
 *
 * @param gpu an open device; its `shared` holds the buffers. @param name what it is for: one buffer a name.
 * @throws LabError of kind "device" where so much does not fit a buffer.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "./device.ts";
 * import { sharedScratch } from "./shared.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   assert.equal(sharedScratch(gpu, "rows", 64), sharedScratch(gpu, "rows", 32));
 *   gpu.close();
 * }
 * ```
 */
export function sharedScratch(gpu: Gpu, name: string, bytes: number): GPUBuffer {
  const known = gpu.shared.get(name);
  if (known && known.size >= bytes) return known;
  const buffer = openBuffers(gpu).scratch(bytes, name);
  gpu.shared.set(name, buffer);
  return buffer;
}
