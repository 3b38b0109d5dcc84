import assert from "node:assert/strict";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import { compileKernel } from "../../lib/gpu/compile.ts";
import { openGpu } from "../../lib/gpu/device.ts";
import { gridOf, runWork, wordsOf } from "../../lib/gpu/dispatch.ts";
import { LabError } from "../../lib/io/errors.ts";
import { adapter, gpuTest } from "./gpu_test_helper.ts";

const COUNT = `
struct Params { first: u32, end: u32, value: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let number = p.first + group.x + group.y * groups.x;
  if (number < p.end) { out[number] = number + p.value; }
}`;

function deviceError(pattern: RegExp): (e: unknown) => boolean {
  return (e) => e instanceof LabError && e.kind === "device" && pattern.test(e.message);
}

gpuTest("runWork() runs every workgroup once, whatever the slices and grids are", async (gpu) => {
  const groups = 70001, buffers = openBuffers(gpu);
  const pipeline = await compileKernel(gpu, { file: "count.wgsl", code: COUNT });
  for (const operations of [1, 1e6]) {
    const out = buffers.scratch(groups * 4, "out");
    const work = { pipeline, buffers: { 1: out }, uniform: buffers.uniform(3), words: wordsOf(5), groups, operations };
    await runWork(gpu, work);
    const back = new Uint32Array(await buffers.read(out, groups * 4));
    assert.deepEqual(back, Uint32Array.from({ length: groups }, (_, i) => i + 5));
  }
  buffers.free();
});

gpuTest("runWork() stops between submissions when its signal is aborted", async (gpu) => {
  const buffers = openBuffers(gpu), signal = AbortSignal.abort(new Error("enough"));
  const pipeline = await compileKernel(gpu, { file: "count.wgsl", code: COUNT });
  const out = buffers.scratch(4, "out");
  const work = {
    pipeline,
    buffers: { 1: out },
    uniform: buffers.uniform(3),
    words: wordsOf(5),
    groups: 1,
    operations: 1,
  };
  await assert.rejects(runWork(gpu, work, signal), /enough/);
  buffers.free();
});

gpuTest("compileKernel() throws with line and column when the shader is broken", async (gpu) => {
  const code = "@compute @workgroup_size(1)\nfn main() {\n  let x: f32 = nothing;\n}";
  await assert.rejects(compileKernel(gpu, { file: "broken.wgsl", code }), deviceError(/broken\.wgsl:3:16: .*nothing/));
});

gpuTest("compileKernel() throws when there is no such entry point", async (gpu) => {
  await assert.rejects(
    compileKernel(gpu, { file: "count.wgsl", code: COUNT, entry: "other" }),
    deviceError(/count\.wgsl, other/),
  );
});

gpuTest("openBuffers() refuses a buffer over the limit in words, before WebGPU sees it", async (gpu) => {
  const buffers = openBuffers(gpu);
  assert.throws(() => buffers.scratch(2 ** 24, "weights"), deviceError(/weights: 16777216 bytes do not fit a buffer/));
  await Promise.resolve(buffers.free());
}, { maxBytes: 2 ** 23 });

gpuTest("read() gives back what upload() took, padded to words on the way", async (gpu) => {
  const buffers = openBuffers(gpu);
  const buffer = buffers.upload(Uint32Array.of(1, 2, 0x030201), "words");
  assert.deepEqual([...new Uint8Array(await buffers.read(buffer, 11))].slice(8), [1, 2, 3]);
  const dirty = new Float32Array(await buffers.read(buffers.scratch(5, "scratch"), 8));
  assert.ok(dirty.every(Number.isNaN), "a test's scratch is full of NaN");
  buffers.free();
});

gpuTest("run() reports what WebGPU only whispers", async (gpu) => {
  const wrong = gpu.run("a copy", async () => {
    const buffer = openBuffers(gpu).upload(Float32Array.of(1), "one");
    const encoder = gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, buffer, 0, 4);
    gpu.device.queue.submit([encoder.finish()]);
    await Promise.resolve();
  });
  await assert.rejects(wrong, deviceError(/^a copy: /));
  assert.equal(await gpu.run("after it", () => Promise.resolve(1)), 1);
});

gpuTest("run() lets one piece of work finish before the next begins", async (gpu) => {
  const seen: string[] = [];
  const work = (name: string) => async () => {
    seen.push(`${name} begins`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    seen.push(`${name} ends`);
  };
  await Promise.all([gpu.run("a", work("a")), gpu.run("b", work("b"))]);
  assert.deepEqual(seen, ["a begins", "a ends", "b begins", "b ends"]);
});

Deno.test({
  name: "a lost device ends in a LabError, in the work under way and in the next",
  ignore: adapter === null,
  fn: async () => {
    const gpu = await openGpu();
    const buffers = openBuffers(gpu!);
    const cut = gpu!.run("a read", async () => {
      const buffer = buffers.upload(Float32Array.of(1), "one");
      gpu!.device.destroy();
      await buffers.read(buffer, 4);
    });
    await assert.rejects(cut, deviceError(/device was lost/));
    await assert.rejects(gpu!.run("later", () => Promise.resolve()), deviceError(/device was lost/));
    gpu!.close();
  },
});

Deno.test("gridOf() covers the count and keeps below the limit", () => {
  for (const [count, limit] of [[1, 1], [7, 3], [65535, 65535], [65536, 65535], [1e9, 65535]]) {
    const [x, y] = gridOf(count, limit);
    assert.ok(x <= limit && x * y >= count && x * y < count + y, `${count}: ${x} × ${y}`);
  }
});
