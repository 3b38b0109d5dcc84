import assert from "node:assert/strict";
import { objective } from "../../lib/quant/hessian.ts";
import { hlq, HLQ_DEFAULTS, hlqGroup, hlqPlain } from "../../lib/quant/hlq.ts";
import { rtn } from "../../lib/quant/rtn.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import type { Matrix } from "../../lib/io/tensor.ts";
import { assertWithin } from "../assert.ts";
import { randomProblem } from "./problems.ts";

const { weight, hessian } = randomProblem(40, 64, { outliers: [5, 30] }), h = hessian!;
const difference = (a: Matrix) => ({ ...weight, data: a.data.map((v, i) => v - weight.data[i]) });
const squares = (a: Matrix) => difference(a).data.reduce((s, v) => s + v * v, 0);

Deno.test("hlqPlain() rounds better than an even grid of as many levels, and better with every few rounds", () => {
  const o = { ...HLQ_DEFAULTS, bits: 2, groupSize: 32 };
  const even = rtn({ name: "t", weight, hessian: null, seed: 0 }, {
    bits: 2,
    symmetric: false,
    groupSize: 32,
    scaleBits: 32,
  });
  const errors = [1, 3, 10].map((rounds) => squares(hlqPlain(weight, { ...o, rounds }).approximation));
  assert(errors[0] < squares(dequantize(even)));
  assert(errors[1] < errors[0] && errors[2] < errors[1], `${errors}`);
});

Deno.test("hlq() loses less of the output than rounding group by group", () => {
  const o = { ...HLQ_DEFAULTS, bits: 2, groupSize: 32, actOrder: true };
  const swept = objective(difference(hlq(weight, h, o).approximation), h);
  assert(swept < 0.7 * objective(difference(hlqPlain(weight, o).approximation), h));
});

Deno.test("hlqGroup() finds planes of any size and order, and copes with planes that are all alike", () => {
  const truth = [-3, -1.5, 0.5, 2], w = Array.from({ length: 40 }, (_, i) => truth[i * 7 % 4]);
  const values = (w: number[], bits: number) => {
    const g = hlqGroup(w, { ...HLQ_DEFAULTS, bits });
    return [...g.codes].map((c) => g.zero + g.scale.reduce((s, v, k) => s + (c >> k & 1 ? v : 0), 0));
  };
  assertWithin(values(w, 2), w, 1e-6);
  assertWithin(values(new Array(16).fill(0.25), 3), new Array(16).fill(0.25), 1e-7, "a constant group");
  assertWithin(values([1, 5, 1, 5], 3), [1, 5, 1, 5], 1e-6, "fewer values than levels");
});
