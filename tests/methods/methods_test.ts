// What holds for every row of the table that is solved for a target of stored bits.
import assert from "node:assert/strict";
import { join } from "node:path";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { packedEntry, packedTensors, readPacked } from "../../lib/lab/packed.ts";
import { fitToTarget } from "../../lib/methods/fit.ts";
import type { Method } from "../../lib/methods/method.ts";
import { METHODS } from "../../lib/methods/table.ts";
import { storedBits } from "../../lib/quant/budget.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { objective } from "../../lib/quant/hessian.ts";
import type { LayerProblem } from "../../lib/quant/layer.ts";
import { assertFinite } from "../assert.ts";
import { randomMatrix, randomProblem } from "../quant/problems.ts";

const context = { kernels: await openKernels("cpu") };
const solved = [...METHODS.values()];

/** A layer of ordinary size of weights, with what the method asks for. */
function problemFor(m: Method, rows: number, cols: number): LayerProblem {
  const { weight, hessian } = randomProblem(rows, cols, { outliers: [3, 40] });
  const inputs = randomMatrix(96, cols, 2, "inputs");
  for (let t = 0; t < 96; t++) for (const j of [3, 40]) inputs.data[t * cols + j] *= 10;
  return {
    name: "test",
    weight: { ...weight, data: weight.data.map((v) => v * 0.05) },
    hessian: m.needs.hessian ? hessian : null,
    inputs: m.needs.inputs ? inputs : null,
    gradient: m.needs.gradient ? randomMatrix(rows, cols, 5, "gradient") : null,
    seed: 1,
  };
}

/** Targets that a method can meet on a layer of 96 × 80; the last is far above. */
function targetsOf(m: Method): number[] {
  return [3.6, 4.6, 9].filter((target) => {
    try {
      return fitToTarget(m, { rows: 96, cols: 80 }, m.defaults, target, "test");
    } catch {
      return false;
    }
  });
}

for (const m of solved) {
  Deno.test(`${m.name} stores what it foretold, no more than the target, and comes back from a file bit by bit`, async () => {
    const problem = problemFor(m, 96, 80), targets = targetsOf(m), errors: number[] = [];
    assert(targets.length > 0, "no target that it can meet");
    const folder = await Deno.makeTempDir(), shape = { rows: 96, cols: 80 };
    for (const target of targets) {
      const { bits, options, stored, weakColumns } = fitToTarget(m, shape, m.defaults, target, "test");
      const layer = await m.quantizeLayer(problem, options, bits, weakColumns ?? 0, context), w = dequantize(layer);
      assertFinite(w.data);
      const actual = storedBits(layer);
      assert(actual.perWeight <= target + 1e-9, `${actual.perWeight} for ${target}`);
      if (m.storedExactly !== false) assert.deepEqual(actual, stored);
      else assert(actual.perWeight <= stored.perWeight + 1e-9);

      const path = join(folder, `${target}.safetensors`);
      await writeSafetensors(path, packedTensors("a.b", layer));
      const entry = JSON.parse(JSON.stringify(packedEntry("x", layer))), file = openSafetensors(path);
      const back = await readPacked(file, "a.b", entry);
      file.close();
      assert.deepEqual(dequantize(back).data, w.data);
      assert.deepEqual(storedBits(back), actual);

      const d = { ...w, data: w.data.map((v, i) => v - problem.weight.data[i]) };
      const { hessian } = randomProblem(96, 80, { outliers: [3, 40] });
      errors.push(objective(d, hessian!) / objective(problem.weight, hessian!));
    }
    await Deno.remove(folder, { recursive: true });
    assert(errors[0] < 0.3, `loses ${errors[0]} of the output`);
    for (let i = 1; i < errors.length; i++) {
      assert(errors[i] < errors[i - 1] * 1.02, `more bits, more error: ${errors}`);
    }
  });

  Deno.test(`${m.name} never writes to its problem`, async () => {
    const problem = problemFor(m, 32, 48), before = structuredClone(problem);
    const target = targetsOf(m)[0] + 2;
    const { bits, options } = fitToTarget(m, { rows: 32, cols: 48 }, m.defaults, target, "test");
    await m.quantizeLayer(problem, options, bits, 0, context);
    assert.deepEqual(problem, before);
  });
}

Deno.test("fitToTarget() keeps what the user set and says how few bits would do", () => {
  const hqq = METHODS.get("hqq")!, shape = { rows: 64, cols: 128 };
  assert.equal(fitToTarget(hqq, shape, { ...hqq.defaults, groupSize: 64 }, 3.6, "q").options.groupSize, 64);
  assert.equal(fitToTarget(hqq, shape, { ...hqq.defaults, codeBits: 2 }, 9, "q").bits, 2);
  assert.throws(() => fitToTarget(hqq, shape, hqq.defaults, 2.1, "2.fc1"), /at least 2\.25.*2\.fc1.*2\.1/);
});
