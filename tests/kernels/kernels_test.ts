import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { adapter, gpuTest } from "../gpu/gpu_test_helper.ts";
import { sweepProblem } from "./sweep_cases.ts";

const SEARCH = { bits: 3, symmetric: false, steps: 40, exponent: 2.4 as const };

Deno.test("openKernels() says which device it took, and both give the same grid", async () => {
  const { weight } = sweepProblem(5, 60, 0);
  const cpu = await openKernels("cpu"), auto = await openKernels("auto");
  assert.equal(cpu.description, "CPU twins in TypeScript");
  assert.equal(auto.device, adapter === null ? "cpu" : "gpu");
  assert.match(auto.description, adapter === null ? /^CPU twins/ : /^WebGPU: /);
  assert.deepEqual(await auto.searchGrid(weight, SEARCH), await cpu.searchGrid(weight, SEARCH));
  cpu.close();
  auto.close();
});

gpuTest("openKernels() takes the shaders when asked for the GPU, two calls at once", async () => {
  const p = sweepProblem(20, 70, 2), kernels = await openKernels("gpu"), cpu = await openKernels("cpu");
  const [sweep, grid] = await Promise.all([kernels.sweep(p), kernels.searchGrid(p.weight, SEARCH)]);
  assert.deepEqual(grid, await cpu.searchGrid(p.weight, SEARCH));
  assert.deepEqual(sweep.codes, (await cpu.sweep(p)).codes);
  kernels.close();
  await assert.rejects(kernels.sweep(p), /the device was closed/);
});

Deno.test("openKernels() falls back to the twins, or says what to try, when there is no adapter", async () => {
  const code = `const { openKernels } = await import(${
    JSON.stringify(new URL("../../lib/kernels/kernels.ts", import.meta.url))
  });
    console.log((await openKernels("auto")).description);
    await openKernels("gpu").catch((e) => console.log(e.message));`;
  // A backend that this platform does not have leaves WebGPU without adapters.
  const env = { DENO_WEBGPU_BACKEND: Deno.build.os === "windows" ? "metal" : "dx12", NO_COLOR: "1" };
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["eval", code], env }).output();
  const [auto, gpu] = new TextDecoder().decode(stdout).trim().split("\n");
  assert.equal(auto, "CPU twins in TypeScript");
  assert.match(gpu, /no adapter was found.*--device cpu/);
});
