import assert from "node:assert/strict";
import { fromRowBytes, int8Product, rowBytes } from "../../lib/quant/llm_int8.ts";
import { linearOutput } from "../../lib/quant/smooth.ts";
import { randomMatrix } from "./problems.ts";

const w = rowBytes(randomMatrix(12, 40, 1)), x = randomMatrix(30, 40, 2);
const exact = (m: typeof x) => linearOutput(m, fromRowBytes(w)).data;
const error = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((s, v, i) => s + (v - b[i]) ** 2, 0) / Array.from(b).reduce((s, v) => s + v * v, 0);

Deno.test("rowBytes() is within half a step of every value and keeps a row of zeros", () => {
  const m = { data: Float32Array.of(1, -0.5, 0.003, 0, 0, 0), rows: 2, cols: 3 }, b = rowBytes(m);
  assert.deepEqual([...b.codes], [127, -64, 0, 0, 0, 0]);
  assert.deepEqual([...b.scale], [1, 0]);
  assert.equal(fromRowBytes(b).data[0], 1);
});

Deno.test("int8Product() restores with outlier channels apart what they break in bytes", () => {
  const calm = error(int8Product(x, w, 6).output.data, exact(x));
  assert(calm < 2e-4, `${calm}`);
  const loud = { ...x, data: x.data.map((v, i) => i % 40 === 7 ? v * 300 : v) };
  const whole = int8Product(loud, w, 0), apart = int8Product(loud, w, 6);
  assert.deepEqual([...apart.outliers], [7]);
  assert.equal(whole.outliers.length, 0);
  assert(error(apart.output.data, exact(loud)) < 0.01 * error(whole.output.data, exact(loud)));
});

Deno.test("int8Product() leaves large values out of a token's scale, not the small ones of their channels", () => {
  const m = { data: Float32Array.of(0.5, 9, 0.25, 1, 0.25, 0.5), rows: 3, cols: 2 };
  const y = int8Product(m, rowBytes({ data: Float32Array.of(1, 1), rows: 1, cols: 2 }), 6);
  assert.deepEqual([...y.inputs.scale], [0.5, 1, 0.5]); // the 1 lies in the outlier channel and counts in its token
  assert.deepEqual([...y.inputs.codes], [127, 0, 32, 0, 64, 0]);
});
