// The six families against transformers' own logits and likelihoods, through the whole streaming path.
import assert from "node:assert/strict";
import { checkParity } from "../../lib/model/parity.ts";
import { familyNames } from "../../lib/model/families.ts";

const models = new URL("../../fixtures/golden/models/", import.meta.url).pathname;

for (const family of familyNames()) {
  Deno.test(`checkParity() finds ${family} equal to transformers`, async () => {
    const r = await checkParity(models + family);
    assert.equal(r.family, family);
    assert.ok(r.logits < 2e-5, `logits differ by ${r.logits}`);
    assert.ok(r.nll < 2e-5, `nll differs by ${r.nll}`);
  });
}

const adapter = await navigator.gpu?.requestAdapter() ?? null;

Deno.test({
  name: "checkParity() finds llama equal to transformers on WebGPU",
  ignore: adapter === null,
  fn: async () => {
    const r = await checkParity(models + "llama", undefined, { backend: "webgpu" });
    assert.ok(r.logits < 2e-5, `logits differ by ${r.logits}`);
    assert.ok(r.nll < 2e-5, `nll differs by ${r.nll}`);
  },
});
