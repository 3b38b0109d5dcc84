import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LabError } from "../../lib/io/errors.ts";
import { rng } from "../../lib/io/rng.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { openWindows } from "../../lib/io/windows.ts";
import { compare } from "../../lib/lab/compare.ts";
import { openExperiment, runExperiment } from "../../lib/lab/experiment.ts";
import { resolveModel } from "../../lib/lab/open.ts";
import { makeRecipe, type RecipeInput } from "../../lib/lab/recipe.ts";
import { saveFolder } from "../../lib/lab/save.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { assertRelative } from "../assert.ts";

const models = fileURLToPath(new URL("../../fixtures/golden/models", import.meta.url));

/** A folder with token windows for the tiny models (128 words). */
async function inFolder(work: (folder: string, recipe: RecipeInput) => Promise<void>) {
  const folder = await Deno.makeTempDir(), stream = rng(3, "tokens");
  try {
    for (const name of ["calibration", "evaluation"]) {
      const ids = Int32Array.from({ length: 6 * 40 }, () => stream.int(128));
      await writeSafetensors(join(folder, `${name}.safetensors`), [
        { name: "input_ids", dtype: "I32", shape: [6, 40], data: ids },
      ]);
    }
    const text = (name: string) => ({ text: join(folder, `${name}.safetensors`), samples: 6, seqLen: 40 });
    await work(folder, { calibration: text("calibration"), evaluation: text("evaluation"), method: "owq", bits: 3.5 });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const quick = { device: "cpu" as const };

for (const family of ["llama", "mistral", "qwen2", "opt", "bloom", "falcon"]) {
  Deno.test(`runExperiment() quantizes ${family}, and both saved forms load back to the same perplexity`, () =>
    inFolder(async (folder, recipe) => {
      const out = join(folder, "run"), model = join(models, family);
      const report = await runExperiment(makeRecipe({ ...recipe, model }), { ...quick, out });
      assert(Number.isFinite(report.ppl.fp) && Number.isFinite(report.ppl.quantized));
      assert.notEqual(report.ppl.quantized, report.ppl.fp);
      assert(report.layers.every((l) => l.fallback === null && l.objective! > 0 && l.objective! < l.objectiveRtn!));
      assert(report.layers.some((l) => l.weak.length > 0));
      assert.deepEqual(JSON.parse(await Deno.readTextFile(join(out, "report.json"))), report);

      await saveFolder(out, join(folder, "hf"));
      for (const spec of [out, join(folder, "hf")]) {
        const files = await resolveModel(spec), reopened = await openLanguageModel(files);
        const windows = await openWindows(join(folder, "evaluation.safetensors"), {
          tokenizer: null,
          samples: 6,
          seqLen: 40,
          seed: 0,
          purpose: "evaluation",
        });
        assert.equal((await perplexity(reopened, windows)).perplexity, report.ppl.quantized, spec);
        files.source.close();
      }
      const stored = openSafetensors(join(folder, "hf", "model.safetensors"));
      const original = (await openExperiment(makeRecipe({ ...recipe, model }))).files.source;
      assert.deepEqual([...stored.tensors.keys()].sort(), [...original.tensors.keys()].sort());
      const embedding = [...original.tensors.keys()].find((n) => n.includes("embed"))!;
      assert.deepEqual((await stored.read(embedding)).data, (await original.read(embedding)).data);
    }));
}

Deno.test("runExperiment() reports the stored bits that the dry run foretold, for every kind of storage", () =>
  inFolder(async (folder, recipe) => {
    const model = join(models, "llama");
    const kinds: RecipeInput[] = [
      { method: "rtn", bits: 4 },
      { method: "optq", bits: 3, options: { groupSize: 16 } },
      { method: "owq", bits: 3.5, options: { groupSize: 16, actOrder: true, scaleBits: 16 } },
      { method: "owq", bits: 2, rank: 3 },
    ];
    for (const [i, kind] of kinds.entries()) {
      const r = makeRecipe({ ...recipe, ...kind, model }), out = join(folder, `run${i}`);
      const opened = await openExperiment(r), report = await runExperiment(r, { ...quick, out });
      opened.close();
      let bits = 0, weights = 0;
      for (const e of Deno.readDirSync(join(out, "blocks"))) {
        const file = openSafetensors(join(out, "blocks", e.name));
        for (const t of file.tensors.values()) {
          if (!t.name.endsWith(".group_of") || r.options.actOrder === true) bits += 8 * t.bytes;
        }
        file.close();
      }
      for (const p of opened.plan.blocks.flat()) weights += p.linear.out * p.linear.in;
      assertRelative(report.bits.stored, bits / weights, 1e-12, JSON.stringify(kind)); // to the last scale and index on disk
      assert.equal(report.bits.stored, opened.plan.stored.perWeight);
    }
  }));

Deno.test("runExperiment() leaves layers outside the pattern as they were, and true-sequential differs from all at once", () =>
  inFolder(async (folder, recipe) => {
    const model = join(models, "llama"),
      run = (name: string, o: RecipeInput) =>
        runExperiment(makeRecipe({ ...recipe, ...o, model }), { ...quick, out: join(folder, name) });
    const some = await run("some", { layers: "^1\\.mlp" });
    assert.deepEqual(some.layers.map((l) => l.name), ["1.mlp.gate_proj", "1.mlp.up_proj", "1.mlp.down_proj"]);
    const before = (await openExperiment(makeRecipe({ ...recipe, model }))).files.source;
    const after = (await resolveModel(join(folder, "some"))).source;
    for (const name of before.tensors.keys()) {
      const [was, is] = [(await before.read(name)).data, (await after.read(name)).data];
      const same = was.every((v, i) => v === is[i]);
      assert.equal(same, !/layers\.1\.mlp\..*weight/.test(name), name);
    }
    const all = await run("all", {}), sequential = await run("sequential", { trueSequential: true });
    assert.notEqual(all.ppl.quantized, sequential.ppl.quantized);
    const first = (r: typeof all) =>
      r.layers.filter((l) => /^0\.self_attn\.[qkv]/.test(l.name)).map((l) => l.objective);
    assert.deepEqual(first(all), first(sequential)); // nothing was quantized before them in either
    await assert.rejects(run("none", { layers: "nothing" }), /matches no linear.*0\.self_attn\.q_proj/);
  }));

Deno.test("runExperiment() keeps finished blocks when it is stopped, and goes on from them", () =>
  inFolder(async (folder, recipe) => {
    const r = makeRecipe({ ...recipe, model: join(models, "qwen2") }), stop = new AbortController();
    const whole = await runExperiment(r, { ...quick, out: join(folder, "whole") });
    let layers = 0;
    const onLayer = () => void (++layers === 8 && stop.abort()); // within the second block
    const out = join(folder, "broken");
    await assert.rejects(runExperiment(r, { ...quick, out, signal: stop.signal, onLayer }), { name: "AbortError" });
    await assert.rejects(resolveModel(out).then((f) => f.source.read("lm_head.weight")), LabError); // half a run is no model
    await assert.rejects(runExperiment(r, { ...quick, out }), /holds a run already/);
    layers = 0;
    const resumed = await runExperiment(r, { ...quick, out, resume: true, onLayer: () => void layers++ });
    assert.equal(layers, 7);
    assert.deepEqual(resumed.ppl, whole.ppl);
    assert.deepEqual(resumed.layers, whole.layers);
    const other = makeRecipe({ ...recipe, model: join(models, "qwen2"), options: { damp: 0.5 } });
    await assert.rejects(runExperiment(other, { ...quick, out, resume: true }), /recipe.*this run has/);
  }));

Deno.test("compare() runs a case once and knows when something changed", () =>
  inFolder(async (folder, recipe) => {
    const common = { ...recipe, model: join(models, "llama") }, started: string[] = [];
    const cases = [{ label: "RTN 3", method: "rtn", bits: 3 }, { label: "OWQ 3.5", method: "owq", bits: 3.5 }];
    const o = { ...quick, folder: join(folder, "runs"), onLine: (l: string) => void started.push(l) };
    const rows = await compare(common, cases, o), work = started.length;
    assert(work > 0);
    assert.deepEqual(await compare(common, cases, o), rows);
    assert.equal(started.length, work, "a finished case ran again");
    await compare({ ...common, seed: 1 }, cases.slice(1), o);
    assert(started.length > work, "another seed did not run");
  }));

Deno.test("openExperiment() says in a sentence what does not fit", () =>
  inFolder(async (_folder, recipe) => {
    const open = (o: RecipeInput) => openExperiment(makeRecipe({ ...recipe, model: join(models, "llama"), ...o }));
    const refuses = (o: RecipeInput, pattern: RegExp) =>
      assert.rejects(open(o), (e) => e instanceof LabError && pattern.test(e.message));
    await refuses({ model: "no-such-model" }, /no-such-model/);
    await refuses({ rank: 999 }, /999 does not fit/);
    await refuses({ calibration: { text: "moby-dick", samples: 4, seqLen: 40 } }, /tokenizer/);
    await refuses({ calibration: { text: "/no/such/file.txt", samples: 4, seqLen: 40 } }, /file\.txt/);
  }));
