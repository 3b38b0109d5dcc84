// Linears on the device, packed or dense, behind one interface.
import type { Gpu } from "../gpu/device.ts";
import type { Matrix } from "../io/tensor.ts";
import { openDenseLane, openPackedLane } from "./matvec_lane.ts";
import { openDenseSplit, openPackedSplit } from "./matvec_split.ts";
import type { PackedMatrix } from "./packed_matrix.ts";

/** A linear on the device: y = x·Ŵᵀ. */
export interface DeviceLinear {
  readonly rows: number;
  readonly cols: number;
  /** Bytes held on the device. */
  readonly bytes: number;
  /** Which kernel it is, such as "lane", "split", "f32-lane". */
  readonly variant: string;
  /**
   * Adds y = x·Ŵᵀ to a compute pass.
   *
   * @param x (vectors, cols) f32, row-major, a storage buffer. @param y (vectors, rows) f32, likewise.
   */
  record(pass: GPUComputePassEncoder, x: GPUBuffer, y: GPUBuffer, vectors: number): void;
  /** Gives the buffers back; the linear must not be used afterwards. */
  destroy(): void;
}

/** Which kernel to take: the adapter's, or the one for software drivers ("lane") or for GPUs ("split"). */
export type Variant = "auto" | "lane" | "split";

/**
 * Uploads a packed linear.
 *
 * @param gpu an open device. @param m the stored form, (out, in). @param o which kernel, and how wide weak columns lie on the device.
 * @returns the linear; `destroy` it when done.
 * @throws LabError of kind "input" where the matrix is not whole, "device" where the device fails.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openPackedLinear } from "./linear.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openPackedLinear(gpu, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 *   console.log(linear.variant, linear.bytes);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openPackedLinear(
  gpu: Gpu,
  m: PackedMatrix,
  o: { readonly variant?: Variant; readonly weakBits?: 16 | 32 } = {},
): Promise<DeviceLinear> {
  const weakBits = o.weakBits ?? (m.weak.every((w) => Math.f16round(w) === w) ? 16 : 32);
  if (o.variant === "lane" || (o.variant !== "split" && gpu.software)) {
    return await openPackedLane(gpu, m, { weakBits });
  }
  return await openPackedSplit(gpu, m, { weakBits });
}

/**
 * Uploads a dense linear: the baseline the packed ones are measured against.
 *
 * @param gpu an open device. @param w (out, in). @param o which kernel, and how wide weights lie on the device.
 * @returns the linear; `destroy` it when done.
 * @throws LabError of kind "device" where the device fails.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openDenseLinear } from "./linear.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openDenseLinear(gpu, { data: Float32Array.of(1, 2), rows: 1, cols: 2 });
 *   console.log(linear.variant, linear.bytes);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openDenseLinear(
  gpu: Gpu,
  w: Matrix,
  o: { readonly variant?: Variant; readonly dtype?: "f32" | "f16" } = {},
): Promise<DeviceLinear> {
  if (o.variant === "lane" || (o.variant !== "split" && gpu.software)) {
    return await openDenseLane(gpu, w, o.dtype ?? "f32");
  }
  return await openDenseSplit(gpu, w, o.dtype ?? "f32");
}
