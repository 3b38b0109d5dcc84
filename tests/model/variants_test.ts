// Options of the families that the golden models do not take (new decoder, Llama 3 rotary, sliding windows, norms after, …).
// The weights are drawn by randomModel(); fixtures/golden/variants holds what transformers 5.23 computed with them.
import assert from "node:assert/strict";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { compareWithExpected } from "../../lib/model/parity.ts";
import { randomModel } from "./tiny.ts";

const folder = new URL("../../fixtures/golden/variants/", import.meta.url).pathname;

for (const { name } of [...Deno.readDirSync(folder)].filter((e) => e.isDirectory)) {
  Deno.test(`compareWithExpected() finds ${name} equal to transformers`, async () => {
    const config = JSON.parse(Deno.readTextFileSync(`${folder}${name}/config.json`));
    const model = await openLanguageModel(randomModel(config));
    const expected = openSafetensors(`${folder}${name}/expected.safetensors`);
    const r = await compareWithExpected(model, expected, name);
    assert.ok(r.logits < 2e-5, `logits differ by ${r.logits}`);
    assert.ok(r.nll < 2e-5, `nll differs by ${r.nll}`);
    expected.close();
    model.close();
  });
}
