import assert from "node:assert/strict";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import { compileKernel } from "../../lib/gpu/compile.ts";
import { openRecorder } from "../../lib/gpu/recorder.ts";
import { sharedTexels, TEXELS_A_ROW } from "../../lib/gpu/shared.ts";
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

const TEXEL = `
@group(0) @binding(0) var<uniform> p: vec4u; // which texel, and where to
@group(0) @binding(1) var texels: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(1) fn main() { out[p.y] = textureLoad(texels, vec2u(p.x & 1023, p.x >> 10)); }`;

gpuTest(
  "copyTexels() copies the rows it names, after the dispatches before it and before those to come",
  async (gpu) => {
    const source = { file: "texel.wgsl", code: TEXEL, moving: { 1: "texels", 2: "storage" } } as const;
    const pipeline = await compileKernel(gpu, source), buffers = openBuffers(gpu), recorder = openRecorder(gpu);
    const from = buffers.upload(Float32Array.from({ length: 3 * TEXELS_A_ROW * 4 }, (_, i) => i), "from");
    const texture = sharedTexels(gpu, "to", 3 * TEXELS_A_ROW), out = buffers.scratch(4 * 16, "out");
    const asked = [1500, 1500, 100, 2047], uniform = buffers.uniform(asked.length * 64);
    const words = new Uint32Array(asked.length * 64);
    asked.forEach((texel, i) => words.set([texel, i], i * 64));
    gpu.device.queue.writeBuffer(uniform, 0, words);
    const group = gpu.device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [
        { binding: 0, resource: { buffer: uniform, size: 16 } },
        { binding: 1, resource: texture.createView() },
        { binding: 2, resource: { buffer: out } },
      ],
    });
    for (let i = 0; i < asked.length; i++) {
      const pass = await recorder.pass(1);
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group, [i * 256]); // one bind group, its uniform moved
      pass.dispatchWorkgroups(1);
      if (i === 0) recorder.copyTexels(from, texture, 1, 1);
    }
    recorder.finish();
    const got = new Float32Array(await buffers.read(out, 4 * 16)), nothing = [NaN, NaN, NaN, NaN]; // a dirty device's texels
    const texels = asked.map((_, i) => [...got.subarray(4 * i, 4 * i + 4)]);
    assert.deepEqual(texels, [nothing, [6000, 6001, 6002, 6003], nothing, [8188, 8189, 8190, 8191]]);
    buffers.free();
  },
);
