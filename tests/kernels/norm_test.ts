import assert from "node:assert/strict";
import { bindNorm, type NormSpec, normTwin, packAffine } from "../../lib/kernels/norm.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { normals, runKernel, U } from "./bound_kernel_cases.ts";

const base = { eps: 1e-5, added: 0, bias: null, keep: false, last: false } as const;

function specs(width: number): NormSpec[] {
  const gain = normals(width, "gain"), shift = normals(width, "shift"), bias = normals(width, "bias");
  const second = { gain: normals(width, "gain 2"), shift: normals(width, "shift 2") };
  return [
    { ...base, width, kind: "rms", affine: [{ gain, shift: null }] },
    { ...base, width, kind: "rms", affine: [{ gain, shift: null }], added: 1, bias },
    { ...base, width, kind: "layer", affine: [{ gain, shift }], added: 2, bias, keep: true },
    { ...base, width, kind: "layer", affine: [{ gain, shift }, second], added: 2 },
    { ...base, width, kind: "layer", affine: [{ gain, shift }], added: 1, last: true },
    { ...base, width, kind: "none", affine: [], added: 1, bias },
  ];
}

for (const variant of ["lane", "group"] as const) {
  gpuTest(`bindNorm() stays within rounding of normTwin() as "${variant}"`, async (gpu) => {
    for (const width of [1, 31, 257, 576]) {
      for (const spec of specs(width)) {
        const vectors = 3, n = vectors * width;
        // A mean far from zero is what a one-pass variance would fail on.
        const residual = normals(n, "residual").map((x) => x + 20), a = normals(n, "a"), b = normals(n, "b");
        const rows = spec.last ? 1 : vectors, two = spec.affine.length === 2;
        const got = await runKernel(gpu, 0, vectors, async ({ input, output, step }) => {
          const sum = output(rows * width), normed = output(rows * width), normed2 = output(rows * width);
          const affine = input(packAffine(spec));
          const buffers = { step, residual: input(residual), a: input(a), b: input(b), affine, sum, normed, normed2 };
          return { kernel: await bindNorm(gpu, spec, buffers, variant), outputs: [sum, normed, normed2] };
        });
        const want = normTwin(spec, residual, a, b),
          [sum, normed, normed2] = got.map((x) => x.subarray(0, rows * width));
        // A sum of w positive terms is right to (w + 8)·u of itself; x − mean loses u·|x|, which the scale magnifies.
        const raw = normTwin({ ...spec, keep: false }, residual, a, b).sum;
        const lost = Array.from({ length: rows }, (_, r) => {
          const row = raw.subarray(r * width, (r + 1) * width), layer = spec.kind === "layer";
          const mean = layer ? row.reduce((x, y) => x + y, 0) / width : 0;
          const square = row.reduce((x, y) => x + (y - mean) ** 2, 0) / width;
          return layer ? (width + 8) * U * Math.max(...row.map(Math.abs)) / Math.sqrt(square + spec.eps) : 0;
        });
        const bound = (o: number) => (i: number) => {
          if (spec.kind === "none") return 4 * U * (Math.abs(want.sum[i]) + 30);
          const { gain, shift } = spec.affine[o], g = Math.abs(gain[i % width]), s = shift?.[i % width] ?? 0;
          const own = Math.abs(want.normed[o][i] - s);
          return (width + 12) * U * own + lost[Math.floor(i / width)] * (g + own) + 4 * U * Math.abs(s) + 1e-12;
        };
        const what = `${spec.kind} of ${width}, ${spec.added} added`;
        assertWithin(normed, want.normed[0], bound(0), what);
        if (two) assertWithin(normed2, want.normed[1], bound(1), `${what}, second`);
        if (spec.keep) assert.deepEqual(sum, normed);
        else assertWithin(sum, want.sum, (i) => 4 * U * (Math.abs(want.sum[i]) + 30), `${what}, sum`);
      }
    }
  });
}
