// Methods whose layers are lists of stores, through the whole pipeline on a tiny model.
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rng } from "../../lib/io/rng.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { openWindows } from "../../lib/io/windows.ts";
import { openExperiment, runExperiment } from "../../lib/lab/experiment.ts";
import { resolveModel } from "../../lib/lab/open.ts";
import { makeRecipe } from "../../lib/lab/recipe.ts";
import { describePlan } from "../../lib/lab/report_text.ts";
import { saveFolder } from "../../lib/lab/save.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { perplexity } from "../../lib/model/perplexity.ts";

const model = fileURLToPath(new URL("../../fixtures/golden/models/qwen2", import.meta.url));

for (
  const [method, options] of [
    ["hqq", { weak: 2 }], // data-free, but for its weak columns
    ["awq", { steps: 4 }], // inputs, a scale of the inputs
    ["spqr", {}], // coded statistics, single weights
    ["gwq", { samples: 2 }], // gradients
    ["svdquant", { grids: 2, iterations: 2 }], // low rank
  ] as const
) {
  Deno.test(`runExperiment() with ${method} foretells its bits, resumes bit by bit, and loads back from both forms`, async () => {
    const folder = await Deno.makeTempDir(),
      stream = rng(3, "tokens"),
      file = (n: string) => join(folder, `${n}.safetensors`);
    for (const name of ["calibration", "evaluation"]) {
      const data = Int32Array.from({ length: 6 * 40 }, () => stream.int(128));
      await writeSafetensors(file(name), [{ name: "input_ids", dtype: "I32", shape: [6, 40], data }]);
    }
    const text = (name: string) => ({ text: file(name), samples: 6, seqLen: 40 });
    const texts = { calibration: text("calibration"), evaluation: text("evaluation") };
    const recipe = makeRecipe({ ...texts, model, method, bits: 5.9, options }), quick = { device: "cpu" } as const;
    try {
      const opened = await openExperiment(recipe), plan = opened.plan;
      const words = describePlan(opened, { sentence: "" } as never, {
        total: 0,
        calibrate: 0,
        quantize: 0,
        evaluate: 0,
      });
      assert.match(words, /groupSize \d+.*stored 5\.\d+/);
      opened.close();
      const whole = await runExperiment(recipe, { ...quick, out: join(folder, "whole") });
      assert(whole.bits.stored <= 5.9 && plan.stored.perWeight <= 5.9);
      for (const l of whole.layers) assert(l.storedBits <= 5.9 && l.storedBits > 4, `${l.name} ${l.storedBits}`);

      const stop = new AbortController(), out = join(folder, "broken");
      let layers = 0;
      const onLayer = () => void (++layers === 8 && stop.abort()); // within the second block
      await assert.rejects(runExperiment(recipe, { ...quick, out, signal: stop.signal, onLayer }), {
        name: "AbortError",
      });
      const resumed = await runExperiment(recipe, { ...quick, out, resume: true });
      assert.deepEqual([resumed.ppl, resumed.layers], [whole.ppl, whole.layers]);

      await saveFolder(out, join(folder, "hf"));
      const windows = await openWindows(file("evaluation"), {
        tokenizer: null,
        samples: 6,
        seqLen: 40,
        seed: 0,
        purpose: "evaluation",
      });
      for (const spec of [out, join(folder, "hf")]) {
        const files = await resolveModel(spec);
        assert.equal((await perplexity(await openLanguageModel(files), windows)).perplexity, whole.ppl.quantized);
        files.source.close();
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
