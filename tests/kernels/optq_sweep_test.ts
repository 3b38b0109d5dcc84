import assert from "node:assert/strict";
import { searchGridTwin } from "../../lib/kernels/grid_search.ts";
import { minmaxGrid } from "../../lib/kernels/minmax.ts";
import { sweepGpu } from "../../lib/kernels/optq_sweep.ts";
import { sweepTwin } from "../../lib/kernels/sweep_twin.ts";
import { assertWithin } from "../assert.ts";
import type { SweepProblem, SweepResult } from "../../lib/kernels/kernels.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { plainSweep, sweepProblem } from "./sweep_cases.ts";

const shapes = [[1, 1, 0], [1, 1, 1], [3, 31, 2], [2, 33, 33], [17, 128, 0], [5, 257, 6], [4, 300, 140]];

Deno.test("sweepTwin() equals the plain sweep when rows have one grid", async () => {
  for (const [rows, cols, weak] of shapes) {
    for (const bits of [2, 3, 4]) {
      const p = sweepProblem(rows, cols, weak, bits);
      for (const blockSize of [128, 32, 7]) {
        const got = await sweepTwin({ ...p, blockSize }), plain = plainSweep(p, got.scale, got.zero);
        assert.deepEqual(got.codes, plain.codes, `${rows} × ${cols}, ${bits} bits, blocks of ${blockSize}`);
        assertWithin(got.residual, plain.residual, (k) => 1e-5 * plain.residual[k] + 1e-12, "residual");
        const kept = plain.values.filter((_, i) => i % cols >= p.quantized);
        assertWithin(got.weak, kept, 1e-6, "weak columns");
      }
    }
  }
});

Deno.test("sweepTwin() chooses a group's grid on the weights as they stood when its block began", async () => {
  for (const [groupSize, blockSize] of [[32, 128], [16, 50], [100, 64], [64, 64]]) {
    for (const tuning of ["mse", "minmax"] as const) {
      const search = { tuning, symmetric: false, steps: 40 };
      const p = { ...sweepProblem(6, 150, 4), grid: null, groupSize, blockSize, search };
      const got = await sweepTwin(p), groups = Math.ceil(p.quantized / groupSize);
      // Everything before the block is rounded, everything from it on is kept: a problem with fewer coded columns.
      for (let g = 0; g < groups; g++) {
        const from = Math.floor((g * groupSize) / blockSize) * blockSize;
        const { values } = plainSweep({ ...p, quantized: from }, got.scale, got.zero);
        const columns = { start: g * groupSize, count: Math.min(groupSize, p.quantized - g * groupSize) };
        const standing = { ...p.weight, data: Float32Array.from(values) };
        const grid = tuning === "mse"
          ? await searchGridTwin(standing, { bits: 3, symmetric: false, steps: 40, exponent: 2.4, columns })
          : minmaxGrid(standing, { bits: 3, symmetric: false, columns });
        const own = got.scale.filter((_, i) => i % groups === g);
        assertWithin(own, grid.scale, (r) => 1e-5 * grid.scale[r], `scales of group ${g}`);
        assert.deepEqual(got.zero.filter((_, i) => i % groups === g), grid.zero);
      }
      assert.deepEqual(got.codes, plainSweep(p, got.scale, got.zero).codes);
    }
  }
});

Deno.test("sweepTwin() rounds group scales to f16 before use when scaleBits is 16", async () => {
  const search = { tuning: "minmax" as const, symmetric: false, steps: 40 };
  const p = { ...sweepProblem(6, 64, 4), grid: null, groupSize: 16, scaleBits: 16 as const, search };
  const got = await sweepTwin(p);
  for (const s of got.scale) assert.equal(s, Math.f16round(s));
  assert.deepEqual(got.codes, plainSweep(p, got.scale, got.zero).codes);
});

Deno.test("sweepTwin() rounds to nearest when nothing is fed forward", async () => {
  const p = { ...sweepProblem(9, 40, 3), feedback: new Float32Array(1600) };
  const got = await sweepTwin(p);
  assert.deepEqual(got.codes, plainSweep(p, got.scale, got.zero).codes);
  assert.deepEqual(got.weak, p.weight.data.filter((_, i) => i % 40 >= 37));
});

Deno.test("sweepTwin() names the thing and the value when a problem does not fit", async () => {
  const p = sweepProblem(3, 8, 2);
  const bad = p.weight.data.slice();
  bad[13] = Infinity;
  await assert.rejects(sweepTwin({ ...p, weight: { ...p.weight, data: bad } }), /weight: Infinity at \(1, 5\)/);
  await assert.rejects(sweepTwin({ ...p, feedback: new Float32Array(63) }), /63 values where 8 columns need 64/);
  await assert.rejects(sweepTwin({ ...p, quantized: 9 }), /quantized = 9/);
  await assert.rejects(sweepTwin({ ...p, bits: 9 }), /9 bits/);
  await assert.rejects(sweepTwin({ ...p, grid: null }), /no grid/);
  const scale = Float32Array.of(1, 0, 1);
  await assert.rejects(sweepTwin({ ...p, grid: { ...p.grid!, scale } }), /scale of row 1 is 0/);
});

/** Codes equal, but for the first difference of a row, which must lie within 1e-5 · scale of the boundary between two codes. */
function assertSweepsAgree(p: SweepProblem, got: SweepResult, twin: SweepResult, what: string): void {
  const { rows, cols } = p.weight, { quantized } = p;
  assert.deepEqual([got.scale, got.zero], [twin.scale, twin.zero], `${what}: grids`);
  const { values } = plainSweep(p, twin.scale, twin.zero), groups = twin.scale.length / rows;
  const same: number[] = [];
  for (let r = 0; r < rows; r++) {
    let k = 0;
    while (k < quantized && got.codes[r * quantized + k] === twin.codes[r * quantized + k]) k++;
    if (k === quantized) {
      same.push(r);
      continue;
    }
    const g = r * groups + (p.groupSize === 0 ? 0 : Math.floor(k / p.groupSize));
    const level = values[r * cols + k] / twin.scale[g], distance = Math.abs(level - Math.floor(level) - 0.5);
    assert.ok(distance < 1e-5, `${what}: row ${r}, column ${k}: ${level} is no tie`);
  }
  assert.ok(same.length >= 0.95 * rows, `${what}: only ${same.length} of ${rows} rows agree`);
  const weakOf = (s: SweepResult) =>
    same.flatMap((r) => [...s.weak.subarray(r * (cols - quantized), (r + 1) * (cols - quantized))]);
  assertWithin(weakOf(got), weakOf(twin), 1e-5, `${what}: weak columns`);
  if (same.length === rows) {
    assertWithin(got.residual, twin.residual, (k) => 1e-4 * twin.residual[k] + 1e-9, `${what}: residual`);
  }
}

gpuTest("sweepGpu() gives the twin's codes when rows have one grid", async (gpu) => {
  for (const [rows, cols, weak] of [...shapes, [31, 64, 3], [128, 96, 0], [257, 130, 5]]) {
    for (const bits of [2, 3, 4, 8]) {
      const p = sweepProblem(rows, cols, weak, bits);
      for (const blockSize of [128, 7]) {
        const once = await sweepGpu(gpu, { ...p, blockSize }), twice = await sweepGpu(gpu, { ...p, blockSize });
        assertSweepsAgree(
          p,
          once,
          await sweepTwin({ ...p, blockSize }),
          `(${rows}, ${cols}), ${bits} bits, ${blockSize}`,
        );
        assert.deepEqual(twice, once);
      }
    }
  }
});

gpuTest("sweepGpu() gives the twin's codes with the tiles of real GPUs", async (gpu) => {
  for (const [rows, cols, weak] of [[5, 257, 6], [31, 64, 3], [4, 300, 140]]) {
    const p = sweepProblem(rows, cols, weak);
    assertSweepsAgree(p, await sweepGpu({ ...gpu, software: false }, p), await sweepTwin(p), `(${rows}, ${cols})`);
  }
});

gpuTest("sweepGpu() chooses the twin's group grids", async (gpu) => {
  for (const [groupSize, blockSize] of [[32, 128], [100, 64], [16, 50]]) {
    for (const tuning of ["mse", "minmax"] as const) {
      const search = { tuning, symmetric: false, steps: 40 };
      // In the first block nothing has been fed forward: the grids are the twin's to the last bit. Later ones are near.
      const p = { ...sweepProblem(33, 150, 4), grid: null, groupSize, blockSize, search };
      const got = await sweepGpu(gpu, p), twin = await sweepTwin(p);
      const near = got.scale.filter((s, i) => Math.abs(s - twin.scale[i]) <= 1e-5 * twin.scale[i]).length;
      assert.ok(near >= 0.97 * got.scale.length, `${near} of ${got.scale.length} scales`);
      assert.deepEqual(got.codes, plainSweep(p, got.scale, got.zero).codes);
    }
  }
});

gpuTest("sweepGpu() tiles rows when a buffer is small", async (gpu) => {
  const p = sweepProblem(65, 200, 4);
  assertSweepsAgree(p, await sweepGpu(gpu, p), await sweepTwin(p), "tiled");
}, { maxBytes: 200 * 136 * 4 });

gpuTest("sweepGpu() refuses NaN before the shader makes a legal code of it", async (gpu) => {
  const p = sweepProblem(3, 8, 2);
  const bad = p.weight.data.slice();
  bad[13] = NaN;
  await assert.rejects(sweepGpu(gpu, { ...p, weight: { ...p.weight, data: bad } }), /weight: NaN at \(1, 5\)/);
});

Deno.test("sweepTwin() takes rows in tiles when a layer is large, and joins them as they were", async () => {
  const cols = 24, rows = 2 ** 21 / cols + 3 | 0, p = sweepProblem(rows, cols, 2);
  const got = await sweepTwin(p), last = rows - 2;
  const end = { data: p.weight.data.slice(last * cols), rows: 2, cols };
  const grid = { scale: p.grid!.scale.slice(last), zero: p.grid!.zero.slice(last) };
  const alone = await sweepTwin({ ...p, weight: end, grid });
  assert.deepEqual(got.codes.slice(last * p.quantized), alone.codes);
  assert.deepEqual(got.weak.slice(last * 2), alone.weak);
  assert.ok(got.residual[0] > alone.residual[0]);
});
