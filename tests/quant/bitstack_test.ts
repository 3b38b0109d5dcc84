import assert from "node:assert/strict";
import { type Matrix, matrix } from "../../lib/io/tensor.ts";
import { composeStack, plainBlock, plainRank, stackBlocks, stackScale } from "../../lib/quant/bitstack.ts";
import { HessianMean, objective } from "../../lib/quant/hessian.ts";
import { scaleColumns } from "../../lib/quant/smooth.ts";
import { applySignLowRank, signLowRankStore } from "../../lib/quant/stores/sign_low_rank.ts";
import { assertWithin } from "../assert.ts";
import { randomMatrix } from "./problems.ts";

const weight = randomMatrix(48, 64, 1, "weight"), inputs = randomMatrix(200, 64, 1, "inputs");
for (let t = 0; t < 200; t++) for (const j of [5, 37]) inputs.data[t * 64 + j] *= 12;

function squares(a: Matrix, b: Matrix): number {
  return a.data.reduce((s, v, i) => s + (v - b.data[i]) ** 2, 0);
}

Deno.test("stackBlocks() comes nearer with each block and each rank, and beats a block without signs of the same size", () => {
  const blocks = stackBlocks(weight, [1, 1, 1, 1]);
  const errors = [1, 2, 3, 4].map((n) => squares(composeStack(blocks.slice(0, n), weight), weight));
  for (let n = 1; n < 4; n++) assert(errors[n] < 0.6 * errors[n - 1], `${errors}`);
  assert(squares(composeStack(stackBlocks(weight, [4, 4]), weight), weight) < errors[1]);
  assert(errors[0] < squares(plainBlock(weight, plainRank(48, 64, 1)), weight));
});

Deno.test("stackScale() makes the output's error smaller where channels are loud", () => {
  const mean = new HessianMean(64, "test"), scale = stackScale([inputs]);
  mean.add(inputs);
  const lost = (a: Matrix) => objective({ ...a, data: a.data.map((v, i) => v - weight.data[i]) }, mean.value());
  const plain = composeStack(stackBlocks(weight, [1, 1]), weight);
  const scaled = scaleColumns(composeStack(stackBlocks(scaleColumns(weight, scale), [1, 1]), weight), scale, true);
  assert(lost(scaled) < 0.5 * lost(plain), `${lost(scaled)} scaled, ${lost(plain)} not`);
});

Deno.test("store sign-low-rank gives back the stack", () => {
  const blocks = stackBlocks(weight, [2, 1]), w = matrix(48, 64);
  for (const { positive, u, vt } of blocks) applySignLowRank(w, signLowRankStore(positive, u, vt));
  assertWithin(w.data, composeStack(blocks, weight).data, 1e-6);
});
