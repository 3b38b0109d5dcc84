import assert from "node:assert/strict";
import { join } from "node:path";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { packedEntry, packedTensors, readPacked } from "../../lib/lab/packed.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { owq, OWQ_DEFAULTS } from "../../lib/quant/owq.ts";
import { randomProblem } from "../quant/problems.ts";

const cpu = { kernels: await openKernels("cpu") };

for (
  const o of [
    { bits: 3 },
    { bits: 4, groupSize: 16 },
    { bits: 2, groupSize: 16, actOrder: true },
    { bits: 8, scaleBits: 16 as const },
    { bits: 3, symmetric: true },
  ]
) {
  for (const weak of [0, 1, 5]) {
    Deno.test(`readPacked() gives back every bit of a layer with ${JSON.stringify(o)} and ${weak} weak columns`, async () => {
      const layer = await owq(randomProblem(7, 43), { ...OWQ_DEFAULTS, ...o }, weak, cpu);
      const folder = await Deno.makeTempDir(), path = join(folder, "b.safetensors");
      await writeSafetensors(path, packedTensors("a.b", layer));
      const entry = JSON.parse(JSON.stringify(packedEntry("b.safetensors", layer)));
      const file = openSafetensors(path);
      const back = await readPacked(file, "a.b", entry);
      file.close();
      await Deno.remove(folder, { recursive: true });
      for (const key of ["codes", "scale", "zero", "weak", "weakIds", "groupOf"] as const) {
        assert.deepEqual(back[key], layer[key], key);
      }
      assert.deepEqual(dequantize(back).data, dequantize(layer).data);
      assert.equal(entry.storedBits > o.bits, true);
    });
  }
}

Deno.test("readPacked() refuses an entry that does not fit its tensors", async () => {
  const layer = await owq(randomProblem(4, 40), OWQ_DEFAULTS, 2, cpu);
  const folder = await Deno.makeTempDir(), path = join(folder, "b.safetensors");
  await writeSafetensors(path, packedTensors("x", layer));
  const file = openSafetensors(path), entry = packedEntry("b.safetensors", layer);
  await assert.rejects(readPacked(file, "x", { ...entry, cols: 64 }), /x\.codes: 16 values, not 24/);
  await assert.rejects(readPacked(file, "x", { ...entry, weakColumns: 3 }), /x\.weak/);
  await assert.rejects(readPacked(file, "y", entry), /y\.codes/);
  file.close();
  await Deno.remove(folder, { recursive: true });
});
