import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { replayGolden } from "../../lib/lab/golden.ts";
import { holds } from "../../lib/lab/golden_check.ts";

const folder = fileURLToPath(new URL("../../fixtures/golden/methods", import.meta.url));
const cpu = await openKernels("cpu");

for (const { name } of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
  if (!name.endsWith(".safetensors")) continue;
  Deno.test(`replayGolden() holds ${name}`, async () => {
    const r = await replayGolden(join(folder, name), cpu);
    assert(r.passed, JSON.stringify(r.checks.filter((c) => !holds(c))));
  });
}
