// How long work on the device really takes: from its submission until four bytes of its result are there to be read.
import { LabError } from "../io/errors.ts";
import type { Gpu } from "./device.ts";

/** Times submissions; made once and used for many, so that it costs a copy of four bytes and no buffer. */
export interface Fence {
  /**
   * Submits `encoder` with a copy of the first four bytes of `result` behind it, and waits until these have come back.
   *
   * @returns seconds from before the submission until the device was done.
   */
  submit(encoder: GPUCommandEncoder, result: GPUBuffer): Promise<number>;
  close(): void;
}

/** Longer than Deno's own pause after a wait (below): the wait was not where we look for it. */
const PAUSE_SECONDS = 0.05;

/**
 * Opens a fence. `onSubmittedWorkDone` alone is a promise about the queue; bytes that have arrived are a fact.
 *
 * Deno waits for the device inside the call of `mapAsync`, then sleeps 10 ms before it resolves the promise
 * (ext/webgpu/buffer.rs of Deno 2): the clock is read when the call returns, and the promise confirms it. Where the
 * promise took longer than that sleep, the wait was in the promise, and its end counts.
 *
 * @param gpu an open device.
 * @returns the fence; `close` it when done.
 * @example
 * ```ts
 * import { openBuffers } from "./buffers.ts";
 * import { openGpu } from "./device.ts";
 * import { openFence } from "./fence.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const fence = openFence(gpu), buffers = openBuffers(gpu);
 *   const seconds = await fence.submit(gpu.device.createCommandEncoder(), buffers.upload(Float32Array.of(1), "result"));
 *   console.log(seconds);
 *   fence.close();
 *   buffers.free();
 *   gpu.close();
 * }
 * ```
 */
export function openFence(gpu: Gpu): Fence {
  const { device } = gpu;
  const staging = device.createBuffer({
    label: "fence",
    size: 4,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  return {
    async submit(encoder, result) {
      gpu.check();
      encoder.copyBufferToBuffer(result, 0, staging, 0, 4);
      const commands = encoder.finish(), begun = performance.now();
      let returned = begun;
      try {
        device.queue.submit([commands]);
        const mapped = staging.mapAsync(GPUMapMode.READ);
        returned = performance.now();
        await mapped;
      } catch (cause) {
        await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
        gpu.check();
        throw new LabError("device", result.label, "its first bytes could not be read back", "Run it again.", {
          cause,
        });
      }
      const arrived = performance.now();
      staging.unmap();
      const paused = (arrived - returned) / 1000;
      return (paused > PAUSE_SECONDS ? arrived - begun : returned - begun) / 1000;
    },
    close: () => staging.destroy(),
  };
}
