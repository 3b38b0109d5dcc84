// A long chain of dispatches, each with its own buffers, cut into submissions of about 100 ms.
import type { Gpu } from "./device.ts";

/** A chain of dispatches that is being recorded. */
export interface Recorder {
  /**
   * The pass to record the next dispatches into.
   *
   * @param operations what they cost, about: their arithmetic operations. Submits first where that would be too much at once.
   */
  pass(operations: number): Promise<GPUComputePassEncoder>;
  /** Submits what is left; what reads a result waits for it. */
  finish(): void;
}

const TARGET_MS = 100;

/**
 * Opens a recorder. In between, whenever about 100 ms of work are under way, it waits for them, learns how fast the device
 * is, and lets the event loop run.
 *
 * @throws (from `pass`) the signal's reason when it is aborted; LabError when the device is lost.
 * @example
 * ```ts
 * import { openGpu } from "./device.ts";
 * import { openRecorder } from "./recorder.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const recorder = openRecorder(gpu);
 *   await recorder.pass(1000);
 *   recorder.finish();
 *   gpu.close();
 * }
 * ```
 */
export function openRecorder(gpu: Gpu, signal?: AbortSignal): Recorder {
  const { device, pace } = gpu;
  let open: { encoder: GPUCommandEncoder; pass: GPUComputePassEncoder } | null = null;
  let spent = 0, since = 0;
  const submit = () => {
    if (open === null) return;
    open.pass.end();
    since = performance.now();
    device.queue.submit([open.encoder.finish()]);
    open = null;
  };
  return {
    async pass(operations) {
      if (open !== null && (spent + operations) / pace.operationsPerMs > TARGET_MS) {
        submit();
        await device.queue.onSubmittedWorkDone();
        const rate = spent / Math.max(performance.now() - since, 0.1), factor = rate / pace.operationsPerMs;
        pace.operationsPerMs *= Math.min(Math.max(factor, 0.25), 8); // one odd measurement must not make the next one last
        spent = 0;
        await new Promise((resolve) => setTimeout(resolve));
        signal?.throwIfAborted();
      }
      if (open === null) {
        gpu.check();
        const encoder = device.createCommandEncoder();
        open = { encoder, pass: encoder.beginComputePass() };
      }
      spent += operations;
      return open.pass;
    },
    finish: submit,
  };
}
