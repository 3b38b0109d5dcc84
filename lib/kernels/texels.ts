// Storage textures of four float32 a texel: what a software driver reads fastest (wgsl/matvec_lane.wgsl says why).
import type { Gpu } from "../gpu/device.ts";
import { LabError } from "../io/errors.ts";

/** Texels in a row of a texture; longer rows are folded into several. */
export const FOLD = 1024;

/**
 * Opens a texture of `height` rows of `width` texels, each row folded into rows of 1024 at most.
 *
 * @param label what it holds. @param width texels a row. @param height rows.
 * @returns the texture (destroy it when done) and its bytes.
 * @throws LabError of kind "device" when it has more rows than the device takes.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { openTexels } from "./texels.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const { texture, bytes } = openTexels(gpu, "keys", 1030, 2);
 *   assert.deepEqual([texture.width, texture.height, bytes], [1024, 4, 65536]);
 *   texture.destroy();
 *   gpu.close();
 * }
 * ```
 */
export function openTexels(
  gpu: Gpu,
  label: string,
  width: number,
  height: number,
): { readonly texture: GPUTexture; readonly bytes: number } {
  const size: [number, number] = [Math.min(width, FOLD), height * Math.ceil(width / FOLD)];
  const bytes = size[0] * size[1] * 16, limit = gpu.device.limits.maxTextureDimension2D;
  if (size[1] > limit || bytes > gpu.maxBytes) {
    throw new LabError(
      "device",
      label,
      `${bytes} bytes in ${
        size[1]
      } rows do not fit a texture of ${gpu.description} (${limit} rows, ${gpu.maxBytes} bytes)`,
      "Ask for a shorter text.",
    );
  }
  const usage = GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_SRC | GPUTextureUsage.COPY_DST;
  return { texture: gpu.device.createTexture({ label, size, format: "rgba32float", usage }), bytes };
}
