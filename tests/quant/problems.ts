// Seeded layer problems for tests: correlated inputs with a few outlier columns.
import { rng } from "../../lib/io/rng.ts";
import { type Matrix, matrix } from "../../lib/io/tensor.ts";
import { HessianMean } from "../../lib/quant/hessian.ts";
import type { LayerProblem } from "../../lib/quant/layer.ts";

export function randomMatrix(rows: number, cols: number, seed: number, name = "matrix"): Matrix {
  const stream = rng(seed, name), m = matrix(rows, cols);
  for (let i = 0; i < m.data.length; i++) m.data[i] = stream.normal();
  return m;
}

/** W (out, in) normal; inputs normal with neighbouring columns correlated and the `outliers` columns 10 times as large. */
export function randomProblem(
  out: number,
  inputs: number,
  o: { seed?: number; tokens?: number; outliers?: readonly number[]; dead?: readonly number[] } = {},
): LayerProblem {
  const seed = o.seed ?? 1, x = randomMatrix(o.tokens ?? 4 * inputs, inputs, seed, "inputs");
  for (let t = 0; t < x.rows; t++) {
    const row = x.data.subarray(t * inputs, (t + 1) * inputs);
    for (let j = 1; j < inputs; j++) row[j] += 0.6 * row[j - 1];
    for (const j of o.outliers ?? []) row[j] *= 10;
    for (const j of o.dead ?? []) row[j] = 0;
  }
  const mean = new HessianMean(inputs, "test");
  mean.add(x);
  return { name: "test", weight: randomMatrix(out, inputs, seed, "weight"), hessian: mean.value(), seed };
}
