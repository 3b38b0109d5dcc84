import assert from "node:assert/strict";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import { compileKernel } from "../../lib/gpu/compile.ts";
import { replayOf } from "../../lib/gpu/replay.ts";
import { gpuTest } from "./gpu_test_helper.ts";

const ADD = `
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3u) { x[id.x + 2 * id.y] += 1 + 10 * id.y; }`;

gpuTest("replayOf() dispatches the same again in other passes, bind groups and grids included", async (gpu) => {
  const pipeline = await compileKernel(gpu, { file: "add.wgsl", code: ADD }), buffers = openBuffers(gpu);
  const x = buffers.upload(new Uint32Array(6), "x");
  let asked = 0;
  const again = replayOf((pass) => {
    asked++;
    const layout = pipeline.getBindGroupLayout(0);
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, gpu.device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer: x } }] }));
    pass.dispatchWorkgroups(2, 2);
    pass.dispatchWorkgroups(1);
  });
  for (let i = 0; i < 3; i++) {
    const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
    again(pass);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
  }
  assert.deepEqual([...new Uint32Array(await buffers.read(x, 24))], [6, 3, 33, 33, 0, 0]);
  assert.equal(asked, 1);
  buffers.free();
});
