import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { openStudy } from "../../lib/lab/layer_study.ts";
import { tryMethods } from "../../lib/lab/layer_trial.ts";
import { studyProvenance, tourNumbers } from "../../lib/lab/study_records.ts";
import { modelTable, replacementPerplexities, replacementTable, writeSentences } from "../../lib/lab/tour.ts";
import { perplexity } from "../../lib/model/perplexity.ts";

Deno.test("the tour describes the model, lets it write, and measures one replaced layer", async () => {
  const study = await openStudy("fixture", { text: "moby-dick", samples: 1, seqLen: 64, seed: 0 });
  const kernels = await openKernels("cpu");
  try {
    const facts = new Map(modelTable(study).rows.map((r) => [r[0], String(r[1])]));
    assert.match(facts.get("calibration text")!, /moby-dick.*1 windows of 64 tokens/);
    const o = { sentences: 3, tokens: 12, temperature: 1, seed: 1 };
    const text = await writeSentences(study, "The whale", o);
    assert.ok(text.startsWith("The whale") && text.length > "The whale".length);
    assert.equal(await writeSentences(study, "The whale", o), text, "the seed decides");
    assert.notEqual(await writeSentences(study, "The whale", { ...o, seed: 2 }), text);

    const [layer] = await study.collect("^0\\.mlp\\.up_proj$"),
      windows = await study.evaluation({ text: "sotu", samples: 1, seqLen: 64 });
    const cases = [{ label: "RTN 2", method: "rtn", bits: 2 }];
    const trials = await tryMethods(layer, study.model.linears(0), cases, { kernels });
    const replaced = await replacementPerplexities(study, windows, trials),
      float = await perplexity(study.model, windows);
    assert.deepEqual(replaced.map((r) => r.label), ["float", "RTN 2"]);
    assert.equal(replaced[0].perplexity, float.perplexity);
    assert.notEqual(replaced[1].perplexity, float.perplexity);
    assert.equal(replacementTable(replaced, layer.name).rows[0][2], "0.000");

    const numbers = tourNumbers(float, trials, replaced);
    assert.equal(numbers["RTN 2/perplexity, one layer"].value, replaced[1].perplexity);
    const provenance = await studyProvenance(study, windows, kernels);
    assert.match(String(provenance.modelSha256), /^[0-9a-f]{64}$/);
    assert.equal((provenance.evaluation as { windows: number }).windows, 1);
  } finally {
    kernels.close();
    study.close();
  }
});
