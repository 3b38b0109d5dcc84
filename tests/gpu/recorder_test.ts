import assert from "node:assert/strict";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import { compileKernel } from "../../lib/gpu/compile.ts";
import { openRecorder } from "../../lib/gpu/recorder.ts";
import { gpuTest } from "./gpu_test_helper.ts";

const TWICE_PLUS = `
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(1) fn main() { x[0] = (x[0] * 3 + 1) % 65521; }`;

gpuTest("openRecorder() keeps the order of dispatches, in one submission or in many", async (gpu) => {
  let want = 5;
  for (let i = 0; i < 40; i++) want = (want * 3 + 1) % 65521;
  const pipeline = await compileKernel(gpu, { file: "twice.wgsl", code: TWICE_PLUS });
  for (const operations of [1, 1e12]) {
    const buffers = openBuffers(gpu), x = buffers.upload(Uint32Array.of(5), "x"), recorder = openRecorder(gpu);
    const layout = pipeline.getBindGroupLayout(0);
    const group = gpu.device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer: x } }] });
    const passes = new Set<GPUComputePassEncoder>();
    for (let i = 0; i < 40; i++) {
      const pass = await recorder.pass(operations);
      passes.add(pass);
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(1);
    }
    recorder.finish();
    assert.equal(passes.size > 1, operations > 1);
    assert.equal(new Uint32Array(await buffers.read(x, 4))[0], want);
    buffers.free();
  }
});

gpuTest("openRecorder() stops between submissions when its signal is aborted", async (gpu) => {
  const recorder = openRecorder(gpu, AbortSignal.abort(new Error("enough")));
  await recorder.pass(1e12);
  await assert.rejects(recorder.pass(1e12), /enough/);
});
