// A test on the GPU, after the practice of WebGPU's conformance suite: it runs inside error scopes that are popped with
// a time-out; an error, a scope too many, or the loss of the device is a failure; no adapter is a skip, never a pass.
import assert from "node:assert/strict";
import { type Gpu, openGpu, popScopes } from "../../lib/gpu/device.ts";

const probe = await openGpu();
/** What the tests run on; null where there is no adapter. */
export const adapter: string | null = probe?.description ?? null;
probe?.close();
const required = Deno.env.get("OWQ_REQUIRE_GPU") === "1";

/**
 * Registers a test that gets a device of its own, whose new buffers are full of NaN.
 * Without an adapter it is reported as ignored, or fails where OWQ_REQUIRE_GPU=1 says that there must be one.
 */
export function gpuTest(name: string, fn: (gpu: Gpu) => Promise<void>, o: Parameters<typeof openGpu>[0] = {}): void {
  Deno.test({
    name: `${name} [${adapter ?? "no adapter"}]`,
    ignore: adapter === null && !required,
    fn: async () => {
      const gpu = await openGpu({ dirty: true, ...o });
      assert.ok(gpu, "OWQ_REQUIRE_GPU=1, and there is no adapter");
      try {
        await inScopes(gpu, fn);
      } finally {
        gpu.close();
      }
    },
  });
}

async function inScopes(gpu: Gpu, fn: (gpu: Gpu) => Promise<void>): Promise<void> {
  const { device } = gpu;
  device.pushErrorScope("internal");
  device.pushErrorScope("out-of-memory");
  device.pushErrorScope("validation");
  await fn(gpu);
  gpu.check(); // a loss, or an error outside every scope
  const error = await popScopes(device, 3);
  assert.equal(error?.message, undefined);
  const extra = await device.popErrorScope().then(() => true, () => false);
  assert.equal(extra, false, "the test left an error scope open");
}
