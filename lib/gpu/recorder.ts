// A long chain of dispatches, each with its own buffers, cut into submissions of about 100 ms.
import type { Gpu } from "./device.ts";
import { TEXELS_A_ROW } from "./shared.ts";

/** A chain of dispatches that is being recorded. */
export interface Recorder {
  /**
   * The pass to record the next dispatches into.
   *
   * @param operations what they cost, about: their arithmetic operations. Submits first where that would be too much at once.
   */
  pass(operations: number): Promise<GPUComputePassEncoder>;
  /** Copies `bytes` of a buffer after all dispatches so far, before those to come. */
  copy(from: GPUBuffer, fromAt: number, to: GPUBuffer, bytes: number): void;
  /** As `copy`, whole rows of texels (lib/gpu/shared.ts) to the same place in a texture. */
  copyTexels(from: GPUBuffer, to: GPUTexture, firstRow: number, rows: number): void;
  /** Submits what is left; what reads a result waits for it, and tells `learn` when it has. */
  finish(): void;
  /** Says that everything submitted is done now. */
  learn(): void;
}

/** What a submission should take at most; a driver's watchdog sits at seconds. */
const TARGET_MS = 100;
/** How much may be under way before somebody waits: a wait costs 10 ms of Deno's own (fence.ts). */
const PENDING_MS = 500;
/** A submission goes off after so many calls of `pass`, so that the device works while the rest is recorded. */
const PASSES = 64;

/**
 * Opens a recorder. Whenever about half a second of work is under way, it waits for it, learns how fast the device is, and
 * lets the event loop run.
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
  let encoder: GPUCommandEncoder | null = null, pass: GPUComputePassEncoder | null = null;
  let own = 0, passes = 0, pending = 0, since = 0; // operations and calls of this submission; operations under way
  const endPass = () => {
    pass?.end();
    pass = null;
  };
  const submit = () => {
    endPass();
    if (encoder === null) return;
    if (pending === 0) since = performance.now();
    device.queue.submit([encoder.finish()]);
    pending += own;
    [encoder, own, passes] = [null, 0, 0];
  };
  const learn = () => {
    if (pending === 0) return;
    const rate = pending / Math.max(performance.now() - since, 0.1), factor = rate / pace.operationsPerMs;
    pace.operationsPerMs *= Math.min(Math.max(factor, 0.25), 8); // one odd measurement must not make the next one last
    pending = 0;
  };
  const begin = () => {
    gpu.check();
    return encoder ??= device.createCommandEncoder();
  };
  return {
    async pass(operations) {
      if (passes >= PASSES || (passes > 0 && (own + operations) / pace.operationsPerMs > TARGET_MS)) {
        submit();
        if ((pending + operations) / pace.operationsPerMs > PENDING_MS) {
          await device.queue.onSubmittedWorkDone();
          learn();
          await new Promise((resolve) => setTimeout(resolve));
          signal?.throwIfAborted();
        }
      }
      own += operations;
      passes++;
      return pass ??= begin().beginComputePass();
    },
    copy(from, fromAt, to, bytes) {
      endPass();
      begin().copyBufferToBuffer(from, fromAt, to, 0, bytes);
    },
    copyTexels(buffer, texture, firstRow, rows) {
      endPass();
      const bytesPerRow = TEXELS_A_ROW * 16;
      begin().copyBufferToTexture(
        { buffer, offset: firstRow * bytesPerRow, bytesPerRow },
        { texture, origin: [0, firstRow] },
        [TEXELS_A_ROW, rows],
      );
    },
    finish: submit,
    learn,
  };
}
