// What each quantizer loses on normal and on heavy-tailed weights, against figures computed apart (methods-b.md, 0.1).
import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { type Matrix, matrix } from "../../lib/io/tensor.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { onGroupGrid } from "../../lib/quant/group_grid.ts";
import { hqq, HQQ_DEFAULTS } from "../../lib/quant/hqq.ts";
import { blockCodes, fp4Levels, normalFloat } from "../../lib/quant/levels.ts";
import { rtn } from "../../lib/quant/rtn.ts";

const ROWS = 512, COLS = 1024;

/** 512 × 1024 weights: normal, or Student's t with four degrees of freedom, of ordinary size: at 1 HQQ would shrink errors. */
function weights(tails: boolean): Matrix {
  const stream = rng(7, tails ? "t(4)" : "normal"), w = matrix(ROWS, COLS);
  for (let i = 0; i < w.data.length; i++) {
    const z = stream.normal();
    let squares = 4;
    if (tails) squares = [0, 1, 2, 3].reduce((s) => s + stream.normal() ** 2, 0);
    w.data[i] = 0.02 * z / Math.sqrt(squares / 4);
  }
  return w;
}

function onGrid(w: Matrix, bits: number, groupSize: number): ArrayLike<number> {
  return dequantize(
    rtn({ name: "w", weight: w, hessian: null, seed: 0 }, { bits, groupSize, symmetric: false, scaleBits: 32 }),
  ).data;
}

function onLevels(w: Matrix, levels: Float32Array): ArrayLike<number> {
  const { codes, absmax } = blockCodes(w.data, levels, 64);
  return Float32Array.from(codes, (c, i) => absmax[Math.floor(i / 64)] * levels[c]);
}

function byHqq(w: Matrix, bits: number): ArrayLike<number> {
  const { codes, scale, zero } = hqq(w, { bits, groupSize: 64, scaleBits: 32, ...HQQ_DEFAULTS });
  return Float32Array.from(codes, (c, i) => scale[Math.floor(i / 64)] * (c - zero[Math.floor(i / 64)]));
}

const TABLE: [name: string, (w: Matrix) => ArrayLike<number>, normal: number, tails: number][] = [
  ["RTN-4 g64", (w) => onGrid(w, 4, 64), 0.0083, 0.0142],
  [
    "RTN-4 signed g64",
    (w) => onGroupGrid(w, { bits: 4, groupSize: 64, axis: "in", rule: "absmax" }).data,
    0.0116,
    0.0254,
  ],
  ["NF4 g64", (w) => onLevels(w, normalFloat(4)), 0.0085, 0.0123],
  ["FP4 g64", (w) => onLevels(w, fp4Levels()), 0.0149, 0.0279],
  ["HQQ-4 g64", (w) => byHqq(w, 4), 0.0074, 0.0126],
  ["HQQ-3 g64", (w) => byHqq(w, 3), 0.0342, 0.0574],
  ["HQQ-2 g64", (w) => byHqq(w, 2), 0.186, 0.267],
  ["RTN-2 a row", (w) => onGrid(w, 2, 0), 0.387, 0.633],
  ["RTN-3 a row", (w) => onGrid(w, 3, 0), 0.073, 0.244],
  ["RTN-3 g128", (w) => onGrid(w, 3, 128), 0.0466, 0.092],
];

const [normal, heavy] = [weights(false), weights(true)];

for (const [name, quantize, onNormal, onHeavy] of TABLE) {
  Deno.test(`${name} loses what it should on normal weights, and on heavy tails`, () => {
    for (const [w, expected, tolerance] of [[normal, onNormal, 0.02], [heavy, onHeavy, 0.1]] as const) {
      const q = quantize(w);
      let d = 0, s = 0;
      for (let i = 0; i < w.data.length; i++) [d, s] = [d + (q[i] - w.data[i]) ** 2, s + w.data[i] ** 2];
      assert(Math.abs(d / s / expected - 1) <= tolerance, `${d / s} where ${expected} is expected`);
    }
  });
}
