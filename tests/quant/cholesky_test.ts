import assert from "node:assert/strict";
import { feedbackOf, reverseCholesky, upperAt } from "../../lib/quant/cholesky.ts";
import { assertFinite } from "../assert.ts";
import { randomProblem } from "./problems.ts";

for (const n of [1, 2, 3, 4, 5, 31, 33, 128, 257]) {
  Deno.test(`reverseCholesky() gives H + λI = R Rᵀ at n = ${n}, in any order`, () => {
    const h = randomProblem(1, n, { seed: n }).hessian!,
      order = Int32Array.from({ length: n }, (_, i) => (i * 7 + 3) % n);
    if (new Set(order).size < n) order.forEach((_, i) => order[i] = n - 1 - i);
    const r = reverseCholesky(h, 0.5, order);
    assert(r.ok);
    let worst = 0, scale = 0;
    for (let i = 0; i < n; i++) {
      for (let j = i; j < n; j++) {
        let s = 0;
        for (let k = j; k < n; k++) s += upperAt(r.factor, i, k) * upperAt(r.factor, j, k);
        const want = h.data[order[i] * n + order[j]] + (i === j ? 0.5 : 0);
        worst = Math.max(worst, Math.abs(s - want));
        scale = Math.max(scale, Math.abs(want));
      }
      for (let j = 0; j < i; j++) assert.equal(upperAt(r.factor, i, j), 0);
    }
    assert(worst <= 1e-12 * scale * n, `residual ${worst} at scale ${scale}`);
    const m: Float32Array = feedbackOf(r.factor);
    assertFinite(m, "feedback");
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < n; k++) {
        const want: number = j < k ? upperAt(r.factor, j, k) / upperAt(r.factor, k, k) : 0;
        assert(Math.abs(m[j * n + k] - want) <= 1e-6 * Math.abs(want) + 1e-12);
      }
    }
  });
}

Deno.test("reverseCholesky() names the pivot where a matrix stops being positive definite, and never returns NaN", () => {
  const h = { data: Float32Array.of(1, 0, 0, 0, -2, 0, 0, 0, 3), rows: 3, cols: 3 };
  assert.deepEqual(reverseCholesky(h, 0), { ok: false, pivot: 1, value: -2 });
  const nan = { data: Float32Array.of(1, NaN, NaN, 1), rows: 2, cols: 2 };
  const r = reverseCholesky(nan, 0);
  assert(!r.ok && r.pivot === 0 && Number.isNaN(r.value));
});
