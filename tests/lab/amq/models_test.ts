import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rng } from "../../../lib/io/rng.ts";
import { writeSafetensors } from "../../../lib/io/safetensors_write.ts";
import type { Entry } from "../../../lib/lab/amq/archive.ts";
import {
  fidelityModels,
  finalModels,
  finalTable,
  pickEntry,
  proxyFidelity,
  runFinal,
} from "../../../lib/lab/amq/models.ts";
import { openProxy, proxySettings } from "../../../lib/lab/amq/proxy.ts";
import { textPlan } from "../../../lib/lab/amq/space.ts";
import { tableText } from "../../../lib/lab/table.ts";
import { assertWithin } from "../../assert.ts";
import { inTempFolder } from "../../python.ts";
import { TOY, toyMeasure } from "./toy.ts";

const MODEL = fileURLToPath(new URL("../../../fixtures/golden/models/llama", import.meta.url));
const entry = (point: string): Entry => ({ round: 0, point, ...toyMeasure(point) });

Deno.test("pickEntry() takes the least divergence near a target, and names what stands in the way", () => {
  const [good, bad, other] = ["333333334333", "334333333333", "444444444444"].map(entry);
  assert.equal(pickEntry(TOY, [bad, good, other], 3.35), good);
  assert.equal(pickEntry(TOY, [bad, good, other], 4.25, 0.05), other);
  assert.throws(() => pickEntry(TOY, [bad, good, other], 3.3), /nothing from it to 0\.1 below.*nearest has 3\.3333/);
  assert.throws(() => pickEntry(TOY, [bad, good], 4.4, 0.01), /no configuration has it: they have 2\.2500 to 4\.2500/);
  assert.throws(() => pickEntry(TOY, [bad, good], 2), /2\.2500/);
  assert.throws(() => pickEntry(TOY, [bad, other], 3.8), /nothing from it to 0\.1 below.*nearest has/);
});

Deno.test("the proxy's copies, final models of a configuration, and the fidelity of one to the other, on a tiny model", () =>
  inTempFolder(async (folder) => {
    const stream = rng(6, "tokens"), data = Int32Array.from({ length: 4 * 32 }, () => stream.int(128));
    const ids = join(folder, "ids.safetensors"), text = { text: ids, samples: 4, seqLen: 32 };
    await writeSafetensors(ids, [{ name: "input_ids", dtype: "I32", shape: [4, 32], data }]);
    const copies = join(folder, "copies"), settings = proxySettings(MODEL, { text, bits: [2, 3, 4, 8], groupSize: 64 });
    let made = 0;
    const first = await openProxy(settings, {
      copies,
      onProgress: (p) => void (made += p.what.startsWith("HQQ") ? 1 : 0),
    });
    assert.equal(made, 4 * 2, "a copy of each of two blocks at each of four widths");
    const points = ["8", "4", "3", "2"].map((b) => b.repeat(14)).concat("24384238423842");
    const found: Entry[] = [];
    for (const point of points) found.push({ round: 0, point, ...await first.evaluate(point) });
    first.close();
    const jsd = found.map((e) => e.jsd);
    assert(jsd[0] < jsd[1] && jsd[1] < jsd[2] && jsd[2] < jsd[3] && jsd[0] > 0, `${jsd}`);
    const beside = found[1].bits - 4, shares = found.slice(0, 4).map((e) => e.bits - Number(e.point[0]) - beside);
    assert(beside > 0.5 && beside < 0.6, `${beside}`); // 32 bits for 64 columns, and for rows of 160 three times
    assertWithin(shares, [0, 0, 0, 0], 1e-12, "scales and zero points");

    made = 0;
    const again = await openProxy(settings, { copies, onProgress: () => void made++ });
    for (const { point, bits, jsd, old } of [found[4], found[1]]) {
      assert.deepEqual(await again.evaluate(point), { bits, jsd, old });
    }
    assert.equal(made, 0, "copies were made again");
    await assert.rejects(again.evaluate("5".repeat(14)), /0\.self_attn\.q_proj has 5 bits.*2, 3, 4, 8/);
    await assert.rejects(again.evaluate("4"), /has 1 digits, the model 14 linears/);
    const { space } = again, common = { model: MODEL, calibration: text, evaluation: text };
    again.close();

    const o = { targets: [found[4].bits, found[1].bits], methods: ["rtn"], tolerance: 1e-6 },
      run = { folder: join(folder, "runs"), device: "cpu" as const };
    const finished = await runFinal(finalModels(space, found, common, o), run);
    assert.deepEqual(finished.map((m) => [m.way, m.entry?.point ?? null]), [
      ["search", points[4]],
      ["uniform", null],
      ["search", points[1]],
      ["uniform", null],
    ]);
    const [mixed, plain, four, uniformFour] = finished;
    assert.deepEqual(mixed.cell.recipe.linearBits, Object.fromEntries(textPlan(space, points[4])));
    for (const m of finished) assert(m.report.bits.stored <= m.target + 1e-6 && m.report.bits.stored > m.target - 0.6);
    assert.equal(four.report.ppl.quantized, uniformFour.report.ppl.quantized, "all linears at 4 bits are uniform 4");
    assert.notEqual(mixed.report.ppl.quantized, plain.report.ppl.quantized);
    assert.match(tableText(finalTable(finished)), /by linear/);

    const models = fidelityModels(space, found, common, { count: 4, methods: ["rtn"] });
    assert.deepEqual(models.map((m) => m.entry!.point), [points[3], points[2], points[1], points[0]]);
    const [fidelity] = proxyFidelity(await runFinal(models, run));
    assert.equal(fidelity.models, 4);
    assert(Math.abs(fidelity.spearman) <= 1 && Math.abs(fidelity.kendall) <= 1 && fidelity.pairsNear === 0);
  }));
