import assert from "node:assert/strict";
import { blockCodes, codeScales, dynamicMap, fp4Levels, nearestLevel, normalFloat } from "../../lib/quant/levels.ts";
import { randomMatrix } from "./problems.ts";

/** ‖W − Ŵ‖² / ‖W‖² of normal weights with 16-bit accuracy of the scales left out. */
function errorOn(levels: Float32Array, block: number): number {
  const w = randomMatrix(256, 512, 5), { codes, absmax } = blockCodes(w.data, levels, block);
  let d = 0, s = 0;
  for (let i = 0; i < codes.length; i++) {
    d += (w.data[i] - absmax[Math.floor(i / block)] * levels[codes[i]]) ** 2;
    s += w.data[i] ** 2;
  }
  return d / s;
}

Deno.test("normalFloat() and fp4Levels() lose on normal weights what the digest's table says", () => {
  for (const [levels, expected] of [[normalFloat(4), 0.0085], [fp4Levels(), 0.0149]] as const) {
    const e = errorOn(levels, 64);
    assert(Math.abs(e / expected - 1) < 0.02, `${e} where ${expected} is expected`);
  }
  for (let b = 2; b < 8; b++) assert(errorOn(normalFloat(b + 1), 64) < 0.5 * errorOn(normalFloat(b), 64), `${b} bits`);
});

Deno.test("normalFloat() has its levels in order, 0 among them, one more above than below", () => {
  for (const bits of [2, 3, 4, 5]) {
    const levels = [...normalFloat(bits)], half = 2 ** (bits - 1);
    assert.deepEqual(levels, levels.toSorted((a, b) => a - b));
    assert.deepEqual([levels.length, levels[0], levels[half - 1], levels.at(-1)], [2 * half, -1, 0, 1]);
  }
  assert.throws(() => normalFloat(1), /2 to 8/);
});

Deno.test("dynamicMap() has 256 different levels, all but 1 in pairs, over seven decades", () => {
  const map = [...dynamicMap()], positive = map.filter((v) => v > 0);
  assert.equal(new Set(map).size, 256);
  assert.equal(positive.length, 128);
  for (const v of positive) if (v < 1) assert(map.includes(-v));
  assert(positive[0] < 1e-6 && map.at(-1) === 1);
});

Deno.test("nearestLevel() finds what a search over all levels finds, and the lower one on a midpoint", () => {
  const levels = fp4Levels(), nearest = nearestLevel(levels), w = randomMatrix(1, 4000, 6).data;
  for (const v of w) {
    const best = Math.min(...[...levels].map((l) => Math.abs(l - v)));
    assert(Math.abs(Math.abs(levels[nearest(v)] - v) - best) < 1e-7);
  }
  assert.equal(nearestLevel([0, 1])(0.5), 0);
  assert.equal(nearestLevel([1, 0])(0.5), 1);
});

Deno.test("blockCodes() lets blocks span rows and keeps a block of zeros at 0", () => {
  const { codes, absmax } = blockCodes(Float32Array.of(0, 0, 0, 0, 8, -4, 2), [-1, -0.5, 0, 0.25, 1], 4);
  assert.deepEqual([...absmax], [0, 8]);
  assert.deepEqual([...codes], [2, 2, 2, 2, 4, 1, 3]);
});

Deno.test("codeScales() keeps scales within a step of the map at their spread", () => {
  const scales = randomMatrix(1, 700, 7).data.map((v) => 3 + 0.1 * v), coded = codeScales(scales);
  assert.equal(coded.top.length, 3);
  for (let i = 0; i < 700; i++) assert(Math.abs(coded.values[i] - scales[i]) < 0.012 * coded.top[Math.floor(i / 256)]);
});
