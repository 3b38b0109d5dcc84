import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { assertWithin } from "../assert.ts";
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

gpuTest("factor() and gram() of both paths agree, and small pivots are factored in double on both", async () => {
  const gpu = await openKernels("gpu"), cpu = await openKernels("cpu"), x = sweepProblem(90, 40, 0).weight;
  const moments = await Promise.all([gpu, cpu].map(async (kernels) => {
    const mean = await kernels.gram(40, "x");
    await mean.add(x);
    const h = await mean.value();
    mean.close();
    return h;
  }));
  assertWithin(moments[0].data, moments[1].data, 1e-6, "second moment");
  const h = moments[1], order = Int32Array.from({ length: 40 }, (_, i) => 39 - i);
  const [a, b] = await Promise.all([gpu, cpu].map((kernels) => kernels.factor(h, 1e-4, order)));
  assert(a.ok && b.ok);
  assertWithin(a.feedback, b.feedback, 1e-5, "feedback");
  // Two columns that are the same but for a ten millionth: float32 would leave nothing of the pivot.
  for (let j = 0; j < 40; j++) h.data[j * 40 + 7] = h.data[7 * 40 + j] = h.data[(j === 7 ? 3 : j) * 40 + 3];
  h.data[7 * 40 + 3] = h.data[3 * 40 + 7] = h.data[3 * 40 + 3];
  const lambda = 1e-8 * h.data[3 * 40 + 3];
  assert.deepEqual(await gpu.factor(h, lambda, null), await cpu.factor(h, lambda, null));
  gpu.close();
  cpu.close();
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
