import assert from "node:assert/strict";
import { openBuffers } from "../../lib/gpu/buffers.ts";
import { type Gpu, requireGpu } from "../../lib/gpu/device.ts";
import { LabError } from "../../lib/io/errors.ts";
import { dequantizeTwin } from "../../lib/kernels/dequantize.ts";
import { openDenseLinear, openPackedLinear } from "../../lib/kernels/linear.ts";
import { multiplyPacked } from "../../lib/kernels/matvec.ts";
import type { PackedMatrix } from "../../lib/kernels/packed_matrix.ts";
import { assertFinite, assertWithin } from "../assert.ts";
import { adapter, gpuTest } from "../gpu/gpu_test_helper.ts";
import { multiplyOnDevice, packedCase, vectorsCase } from "./linear_cases.ts";

/** γ of a sum of n products in any order in float32, a few operations to spare: |computed − exact| ≤ γ Σ|terms|. */
const gamma = (n: number) => (n + 8) * 2 ** -24 / (1 - (n + 8) * 2 ** -24);

const VARIANTS = ["lane", "split"] as const;
const all = (cols: number) => Array.from({ length: cols }, (_, c) => c);

/** Holds one matrix times `vectors` to its twin, twice with the same bits. */
async function check(
  gpu: Gpu,
  variant: typeof VARIANTS[number],
  m: PackedMatrix,
  vectors: number,
  weakBits?: 16 | 32,
): Promise<void> {
  const x = vectorsCase(m.cols, vectors), { y, magnitude } = multiplyPacked(m, x, vectors);
  const linear = await openPackedLinear(gpu, m, { variant, ...(weakBits ? { weakBits } : {}) });
  const got = await multiplyOnDevice(gpu, linear, x, vectors);
  const what = `${variant}: (${m.rows}, ${m.cols}), ${m.bits} bits, ${m.weakIds.length} weak, ${vectors} vectors`;
  assertWithin(got, y, (i) => gamma(m.cols) * magnitude[i], what);
  assert.deepEqual(await multiplyOnDevice(gpu, linear, x, vectors), got, `${what}: a second time`);
  linear.destroy();
}

for (const variant of VARIANTS) {
  gpuTest(`openPackedLinear() as "${variant}" is within the rounding bound of the twin at odd shapes`, async (gpu) => {
    for (const [rows, cols] of [[1, 1], [31, 33], [33, 31], [128, 257], [257, 128], [5, 1030]]) {
      await check(gpu, variant, packedCase({ rows, cols, bits: 3 }), 1);
    }
    for (const vectors of [7, 9]) {
      await check(gpu, variant, packedCase({ rows: 35, cols: 257, bits: 3 }), vectors);
    }
  });

  gpuTest(`openPackedLinear() as "${variant}" takes weak columns anywhere, any number of them`, async (gpu) => {
    const cols = 257;
    const sets = [
      [0],
      [cols - 1],
      [0, 1, cols - 2, cols - 1],
      all(32).map((c) => 64 + c),
      all(cols).slice(0, 141),
      all(cols),
    ];
    for (const weak of sets) await check(gpu, variant, packedCase({ rows: 33, cols, bits: 3, weak }), 1);
    await check(gpu, variant, packedCase({ rows: 33, cols, bits: 3, weak: all(141) }), 7);
    await check(gpu, variant, packedCase({ rows: 33, cols, bits: 3, weak: [3, 200] }), 9);
    const m = packedCase({ rows: 33, cols, bits: 3, weak: all(9) }); // not in 16 bits: a third more
    await check(gpu, variant, { ...m, weak: m.weak.map((w) => w * 4 / 3) }, 1);
    await check(gpu, variant, m, 1, 32);
  });

  gpuTest(`openPackedLinear() as "${variant}" knows 2, 4 and 8 bits too`, async (gpu) => {
    for (const bits of [2, 4, 8] as const) {
      await check(gpu, variant, packedCase({ rows: 37, cols: 301, bits, weak: [0, 300] }), 1);
    }
    await check(gpu, variant, packedCase({ rows: 37, cols: 301, bits: 4, weak: [0, 300] }), 9);
  });

  gpuTest(`openPackedLinear() as "${variant}" takes grids of groups, in order or not`, async (gpu) => {
    await check(gpu, variant, packedCase({ rows: 33, cols: 257, bits: 3, weak: [7, 255], groups: 3 }), 1);
    await check(gpu, variant, packedCase({ rows: 33, cols: 257, bits: 3, weak: [7, 255], groups: 3 }), 9);
    for (const [size, bits] of [[128, 4], [64, 4], [32, 4]] as const) {
      const m = packedCase({ rows: 20, cols: 320, bits, groups: Math.ceil(320 / size), weak: [1] });
      await check(gpu, variant, { ...m, groupOf: Int32Array.from(all(320), (c) => Math.floor(c / size)) }, 1);
    }
  });

  gpuTest(`openDenseLinear() as "${variant}" is within the bound in f32 and in f16`, async (gpu) => {
    for (const [rows, cols, vectors] of [[1, 1, 1], [33, 31, 1], [31, 600, 1], [31, 130, 11]]) {
      const m = packedCase({ rows, cols, bits: 3, weak: all(cols) }), x = vectorsCase(cols, vectors);
      const { y, magnitude } = multiplyPacked(m, x, vectors), w = dequantizeTwin(m); // weights that are exact in f16
      for (const dtype of ["f32", "f16"] as const) {
        const linear = await openDenseLinear(gpu, w, { variant, dtype });
        assert.equal(linear.variant, `${dtype}-${variant}`);
        const got = await multiplyOnDevice(gpu, linear, x, vectors);
        assertWithin(got, y, (i) => gamma(cols) * magnitude[i], `${linear.variant} (${rows}, ${cols}), ${vectors}`);
        assert.deepEqual(await multiplyOnDevice(gpu, linear, x, vectors), got);
        linear.destroy();
      }
    }
  });

  gpuTest(`openPackedLinear() as "${variant}" lies in several parts where a buffer is small`, async (gpu) => {
    const m = packedCase({ rows: 131, cols: 1536, bits: 3, weak: [5, 700] });
    for (const vectors of [1, 2]) await check(gpu, variant, m, vectors);
    const linear = await openPackedLinear(gpu, m, { variant });
    assert.ok(linear.bytes > gpu.maxBytes, "else nothing was tiled");
    linear.destroy();
  }, { maxBytes: 48 * 1024 });
}

gpuTest("a layer of SmolLM2's shape, as each variant", async (gpu) => {
  const m = packedCase({ rows: 576, cols: 1536, bits: 3, weak: [0, 96, 97, 98, 99, 100, 101, 102, 103, 104, 1535] });
  for (const variant of VARIANTS) await check(gpu, variant, m, 1);
});

gpuTest("a linear recorded again reads what its buffers hold then, whichever pair of them it is given", async (gpu) => {
  const cols = 130, m = packedCase({ rows: 40, cols, bits: 3, weak: [4] }), random = vectorsCase(cols * 6, 1);
  for (const variant of VARIANTS) {
    const linear = await openPackedLinear(gpu, m, { variant }), buffers = openBuffers(gpu);
    const pairs = [0, 1].map((i) => ({
      x: buffers.scratch(cols * 4, `x ${i}`),
      y: buffers.scratch(m.rows * 4, `y ${i}`),
    }));
    for (let round = 0; round < 3; round++) {
      const xs = pairs.map((_, i) => random.slice((2 * round + i) * cols, (2 * round + i + 1) * cols));
      const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
      pairs.forEach(({ x, y }, i) => {
        gpu.device.queue.writeBuffer(x, 0, xs[i]);
        linear.record(pass, x, y, 1);
      });
      pass.end();
      gpu.device.queue.submit([encoder.finish()]);
      for (const [i, { y }] of pairs.entries()) {
        const got = new Float32Array(await buffers.read(y, m.rows * 4)), twin = multiplyPacked(m, xs[i], 1);
        assertWithin(got, twin.y, (r) => gamma(cols) * twin.magnitude[r], `${variant}, round ${round}, pair ${i}`);
      }
    }
    buffers.free();
    linear.destroy();
  }
});

gpuTest("openPackedLinear() lies on the device in about the bits it stores", async (gpu) => {
  const m = packedCase({ rows: 512, cols: 2048, bits: 3, weak: [1, 2, 3, 4, 5, 6, 7, 8] });
  const stored = m.codes.byteLength + 2 * m.weak.length + 8 * m.rows;
  for (const variant of VARIANTS) {
    const linear = await openPackedLinear(gpu, m, { variant });
    assert.ok(linear.bytes < 1.06 * stored, `${variant}: ${linear.bytes} bytes for ${stored}`);
    linear.destroy();
  }
});

gpuTest("openPackedLinear() and openDenseLinear() say what is wrong", async (gpu) => {
  const m = packedCase({ rows: 4, cols: 40, bits: 3, weak: [3] });
  const refused = (kind: string, pattern: RegExp) => (e: unknown) =>
    e instanceof LabError && e.kind === kind && pattern.test(e.message);
  for (const variant of VARIANTS) {
    const open = (part: Partial<PackedMatrix>) => openPackedLinear(gpu, { ...m, ...part }, { variant });
    await assert.rejects(open({ codes: m.codes.slice(1) }), refused("input", /words of codes, not 16/));
    await assert.rejects(open({ weakIds: Int32Array.of(40) }), refused("input", /weak column 40/));
    await assert.rejects(open({ scale: m.scale.map(() => NaN) }), refused("numeric", /scale 0 is NaN/));
    await assert.rejects(
      openPackedLinear(gpu, { ...m, weak: m.weak.map(() => 1e6) }, { variant, weakBits: 16 }),
      refused("numeric", /weak.*does not fit 16 bits/),
    );
    await assert.rejects(
      openDenseLinear(gpu, { data: Float32Array.of(1e6), rows: 1, cols: 1 }, { variant, dtype: "f16" }),
      refused("numeric", /does not fit 16 bits/),
    );
  }
  const linear = await openPackedLinear(gpu, m);
  assertFinite(await multiplyOnDevice(gpu, linear, vectorsCase(40, 1), 1));
});

Deno.test("a linear of a device that was closed ends in a sentence", { ignore: adapter === null }, async () => {
  for (const variant of VARIANTS) {
    const gpu = await requireGpu(),
      linear = await openPackedLinear(gpu, packedCase({ rows: 4, cols: 40, bits: 3 }), { variant });
    const buffers = openBuffers(gpu), x = buffers.scratch(160, "x"), y = buffers.scratch(16, "y");
    const pass = gpu.device.createCommandEncoder().beginComputePass();
    gpu.close();
    assert.throws(() => linear.record(pass, x, y, 1), /the device was closed/);
  }
});
