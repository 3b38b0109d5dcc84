import assert from "node:assert/strict";
import { bindEmbed, type EmbedSpec, embedTwin } from "../../lib/kernels/embed.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { normals, runKernel } from "./bound_kernel_cases.ts";

gpuTest(
  "bindEmbed() gives embedTwin()'s numbers to the bit, from parts of a table, by id and by position",
  async (gpu) => {
    for (const width of [1, 33, 128]) {
      for (const dtype of ["f32", "f16"] as const) {
        for (const positionOffset of [null, 2]) {
          for (const add of [false, true]) {
            const rows = 12, ids = [0, 11, 5, 5, 3], start = 4, table = normals(rows * width, "table");
            const before = normals(ids.length * width, "before"), parts = [[0, 4], [4, 8]];
            const want = Float64Array.from(before);
            let got = before;
            for (const [first, count] of parts) {
              const spec: EmbedSpec = { width, first, rows: count, dtype, positionOffset, add };
              const own = table.subarray(first * width, (first + count) * width);
              embedTwin(spec, own, ids, start, want);
              const halves = new Float16Array(own.length + own.length % 2);
              halves.set(own);
              const words = new Uint32Array(dtype === "f16" ? halves.buffer : own.slice().buffer), begun = got;
              const [after] = await runKernel(gpu, start, ids.length, async ({ input, words: upload, step }) => {
                const out = input(begun);
                return {
                  kernel: await bindEmbed(gpu, spec, { step, ids: upload(ids), table: upload(words), out }),
                  outputs: [out],
                };
              });
              got = after.slice(0, before.length);
            }
            assert.deepEqual(got, Float32Array.from(want), `${width} ${dtype} ${positionOffset} ${add}`);
          }
        }
      }
    }
  },
);
