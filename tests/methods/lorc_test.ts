import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import type { Options } from "../../lib/methods/method.ts";
import { errorFactors, LORC, LQER } from "../../lib/methods/lorc.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { topSvd } from "../../lib/quant/svd.ts";
import { assertRelative } from "../assert.ts";
import { randomMatrix, randomProblem } from "../quant/problems.ts";

const context = { kernels: await openKernels("cpu") }, p = randomProblem(48, 64, { outliers: [3, 40] });
const o: Options = { ...LORC.defaults, groupSize: 32, factorBits: 16 };

async function errors(method: typeof LORC, options: Options) {
  const w = dequantize(await method.quantizeLayer(p, options, 3, 0, context));
  const d = { ...w, data: w.data.map((v, i) => v - p.weight.data[i]) };
  return { weight: d.data.reduce((s, v) => s + v * v, 0), output: objective(d, p.hessian!) };
}

Deno.test("errorFactors() leave the energy of the singular values they leave out", () => {
  const e = randomMatrix(20, 30, 1), ones = new Float32Array(30).fill(1);
  const all = topSvd({ data: Float64Array.from(e.data), rows: 20, cols: 30 }, 20).s;
  const { a, b } = errorFactors(e, ones, 5);
  let left = 0;
  for (let r = 0; r < 20; r++) {
    for (let j = 0; j < 30; j++) {
      let v = e.data[r * 30 + j];
      for (let k = 0; k < 5; k++) v -= a.data[r * 5 + k] * b.data[k * 30 + j];
      left += v * v;
    }
  }
  assertRelative(left, all.subarray(5).reduce((s, v) => s + v * v, 0), 1e-4);
});

Deno.test("lorc loses less of the weights with each rank, bytes for its factors change next to nothing", async () => {
  const at = await Promise.all([1, 4, 16].map((rank) => errors(LORC, { ...o, rank })));
  assert(at[1].weight < at[0].weight && at[2].weight < at[1].weight);
  const bytes = await errors(LORC, { ...o, rank: 4, factorBits: 8 });
  assertRelative(bytes.weight, at[1].weight, 0.01);
});

Deno.test("lqer loses less of the output than lorc where inputs have outliers, and more of the weights", async () => {
  const [lorc, lqer] = [await errors(LORC, { ...o, rank: 4 }), await errors(LQER, { ...o, rank: 4 })];
  assert(lqer.output < 0.5 * lorc.output, `${lqer.output / lorc.output}`);
  assert(lqer.weight > lorc.weight);
});
