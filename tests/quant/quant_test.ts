import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { addBits, columnsForRank, columnsForTarget, storageOf } from "../../lib/quant/budget.ts";
import { HessianMean, objective } from "../../lib/quant/hessian.ts";
import { packDense, packRows, unpackDense, unpackRows } from "../../lib/quant/pack.ts";
import { roundHalfEven } from "../../lib/kernels/round.ts";
import { rtn } from "../../lib/quant/rtn.ts";
import { byScore, columnScores, SENSITIVITY_RULES } from "../../lib/quant/sensitivity.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { assertRelative, assertWithin } from "../assert.ts";
import { randomMatrix, randomProblem } from "./problems.ts";

Deno.test("roundHalfEven() rounds halves to even, like torch.round", () => {
  for (let k = -9; k <= 9; k++) assert.equal(roundHalfEven(k + 0.5), k % 2 === 0 ? k : k + 1);
  assert.equal(Object.is(roundHalfEven(-0.2), 0), true);
  assert.equal(roundHalfEven(1e20), 1e20);
  assert(Number.isNaN(roundHalfEven(NaN)));
  assert.equal(roundHalfEven(-Infinity), -Infinity);
});

Deno.test("packDense() and unpackDense() are inverse at every width and length", () => {
  const stream = rng(5, "codes");
  for (const bits of [1, 2, 3, 4, 5, 6, 7, 8]) {
    for (const n of [0, 1, 10, 11, 31, 32, 33, 257]) {
      const codes = Uint8Array.from({ length: n }, () => stream.int(2 ** bits));
      const words = packDense(codes, bits);
      assert.equal(words.length, Math.ceil(n * bits / 32));
      assert.deepEqual(unpackDense(words, bits, n), codes);
    }
  }
});

Deno.test("packDense() at 3 bits is the 10-1-10-1-10 layout of three words", () => {
  const stream = rng(6, "codes"), q = Uint8Array.from({ length: 32 }, () => stream.int(8));
  let [a, b, c] = [0n, 0n, 0n];
  for (let i = 0; i < 10; i++) a |= BigInt(q[i]) << BigInt(3 * i);
  a |= BigInt(q[10] & 3) << 30n;
  b |= BigInt(q[10] >> 2);
  for (let i = 0; i < 10; i++) b |= BigInt(q[11 + i]) << BigInt(3 * i + 1);
  b |= BigInt(q[21] & 1) << 31n;
  c |= BigInt(q[21] >> 1);
  for (let i = 0; i < 10; i++) c |= BigInt(q[22 + i]) << BigInt(3 * i + 2);
  assert.deepEqual([...packDense(q, 3)].map(BigInt), [a, b, c]);
});

Deno.test("packRows() begins each row on a word, and refuses codes and words that do not fit", () => {
  const codes = Uint8Array.from({ length: 15 }, (_, i) => i % 8);
  assert.deepEqual(unpackRows(packRows(codes, 3, 5, 3), 3, 5, 3), codes);
  assert.equal(packRows(codes, 3, 5, 3).length, 3);
  assert.throws(() => packDense(Uint8Array.of(8), 3), /needs more than 3 bits/);
  assert.throws(() => unpackRows(new Uint32Array(2), 3, 5, 3), /2 words for 3 rows/);
  assert.throws(() => unpackDense(new Uint32Array(1), 3, 11), /fewer than 11 codes/);
});

Deno.test("columnsForTarget() gives the columns of the paper's formula", () => {
  // research/papers.md 1.1, point 4: the table computed from the reference's formula.
  const opt = (d: number) =>
    ["q", "k", "v", "o"].map((name) => ({ name, out: d, in: d, ratio: 1 })).concat(
      { name: "fc1", out: 4 * d, in: d, ratio: 0.25 },
      { name: "fc2", out: d, in: 4 * d, ratio: 0.25 },
    );
  const llama = (d: number, D: number) =>
    ["q", "k", "v", "o"].map((name) => ({ name, out: d, in: d, ratio: 1 })).concat(
      { name: "up", out: D, in: d, ratio: 0.375 },
      { name: "gate", out: D, in: d, ratio: 0.375 },
      { name: "down", out: d, in: D, ratio: 0.375 },
    );
  const at = (
    l: ReturnType<typeof opt>,
    bits: number,
    target: number,
  ) => [...columnsForTarget(l, bits, target).values()];
  assert.deepEqual(at(opt(768), 3, 3.01), [2, 2, 2, 2, 0, 2]);
  assert.deepEqual(at(opt(4096), 3, 3.05), [32, 32, 32, 32, 8, 32]);
  assert.deepEqual(at(opt(12288), 3, 3.1), [190, 190, 190, 190, 48, 190]);
  assert.deepEqual(at(opt(4096), 4, 4.01), [8, 8, 8, 8, 2, 8]);
  assert.deepEqual(at(llama(4096, 11008), 3, 3.1), [54, 54, 54, 54, 20, 20, 54]);
  assert.deepEqual(at(llama(288, 768), 3, 3.01), [0, 0, 0, 0, 0, 0, 0]);
  assert.throws(() => columnsForTarget(opt(768), 3, 2.9), /2\.9/);
  assert.equal(columnsForRank(opt(768), 8).get("fc1"), 8);
  assert.throws(() => columnsForRank(opt(768), 769), /769.*768/);
});

Deno.test("storageOf() counts LLaMA-7B at 3.01 as research/anchors.md 1.8 does", () => {
  // Scales in 16 bits, zeros in 3; 6 columns in attention, 2 in up and gate, 6 in down.
  const d = 4096,
    D = 11008,
    shape = (rows: number, cols: number, weak: number) =>
      storageOf({ rows, cols, bits: 3, groupSize: 0, weak, scaleBits: 16, groupMap: false });
  const block = [...Array(4)].map(() => shape(d, d, 6)).concat([shape(D, d, 2), shape(D, d, 2), shape(d, D, 6)]);
  const all = addBits(block);
  assertRelative(all.perWeight, 3.0174, 2e-4, "bits a weight");
  assert.equal(all.weights, 4 * d * d + 3 * d * D);
});

Deno.test("HessianMean is 2/n Σ XᵀX, and names a NaN's place", () => {
  const mean = new HessianMean(5, "3.fc1"), xs = [1, 2, 3].map((s) => randomMatrix(7, 5, s));
  xs.forEach((x) => mean.add(x));
  const h = mean.value(), want = new Float64Array(25);
  for (const x of xs) {
    for (let t = 0; t < 7; t++) {
      for (let i = 0; i < 5; i++) {
        for (let j = 0; j < 5; j++) want[i * 5 + j] += 2 / 3 * x.data[t * 5 + i] * x.data[t * 5 + j];
      }
    }
  }
  assertWithin(h.data, want, 1e-5, "H");
  xs[0].data[8] = NaN;
  assert.throws(() => mean.add(xs[0]), /3\.fc1: NaN in the calibration input at token 1, column 3 of sample 3/);
});

for (const rows of [1, 2, 3, 4, 5, 8]) {
  Deno.test(`objective() is tr(D H Dᵀ) at ${rows} rows`, () => {
    const d = randomMatrix(rows, 9, rows), h = randomProblem(1, 9).hessian!;
    let want = 0;
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < 9; i++) {
        for (let j = 0; j < 9; j++) want += d.data[r * 9 + i] * h.data[i * 9 + j] * d.data[r * 9 + j];
      }
    }
    assertRelative(objective(d, h), want, 1e-6, "objective");
  });
}

Deno.test("columnScores() ranks by each rule, and byScore() breaks ties by the lower index", () => {
  const weight = { data: Float32Array.of(3, 0, 1, 0, 2, 1), rows: 2, cols: 3 };
  const rounded = { data: Float32Array.of(3, 1, 1, 0, 2, 3), rows: 2, cols: 3 };
  const hessian = { data: Float32Array.of(9, 0, 0, 0, 5, 0, 0, 0, 1), rows: 3, cols: 3 };
  const input = { name: "x", weight, rounded, hessian, seed: 4 };
  assert.deepEqual([...columnScores("hessian", input)], [9, 5, 1]);
  assert.deepEqual([...columnScores("error", input)], [0, 1, 4]);
  assert.deepEqual([...columnScores("hessian-error", input)], [0, 5, 4]);
  assert.deepEqual([...columnScores("magnitude", input)], [9, 4, 2]);
  const random = columnScores("random", input);
  assert.deepEqual(columnScores("random", input), random);
  assert.notDeepEqual(columnScores("random", { ...input, seed: 5 }), random);
  assert.notDeepEqual(columnScores("random", { ...input, name: "y" }), random);
  assert.deepEqual([...byScore(Float64Array.of(0, 5, 0, 5))], [1, 3, 0, 2]);
  assert.throws(() => byScore(Float64Array.of(1, NaN)), /column 1/);
  for (const rule of SENSITIVITY_RULES.slice(0, 2)) {
    assert.throws(() => columnScores(rule, { ...input, hessian: null }), /needs a Hessian/);
  }
  assert.deepEqual([...hessian.data], [9, 0, 0, 0, 5, 0, 0, 0, 1]); // scoring never writes into H
});

Deno.test("rtn() is within half a step everywhere, in groups too, and handles zero and constant rows", () => {
  const problem = randomProblem(4, 50);
  problem.weight.data.fill(0, 0, 50);
  problem.weight.data.fill(2.5, 50, 100);
  for (const groupSize of [0, 16, 50]) {
    for (const symmetric of [false, true]) {
      const layer = rtn(problem, { bits: 4, symmetric, groupSize, scaleBits: 32 }), w = dequantize(layer).data;
      const groups = layer.scale.length / 4;
      // A symmetric grid has one step less above zero than below: its largest weight is a whole step away.
      assertWithin(w, problem.weight.data, (i) => {
        const g = Math.floor(i / 50) * groups + (groupSize ? Math.floor(i % 50 / groupSize) : 0);
        return layer.scale[g] * (symmetric ? 1.001 : 0.5001);
      }, `groups of ${groupSize}`);
    }
  }
});
