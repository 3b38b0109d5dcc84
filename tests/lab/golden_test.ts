import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { replayGolden } from "../../lib/lab/golden.ts";
import { holds } from "../../lib/lab/golden_check.ts";

const folder = fileURLToPath(new URL("../../fixtures/golden/owq", import.meta.url));
const cpu = await openKernels("cpu"), gpu = await openKernels("gpu").catch(() => null);
const paths = gpu ? [cpu, gpu] : [cpu];

Deno.test("replayGolden() has a GPU path to check where one is required", () => {
  if (Deno.env.get("OWQ_REQUIRE_GPU") === "1") assert(gpu, "no WebGPU adapter");
});

for (const { name } of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
  for (const kernels of paths) {
    Deno.test(`replayGolden() holds ${name} on ${kernels.device}`, async () => {
      const r = await replayGolden(join(folder, name), kernels);
      assert(r.passed, JSON.stringify(r.checks.filter((c) => !holds(c))));
    });
  }
}

/** A copy of a case with one thing changed. */
async function changed(
  change: (m: Record<string, string>, tensors: Map<string, Float32Array>) => void,
): Promise<string> {
  const file = openSafetensors(join(folder, "owq3.safetensors")), meta = Object.fromEntries(file.metadata);
  const data = new Map<string, Float32Array>();
  for (const [name, t] of file.tensors) if (t.dtype === "F32") data.set(name, (await file.read(name)).data);
  change(meta, data);
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  await writeSafetensors(
    path,
    [...file.tensors.values()].map((t) => ({
      name: t.name,
      dtype: t.dtype,
      shape: t.shape,
      data: data.get(t.name) ?? file.readInts(t.name).data,
    })),
    meta,
  );
  file.close();
  return path;
}

Deno.test("replayGolden() fails a case whose expected numbers are not the method's", async () => {
  const spoil: [string, Parameters<typeof changed>[0]][] = [
    ["objective", (m) => m.objective = String(Number(m.objective) * 1.01)],
    ["scale", (_, t) => t.get("scale")!.fill(0.5)],
    ["zero", (_, t) => t.get("zero")!.fill(1)],
    ["codes", (_, t) => t.get("dequantized")!.fill(0)],
    ["nearest", (_, t) => t.get("rtn_minmax")!.fill(0)],
    ["inputs", (_, t) => t.get("inputs")![7] += 1],
    ["nan", (_, t) => t.get("scale")!.fill(NaN)],
    ["score", (_, t) => t.get("score")!.reverse()],
  ];
  for (const [what, change] of spoil) {
    const path = await changed(change);
    assert.equal((await replayGolden(path, cpu)).passed, false, `${what} was spoilt and it passed`);
    await Deno.remove(path);
  }
  const path = await changed((m) => m.method = "new-method");
  await assert.rejects(replayGolden(path, cpu), /"new-method" are unknown/);
  await Deno.remove(path);
});
