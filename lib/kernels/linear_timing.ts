// Linears on the device under the clock: several copies in turn, so that no cache holds the weights.
import { openBuffers } from "../gpu/buffers.ts";
import type { Gpu } from "../gpu/device.ts";
import { openFence } from "../gpu/fence.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { openDequantizer, uploadPacked } from "./dequantize.ts";
import type { DeviceLinear } from "./linear.ts";
import type { PackedMatrix } from "./packed_matrix.ts";

/** Linears of one shape, ready to be timed. */
export interface LinearTiming {
  readonly variant: string;
  /** Bytes of one copy on the device. */
  readonly bytes: number;
  readonly copies: number;
  /** Goes through the copies, `repeats` products in one submission; the seconds of all of them. */
  run(repeats: number): Promise<number>;
  /** y (vectors, out) of the first copy, computed anew. */
  output(): Promise<Floats>;
  close(): void;
}

/**
 * Opens enough copies of a linear that together they take `rotateBytes`, and the buffers around them.
 *
 * @param open uploads one copy. @param x (vectors, in). @param rotateBytes beyond the last cache; 0 for a single copy.
 * @throws LabError of kind "device" when a buffer does not fit or the device is lost.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { openDenseLinear } from "./linear.ts";
 * import { openLinearTiming } from "./linear_timing.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const w = { data: Float32Array.of(1, 2, 3, 4), rows: 2, cols: 2 }, x = { data: Float32Array.of(1, 1), rows: 1, cols: 2 };
 *   const timing = await openLinearTiming(gpu, () => openDenseLinear(gpu, w), x, 0);
 *   assert.deepEqual([...await timing.output()], [3, 7]);
 *   assert.ok(await timing.run(2) > 0);
 *   timing.close();
 *   gpu.close();
 * }
 * ```
 */
export async function openLinearTiming(
  gpu: Gpu,
  open: () => Promise<DeviceLinear>,
  x: Matrix,
  rotateBytes: number,
): Promise<LinearTiming> {
  const linears = [await open()], buffers = openBuffers(gpu), fence = openFence(gpu);
  const { rows, cols, bytes, variant } = linears[0], copies = Math.max(1, Math.ceil(rotateBytes / bytes));
  if (cols !== x.cols) throw new RangeError(`x has ${x.cols} columns, the linear ${cols}`);
  while (linears.length < copies) linears.push(await open());
  const input = buffers.upload(x.data, "x"), output = buffers.scratch(x.rows * rows * 4, "y");
  let at = 0;
  const submit = (repeats: number, next: () => DeviceLinear) => {
    const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
    for (let i = 0; i < repeats; i++) next().record(pass, input, output, x.rows);
    pass.end();
    return fence.submit(encoder, output);
  };
  return {
    variant,
    bytes,
    copies,
    run: (repeats) => submit(repeats, () => linears[at++ % linears.length]),
    async output() {
      await submit(1, () => linears[0]);
      return new Float32Array(await buffers.read(output, x.rows * rows * 4));
    },
    close() {
      fence.close();
      buffers.free();
      for (const l of linears) l.destroy();
    },
  };
}

/**
 * Opens the dequantization of a whole packed matrix under the clock.
 *
 * @param m (rows, cols); its float form has to fit one buffer.
 * @throws LabError of kind "device" when a buffer does not fit or the device is lost.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { openDequantizeTiming } from "./linear_timing.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const timing = await openDequantizeTiming(gpu, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) });
 *   assert.deepEqual([...(await timing.output()).subarray(0, 3)], [1, 7, 1]);
 *   timing.close();
 *   gpu.close();
 * }
 * ```
 */
export async function openDequantizeTiming(
  gpu: Gpu,
  m: PackedMatrix,
): Promise<Pick<LinearTiming, "run" | "output" | "close"> & { readonly stride: number }> {
  const buffers = openBuffers(gpu), fence = openFence(gpu);
  const { stride, record } = await openDequantizer(gpu, buffers, uploadPacked(buffers, m));
  const out = buffers.scratch(m.rows * stride * 4, "dequantized");
  const run = (repeats: number) => {
    const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
    for (let i = 0; i < repeats; i++) record(pass, out, 0, m.rows);
    pass.end();
    return fence.submit(encoder, out);
  };
  return {
    stride,
    run,
    async output() {
      await run(1);
      return new Float32Array(await buffers.read(out, m.rows * stride * 4));
    },
    close() {
      fence.close();
      buffers.free();
    },
  };
}
