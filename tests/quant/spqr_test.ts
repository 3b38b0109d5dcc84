import assert from "node:assert/strict";
import { matrix } from "../../lib/io/tensor.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { spqr, SPQR_DEFAULTS, type SpqrLayer, spqrWithShare } from "../../lib/quant/spqr.ts";
import { applySparse, sparseStore } from "../../lib/quant/stores/sparse.ts";
import { randomMatrix, randomProblem } from "./problems.ts";

const { weight, hessian } = randomProblem(32, 48, { outliers: [5, 30] }), h = hessian!;

function loss(f: SpqrLayer, groupSize: number): number {
  const d = matrix(32, 48), groups = f.scale.values.length / 32;
  for (let r = 0; r < 32; r++) {
    for (let k = 0; k < 48; k++) {
      const at = r * 48 + k, g = r * groups + Math.floor(k / groupSize), to = r * 48 + f.order[k];
      const q = f.mask[at] ? f.kept.data[at] : f.scale.values[g] * (f.codes[at] - f.zero.values[g]);
      d.data[to] = q - weight.data[to];
    }
  }
  return objective(d, h);
}

Deno.test("spqr() loses less the more weights it keeps, and the sum of what it loses in a sweep is what it reports", () => {
  const shares = [0, 0.01, 0.05, 0.2].map((share) => {
    const f = spqrWithShare(weight, h, SPQR_DEFAULTS, share), kept = f.mask.reduce((a, b) => a + b, 0);
    assert(kept <= share * 32 * 48 && kept >= 0.5 * Math.floor(share * 32 * 48), `${kept} kept of a share of ${share}`);
    return loss(f, 16);
  });
  for (let i = 1; i < shares.length; i++) assert(shares[i] < shares[i - 1], `${shares}`);
});

Deno.test("spqr() with a threshold of 0 keeps everything and loses nothing", () => {
  const f = spqr(weight, h, { ...SPQR_DEFAULTS, threshold: 0, storeBits: 32 });
  assert(loss(f, 16) < 1e-6 * objective(weight, h));
});

Deno.test("spqr() finds outliers better by leaving one out than by the first rounding alone", () => {
  const planted = { ...weight, data: weight.data.slice() };
  for (const i of [100, 500, 900, 1300]) planted.data[i] = 30;
  const o = { ...SPQR_DEFAULTS, actOrder: false };
  const full = spqr(planted, h, o), simple = spqr(planted, h, { ...o, simplified: true });
  for (const i of [100, 500, 900, 1300]) assert.equal(full.mask[i], 1, `weight ${i}`);
  assert(simple.mask[100] + simple.mask[500] + simple.mask[900] + simple.mask[1300] < 4);
});

Deno.test("spqr() codes scales and zeros: each run of rows has at most 2^bits different ones", () => {
  const f = spqr(weight, h, { ...SPQR_DEFAULTS, run: 8 });
  for (let run = 0; run < 4; run++) {
    for (let g = 0; g < 3; g++) {
      const scales = new Set(Array.from({ length: 8 }, (_, i) => f.scale.values[(run * 8 + i) * 3 + g]));
      assert(scales.size <= 8 && scales.size >= 2);
      for (const s of scales) assert(s > 0);
    }
  }
});

Deno.test("sparseStore() keeps the weights under its mask, rows without any included", () => {
  const w = randomMatrix(5, 9, 3), mask = Uint8Array.from(w.data, (v, i) => i >= 9 && i < 18 ? 0 : v > 0.8 ? 1 : 0);
  const out = matrix(5, 9);
  applySparse(out, sparseStore(w, mask));
  out.data.forEach((v, i) => assert.equal(v, mask[i] ? Math.f16round(w.data[i]) : 0));
});
