import assert from "node:assert/strict";
import {
  growthSentence,
  kernelNumbers,
  limitsTable,
  memoryFigure,
  modelCostTable,
  overheadFigure,
  rooflineFigure,
  roofTable,
  scalingFigure,
  speedFigure,
} from "../../lib/lab/kernel_figures.ts";
import { modelCosts, openKernelStudy, roofPoints, sizeCosts, weakCosts } from "../../lib/lab/kernel_study.ts";
import { adapter } from "../gpu/gpu_test_helper.ts";
import { assertRelative } from "../assert.ts";

/** Every number inside a value is finite: plotly draws NaN as nothing, and JSON writes null for it. */
function assertWhole(value: unknown, where: string): void {
  if (typeof value === "number") assert.ok(Number.isFinite(value), `${where}: ${value}`);
  else if (value !== null && typeof value === "object") {
    for (const [k, v] of Object.entries(value)) assertWhole(v, `${where}.${k}`);
  }
}

Deno.test("growthSentence() gives the power between the last two sizes", () => {
  const at = (size: number) => ({ size, seconds: { a: size ** 2, b: 3 * size }, bytes: {} });
  assert.match(growthSentence([at(10), at(512), at(2048)]), /From 512 to 2048.*a 2\.00, b 1\.00/);
});

Deno.test({
  name: `notebook 04's measurements are right, whole and drawn [${adapter ?? "no adapter"}]`,
  ignore: adapter === null && Deno.env.get("OWQ_REQUIRE_GPU") !== "1",
  fn: async () => {
    const study = await openKernelStudy({ seed: 0, seconds: 0 });
    const small = { ...study, context: { ...study.context, rotateBytes: 1 << 20, sampleSeconds: 0.001 } };
    try {
      const points = await roofPoints(small, 128, 16), costs = await weakCosts(small, 128, [0, 5]);
      const sizes = await sizeCosts(small, [64, 128]);
      const { label, costs: models } = await modelCosts(small, "fixture", [3.1], 3);
      for (const p of points) assert.equal(p.agreement, 1, p.name);
      for (const c of costs) assert.equal(c.agreement, 1, `${c.count} weak columns`);
      assert.equal(costs[0].byteFloor, 1);
      assert.ok(costs[1].byteFloor > 1);
      const packed = models.find((m) => m.label === "3.1 bits")!;
      assert.ok(packed.stored > 3.1 && packed.stored < 4, `${packed.stored} bits stored`);
      assert.ok(packed.held >= packed.stored - 0.01, "what is held is at least what is stored");
      assert.equal(packed.sameText, 1);
      assertRelative(models[0].held, 32, 0.05, "bits held in float32");
      for (
        const shown of [
          limitsTable(study),
          rooflineFigure(study.limits, points),
          roofTable(study.limits, points),
          overheadFigure(128, costs),
          scalingFigure(sizes),
          memoryFigure(label, models),
          speedFigure(label, models),
          modelCostTable(models),
        ]
      ) assertWhole(shown, shown.kind);
      const numbers = kernelNumbers({ limits: study.limits, points, costs, sizes, models });
      assertWhole(numbers, "record");
      for (const [name, n] of Object.entries(numbers)) {
        if (/time|second|token|limits/.test(name)) assert.equal(n.tolerance, "timing", name);
      }
    } finally {
      study.close();
    }
  },
});
