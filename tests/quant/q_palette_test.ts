import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { matrix } from "../../lib/io/tensor.ts";
import { GAUSSIAN_DISTORTION, lloydMax, nearestEntry, planeCodebook } from "../../lib/quant/codebook.ts";
import { hadamardBlock, rotateHessian, rotateRows, rotateRowsBack } from "../../lib/quant/hadamard.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { qPalette } from "../../lib/quant/q_palette.ts";
import { assertRelative, assertWithin } from "../assert.ts";
import { randomMatrix, randomProblem } from "./problems.ts";

function signsOf(n: number): Int8Array {
  const stream = rng(4, "signs");
  return Int8Array.from({ length: n }, () => stream.int(2) * 2 - 1);
}

// Distortions of the best codebooks: Max 1960, table 1; Q-Palette's own table for pairs.
Deno.test("lloydMax() and planeCodebook() have the distortions of the best books, measured on numbers they never saw", () => {
  for (const [bits, known] of [[1, 0.3634], [2, 0.1175], [3, 0.03454], [4, 0.009497], [5, 0.002499]] as const) {
    assertRelative(lloydMax(bits).distortion, known, 0.005, `${bits} bits`);
    assertRelative(GAUSSIAN_DISTORTION[1][bits], lloydMax(bits).distortion, 2e-3, "the table");
  }
  const stream = rng(1, "pairs"), pairs = Array.from({ length: 20000 }, () => [stream.normal(), stream.normal()]);
  for (const [bits, known] of [[3, 0.2012], [5, 0.05708], [7, 0.01523]] as const) {
    const book = planeCodebook(bits);
    const measured = pairs.reduce((s, p) => {
      const e = nearestEntry(book, p);
      return s + ((p[0] - book.entries[2 * e]) ** 2 + (p[1] - book.entries[2 * e + 1]) ** 2) / 2 / pairs.length;
    }, 0);
    assertRelative(book.distortion, known, 0.02, `${bits} bits a pair`);
    assertRelative(measured, known, 0.03, `${bits} bits a pair, measured`);
    assertRelative(GAUSSIAN_DISTORTION[2][bits], book.distortion, 0.02, "the table");
  }
});

Deno.test("rotateRows() keeps lengths and products, in blocks where the width is no power of two", () => {
  for (const cols of [64, 48]) {
    const { weight, hessian } = randomProblem(8, cols), signs = signsOf(cols), block = hadamardBlock(cols);
    const r = rotateRows(weight, signs, block);
    assertWithin(rotateRowsBack(r, cols, signs, block), weight.data, 1e-6, "and back");
    const turned = objective({ ...weight, data: Float32Array.from(r) }, rotateHessian(hessian!, signs, block));
    assertRelative(turned, objective(weight, hessian!), 1e-5, "the output's size");
  }
});

Deno.test("qPalette() loses as little as the law promises once rotated, and heavy tails no longer matter", () => {
  const w = randomMatrix(64, 128, 1, "weight"), stream = rng(2, "tails"), book = lloydMax(2);
  for (let i = 0; i < w.data.length; i++) if (stream.float() < 0.1) w.data[i] *= 5;
  const o = { signs: signsOf(128), books: [{ from: 0, book }], hessian: null, damp: 0.01, scaleBits: 32 } as const;
  const lost = (a: ArrayLike<number>) =>
    w.data.reduce((s, v, i) => s + (v - a[i]) ** 2, 0) / w.data.reduce((s, v) => s + v * v, 0);
  assertRelative(lost(qPalette(w, o).approximation.data), book.distortion, 0.08);
  const plain = matrix(64, 128);
  for (let r = 0; r < 64; r++) {
    const row = w.data.subarray(r * 128, (r + 1) * 128), rms = Math.sqrt(row.reduce((s, v) => s + v * v, 0) / 128);
    row.forEach((v, j) => plain.data[r * 128 + j] = rms * book.entries[nearestEntry(book, [v / rms])]);
  }
  assert(lost(plain.data) > 1.5 * book.distortion, "without rotation the tails cost");
});

Deno.test("qPalette() with feedback loses less of the output, with one book and with two", () => {
  const { weight, hessian } = randomProblem(32, 64, { outliers: [5, 30] }), h = hessian!;
  const [low, high] = [planeCodebook(4), planeCodebook(5)];
  for (const books of [[{ from: 0, book: low }], [{ from: 0, book: low }, { from: 24, book: high }]]) {
    const lost = (hessian: typeof h | null) => {
      const { approximation: a } = qPalette(weight, { signs: signsOf(64), books, hessian, damp: 0.01, scaleBits: 32 });
      return objective({ ...a, data: a.data.map((v, i) => v - weight.data[i]) }, h);
    };
    assert(lost(h) < 0.6 * lost(null), `${lost(h)} with, ${lost(null)} without`);
  }
});

Deno.test("qPalette() refuses books that do not fit the columns", () => {
  const books = [{ from: 0, book: { dim: 2, entries: Float32Array.of(0, 0) } }];
  const o = { signs: [1, 1, 1], books, hessian: null, damp: 0, scaleBits: 32 } as const;
  assert.throws(() => qPalette(matrix(1, 3), o), /no whole vectors/);
});
