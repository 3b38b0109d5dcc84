// Weak column tuning of the embedded model on a text unlike its books: the license of this project.
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runExperiment } from "../../lib/lab/experiment.ts";
import { resolveModel } from "../../lib/lab/open.ts";
import { makeRecipe } from "../../lib/lab/recipe.ts";
import { tuneModel } from "../../lib/lab/tune_run.ts";
import { compareTuning, tuneCases } from "../../lib/lab/tune_study.ts";
import { openTuneTexts } from "../../lib/lab/tune_text.ts";
import { tuneRecipe } from "../../lib/model/tune.ts";

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads
const license = fileURLToPath(new URL("../../LICENSE", import.meta.url));

Deno.test("six steps of WCT make the embedded model at 3 bits better at a new kind of text", options, async () => {
  const folder = await Deno.makeTempDir(), base = join(folder, "base");
  const text = (name: string, samples: number) => ({ text: name, samples, seqLen: 64 });
  const texts = { calibration: text(license, 4), evaluation: text(license, 1) }; // the task's own text chooses the columns
  const recipe = makeRecipe({
    method: "owq",
    bits: 3,
    rank: 8,
    options: { steps: "20", sensitivitySteps: "10" },
    ...texts,
  });
  await runExperiment(recipe, { out: base, skipFloat: true });
  const files = await resolveModel(base), begun = performance.now();
  const { train, heldOut, label } = await openTuneTexts(files, { data: license, length: 64, seed: 0 });
  const r = await tuneModel({
    files,
    way: { method: "wct" },
    recipe: tuneRecipe({ learningRate: 0.01, steps: 6, batch: 4, clip: 1, schedule: "cosine", warmup: 2 }),
    train,
    heldOut,
    task: label,
    out: join(folder, "tuned"),
  });
  const seconds = (performance.now() - begun) / 1000,
    [before, after] = [r.heldOut!.base, r.heldOut!.stored].map(Math.exp);
  assert.ok(after < 0.8 * before, `perplexity ${before} before, ${after} after, in ${seconds.toFixed(1)} s`);
  assert.equal(r.cost.values, 65536); // 2.5 % of the model

  const curves: number[] = [],
    study = {
      files,
      cases: tuneCases("wct:8:0.01"),
      texts: { train, heldOut: null, label, sha256: "" },
      recipe: { steps: 1, batch: 2 },
      out: join(folder, "tunings"),
      onPoint: (_: string, curve: readonly unknown[]) => curves.push(curve.length),
    };
  const [first] = await compareTuning({ ...study, seeds: [0] }),
    [again] = await compareTuning({ ...study, seeds: [0, 1] });
  assert.deepEqual(again.reports[0], JSON.parse(JSON.stringify(first.reports[0])), "a finished run was tuned again");
  assert.equal(again.folders[0], first.folders[0]);
  assert.notDeepEqual(
    again.reports[1].curve[1].loss,
    again.reports[0].curve[1].loss,
    "another seed reads other windows",
  );
  await Deno.remove(folder, { recursive: true });
});
