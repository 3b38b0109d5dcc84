// Scratch memory that all work on a device shares: written and read within one piece of recorded work, never kept.
import { openBuffers } from "./buffers.ts";
import type { Gpu } from "./device.ts";
import { LabError } from "../io/errors.ts";

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

/** Texels in a row of a texture that is read by one number n: at (n mod 1024, n div 1024). */
export const TEXELS_A_ROW = 1024;

/** How many texels of four floats a texture can hold. */
export function maxTexels(gpu: Gpu): number {
  const rows = Math.min(gpu.device.limits.maxTextureDimension2D, Math.floor(gpu.maxBytes / 16 / TEXELS_A_ROW));
  return Math.max(1, rows) * TEXELS_A_ROW;
}

/**
 * A storage texture of at least `texels` texels of four floats, shared as `sharedScratch` shares buffers. Software drivers
 * read texels four times as fast as floats of a buffer.
 *
 * @param gpu an open device. @param name what it is for: one texture a name. @param texels how many, rows of 1024.
 * @throws LabError of kind "device" where so many do not fit.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "./device.ts";
 * import { sharedTexels } from "./shared.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   assert.equal(sharedTexels(gpu, "rows", 3000).height, 3);
 *   gpu.close();
 * }
 * ```
 */
export function sharedTexels(gpu: Gpu, name: string, texels: number): GPUTexture {
  const known = gpu.sharedTextures.get(name), height = Math.ceil(texels / TEXELS_A_ROW);
  if (known && known.height >= height) return known;
  gpu.check();
  if (texels > maxTexels(gpu)) {
    throw new LabError(
      "device",
      name,
      `${texels} texels do not fit a texture of ${gpu.description}`,
      "Try --device cpu.",
    );
  }
  const size = [TEXELS_A_ROW, height], usage = GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST;
  const texture = gpu.device.createTexture({ label: name, size, format: "rgba32float", usage });
  if (gpu.dirty) {
    const nothing = new Float32Array(TEXELS_A_ROW * height * 4).fill(NaN);
    gpu.device.queue.writeTexture({ texture }, nothing, { bytesPerRow: TEXELS_A_ROW * 16 }, size);
  }
  gpu.sharedTextures.set(name, texture);
  return texture;
}
