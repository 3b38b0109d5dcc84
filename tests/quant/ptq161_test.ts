import assert from "node:assert/strict";
import { matrix } from "../../lib/io/tensor.ts";
import { composePtq161, outputLoss, ptq161, PTQ161_DEFAULTS, startPtq161 } from "../../lib/quant/ptq161.ts";
import { channelSize, linearOutput } from "../../lib/quant/smooth.ts";
import { applyBinary, binaryStore } from "../../lib/quant/stores/binary.ts";
import { assertRelative, assertWithin } from "../assert.ts";
import { randomMatrix } from "./problems.ts";

const inputs = randomMatrix(64, 40, 1, "inputs"), weight = randomMatrix(24, 40, 1, "weight");
for (let t = 0; t < 64; t++) for (const j of [5, 7, 21, 30]) inputs.data[t * 40 + j] *= 9;

Deno.test("outputLoss() gives the derivative of its loss", () => {
  const y = randomMatrix(5, 7, 1, "y"), a = randomMatrix(5, 7, 2, "a"), { gradient } = outputLoss(y, a);
  for (const i of [0, 8, 20, 34]) {
    const at = (d: number) => outputLoss(y, { ...a, data: a.data.map((v, k) => k === i ? v + d : v) });
    assertRelative((at(2 ** -8).loss - at(-(2 ** -8)).loss) / 2 ** -7, gradient[i], 2e-3, `derivative ${i}`);
  }
});

Deno.test("ptq161() lowers its loss by training, epoch after epoch, and the output comes nearer", () => {
  const parts = [0, 32].map((t) => ({ ...inputs, data: inputs.data.slice(t * 40, (t + 32) * 40), rows: 32 }));
  const found = ptq161(weight, parts, { ...PTQ161_DEFAULTS, epochs: 30 }), y = linearOutput(inputs, weight);
  for (let e = 1; e < 30; e++) assert(found.losses[e] < found.losses[e - 1], `epoch ${e}: ${found.losses}`);
  const start = startPtq161(weight, channelSize(inputs, "max"), PTQ161_DEFAULTS);
  const loss = (l: typeof found) => outputLoss(y, linearOutput(inputs, composePtq161(weight, l))).loss;
  assert(loss(found) < loss(start));
});

Deno.test("a mask by activations does far better than one of other channels", () => {
  const y = linearOutput(inputs, weight), size = channelSize(inputs, "max");
  const loss = (s: ArrayLike<number>) =>
    outputLoss(y, linearOutput(inputs, composePtq161(weight, startPtq161(weight, s, PTQ161_DEFAULTS)))).loss;
  assert(loss(size) < 0.4 * loss(size.map((v) => 1 / v)));
});

Deno.test("store binary gives back what it was filled with", () => {
  const l = ptq161(weight, [inputs], { ...PTQ161_DEFAULTS, epochs: 1 }), w = matrix(24, 40);
  applyBinary(
    w,
    binaryStore({ rows: 24, cols: 40, bits: 4 }, {
      salient: l.mask,
      ...l.high,
      sign: weight.data.map((v, i) => v >= l.mean[Math.floor(i / 40)] ? 1 : 0),
      row: l.alpha.map((v, r) => v * l.r1[r]),
      mean: l.mean.map((v, r) => v * l.r1[r]),
      column: l.r2,
    }),
  );
  const exact = composePtq161(weight, l).data;
  assertWithin(w.data, exact, (i) => 2e-3 * Math.abs(exact[i]) + 1e-4, "weights"); // 16-bit scales
});
