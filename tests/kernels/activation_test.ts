import { activate, type ActivationSpec, activationTwin, bindActivation } from "../../lib/kernels/activation.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { normals, runKernel, U } from "./bound_kernel_cases.ts";

gpuTest("bindActivation() stays within its bound of activationTwin(), far out too", async (gpu) => {
  for (const kind of ["silu", "relu", "gelu", "gelu-tanh"] as const) {
    for (const width of [1, 33, 257]) {
      for (const [gated, biased] of [[true, true], [false, true], [true, false]]) {
        const vectors = 3, stride = 2 * width + 1, both = normals(vectors * stride, `${kind} ${width}`, 3);
        both.set([-500, 500, -90, 90, 0, -12, 12].slice(0, Math.min(7, stride)));
        const spec: ActivationSpec = {
          width,
          kind,
          gate: gated ? { stride, at: 0 } : null,
          up: { stride, at: gated ? width : 0 },
          bias: biased ? normals((gated ? 2 : 1) * width, "bias") : null,
        };
        const [got] = await runKernel(gpu, 0, vectors, async ({ input, output, step }) => {
          const values = input(both), out = output(vectors * width), bias = input(spec.bias ?? [0, 0, 0, 0]);
          const buffers = { step, gate: values, up: values, bias, out };
          return { kernel: await bindActivation(gpu, spec, buffers), outputs: [out] };
        });
        const want = activationTwin(spec, gated ? both : null, both, vectors);
        const bound = (i: number) => {
          const t = Math.floor(i / width), j = i % width, u = both[t * stride + spec.up.at + j] + (spec.bias?.[j] ?? 0);
          const x = gated ? both[t * stride + j] + (spec.bias?.[width + j] ?? 0) : u, factor = gated ? Math.abs(u) : 1;
          // x is off by u·|x| (slopes are below 1.2); e^y by (3 + 2|y|) units; the exact GELU's polynomial by 1.5e-7/2 of x.
          const exponent = 2 * (3 + 2 * Math.min(Math.abs(x) * 3, 88)) * U;
          const share = 8 * U + Math.min(1, Math.abs(activate(kind, x) / (x || 1)) + 1e-3) * exponent;
          const polynomial = kind === "gelu" ? 0.75e-7 : 0;
          return factor * Math.abs(x) * (share + polynomial) + 4 * U * Math.abs(want[i]) + 1e-12;
        };
        assertWithin(got.subarray(0, vectors * width), want, bound, `${kind} of ${width}`);
      }
    }
  }
});
