// Buffers that are freed together, with every size checked before WebGPU sees it.
import { LabError } from "../io/errors.ts";
import type { Gpu } from "./device.ts";

/** Data that can be put on the device. */
export type Uploadable = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** The buffers of one piece of work; `free` gives them all back. */
export interface Buffers {
  /** A storage buffer that holds a copy of `data`. */
  upload(data: Uploadable, label: string): GPUBuffer;
  /** A storage buffer of at least `bytes`, of unspecified content (all NaN on a dirty device). */
  scratch(bytes: number, label: string): GPUBuffer;
  /** A small uniform buffer, to be written by `setUniform`. */
  uniform(words: number): GPUBuffer;
  /** Copies the first `bytes` of a buffer back. */
  read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer>;
  free(): void;
}

/**
 * Opens a set of buffers.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openBuffers } from "./buffers.ts";
 * import { openGpu } from "./device.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const buffers = openBuffers(gpu);
 *   const back = await buffers.read(buffers.upload(Float32Array.of(1, 2, 3), "three"), 12);
 *   assert.deepEqual([...new Float32Array(back)], [1, 2, 3]);
 *   buffers.free();
 *   gpu.close();
 * }
 * ```
 */
export function openBuffers(gpu: Gpu): Buffers {
  const { device } = gpu;
  const all: GPUBuffer[] = [];
  const create = (bytes: number, usage: number, label: string): GPUBuffer => {
    gpu.check();
    const size = Math.max(16, Math.ceil(bytes / 4) * 4); // one vec4 at least can be bound, an odd number of bytes not be written
    const limit = usage & GPUBufferUsage.STORAGE ? gpu.maxBytes : device.limits.maxBufferSize;
    if (!(size <= limit)) {
      throw new LabError(
        "device",
        label,
        `${size} bytes do not fit a buffer of ${gpu.description} (at most ${limit})`,
        "Try --device cpu, or a smaller layer.",
      );
    }
    const buffer = device.createBuffer({ label, size, usage });
    all.push(buffer);
    return buffer;
  };
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  return {
    upload(data, label) {
      const buffer = create(data.byteLength, storage, label);
      if (data.byteLength > 0) device.queue.writeBuffer(buffer, 0, data); // Deno 2.9 panics on nothing to write
      return buffer;
    },
    scratch(bytes, label) {
      const buffer = create(bytes, storage, label);
      if (gpu.dirty) device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
      return buffer;
    },
    uniform: (words) => create(Math.ceil(words / 4) * 16, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST, "uniform"),
    async read(buffer, bytes) {
      const size = Math.max(4, Math.ceil(bytes / 4) * 4);
      const staging = create(size, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST, `copy of ${buffer.label}`);
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
      device.queue.submit([encoder.finish()]);
      try {
        await staging.mapAsync(GPUMapMode.READ);
      } catch (cause) { // "aborted" says nothing; the loss that caused it does, and may be told a moment later
        await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
        gpu.check();
        throw new LabError("device", buffer.label, "its content could not be read back", "Run it again.", { cause });
      }
      gpu.pace.pendingMs = 0; // mapping waits for everything submitted before
      const copy = staging.getMappedRange().slice(0, bytes);
      staging.unmap();
      return copy;
    },
    free() {
      for (const buffer of all.splice(0)) buffer.destroy();
    },
  };
}
