import assert from "node:assert/strict";
import {
  boundCandidates,
  type Candidates,
  FAR,
  NEAR,
  NEAR_BOUND,
  openMoments,
} from "../../lib/kernels/grid_moments.ts";
import { rng } from "../../lib/io/rng.ts";

Deno.test("the polynomials of the bounds stay within their bounds", () => {
  const at = (c: number[], x: number) => c.reduceRight((sum, a) => sum * x + a, 0);
  for (let i = 0; i <= 1e5; i++) {
    const x = (i / 1e5) ** 2;
    assert.ok(Math.abs(at(NEAR, x) - x ** 2.4) <= NEAR_BOUND, `near at ${x}`);
    assert.ok(Math.abs(at(FAR, 1 + x) / (1 + x) ** 2.4 - 1) <= 8e-6, `far at ${1 + x}`);
  }
});

Deno.test("boundCandidates() keeps the best candidate and hardly any other, each bound below its score", () => {
  const g = rng(5, "moments"), steps = 100;
  for (const [bits, cols] of [[2, 400], [3, 576], [4, 700]]) {
    const top = 2 ** bits - 1, moments = openMoments(steps, top, top, cols);
    const out: Candidates = { steps: [], zeros: [], low: [] };
    for (let r = 0; r < 6; r++) {
      const row = Float32Array.from({ length: cols }, () => g.normal() * (r % 2 ? Math.abs(g.normal()) : 1));
      const range = { min: Math.min(...row), max: Math.max(...row) };
      const unit = (range.max - range.min) / (steps * top);
      boundCandidates(moments, row, 2 / unit, range, 0, top, top, out);
      let least = Infinity, where = "";
      const scores = new Map<string, number>();
      for (let i = 1; i <= steps; i++) {
        for (let z = 0; z <= top; z++) {
          let score = 0;
          for (const w of row) {
            const y = w / (unit * i), q = Math.max(-z, Math.min(top - z, Math.round(y)));
            score += Math.abs((y - q) * 2 * i) ** 2.4;
          }
          scores.set(`${i} ${z}`, score);
          if (score < least) [least, where] = [score, `${i} ${z}`];
        }
      }
      const kept = out.steps.map((i, c) => `${i} ${out.zeros[c]}`);
      assert.ok(kept.includes(where), `${where} is not among ${kept.join(", ")}`);
      assert.ok(kept.length <= 8, `${kept.length} candidates are left`);
      kept.forEach((name, c) => {
        const score = scores.get(name)!;
        assert.ok(out.low[c] <= score && out.low[c] >= score * 0.997, `${name}: ${out.low[c]} against ${score}`);
      });
    }
  }
});
