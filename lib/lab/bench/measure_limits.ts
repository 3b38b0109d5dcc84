// The two limits that head the table.
import { LabError } from "../../io/errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import { openLimits, type TimedWork } from "../../kernels/limits.ts";
import { repeatsFor, type Timing, timingOf } from "./timing.ts";
import type { DeviceLimits } from "./types.ts";

/**
 * Measures what the device can do at most: multiply-adds a second, bytes copied a second, and what an empty dispatch costs.
 *
 * Of several ways to reach a limit the fastest counts: 12 or 16 chains of multiply-adds a lane, a copy by a shader or by
 * the driver. Each is the median of its samples.
 *
 * @param o.copyBytes of one copy: beyond the cache, else the cache is measured. @param o.rounds samples, at least 7.
 * @throws LabError of kind "device" when the clock and the device disagree about when work ends.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../../gpu/device.ts";
 * import { measureLimits } from "./measure_limits.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const limits = await measureLimits(gpu, { copyBytes: 1 << 20, rounds: 7, sampleSeconds: 0.002 });
 *   assert.ok(limits.mulAddGflops > 0 && limits.copyGBps > 0);
 *   gpu.close();
 * }
 * ```
 */
export async function measureLimits(
  gpu: Gpu,
  o: { readonly copyBytes: number; readonly rounds: number; readonly sampleSeconds: number },
): Promise<DeviceLimits> {
  const limits = await openLimits(gpu, { groups: gpu.software ? 256 : 8192, copyBytes: o.copyBytes });
  try {
    const rate = async (work: TimedWork): Promise<Timing> => {
      const repeats = await repeatsFor((n) => work.run(n), o.sampleSeconds), samples: number[] = [];
      for (let i = 0; i < Math.max(7, o.rounds); i++) samples.push(await work.run(repeats) / repeats);
      return timingOf(samples);
    };
    const best = async (ways: ReadonlyMap<string, TimedWork>, amount: (w: TimedWork) => number) => {
      const found = [];
      for (const [by, work] of ways) {
        const timing = await rate(work);
        found.push({ by, timing, perSecond: amount(work) / timing.seconds });
      }
      return found.reduce((a, b) => b.perSecond > a.perSecond ? b : a);
    };
    await checkClock([...limits.multiplyAdd.values()][0], gpu);
    const arithmetic = await best(limits.multiplyAdd, (w) => w.operations);
    const copying = await best(limits.copy, (w) => w.bytes);
    const dispatch = await rate(limits.dispatch);
    return {
      mulAddGflops: arithmetic.perSecond / 1e9,
      copyGBps: copying.perSecond / 1e9,
      dispatchSeconds: dispatch.seconds,
      by: { mulAdd: arithmetic.by, copy: copying.by },
      spread: { mulAdd: arithmetic.timing.spread, copy: copying.timing.spread },
    };
  } finally {
    limits.close();
  }
}

/** A fence that does not wait would make every kernel look fast: the time it tells must be most of what the wall clock saw. */
async function checkClock(work: TimedWork, gpu: Gpu): Promise<void> {
  const repeats = await repeatsFor((n) => work.run(n), 0.15);
  const begun = performance.now(), told = await work.run(repeats), seen = (performance.now() - begun) / 1000;
  if (told >= 0.5 * seen && told <= seen) return;
  throw new LabError(
    "device",
    gpu.description,
    `the fence tells ${told.toFixed(3)} s where the clock saw ${seen.toFixed(3)} s`,
    "This version of Deno waits for the device in another place: see lib/gpu/fence.ts.",
  );
}
