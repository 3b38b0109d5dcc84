// Tuned values on disk: what a tuning leaves untouched, swapping tasks on one base, merging, resuming, refusing.
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sha256File } from "../../lib/io/digest.ts";
import { LabError } from "../../lib/io/errors.ts";
import type { ModelFiles } from "../../lib/io/open_model.ts";
import { rng } from "../../lib/io/rng.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { runExperiment } from "../../lib/lab/experiment.ts";
import { resolveModel } from "../../lib/lab/open.ts";
import { makeRecipe, type RecipeInput } from "../../lib/lab/recipe.ts";
import { trainableOf, tuneModel, type TuneOptions } from "../../lib/lab/tune_run.ts";
import { baseFingerprint, mergeTuned, openTuned, withTuned } from "../../lib/lab/tuned.ts";
import { swapTasks } from "../../lib/lab/tune_study.ts";
import { openTuneTexts, questionWindows } from "../../lib/lab/tune_text.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { tuneRecipe } from "../../lib/model/tune.ts";
import { type TuneText, windowsOfTokens } from "../../lib/model/tune_text.ts";
import { assertRelative } from "../assert.ts";

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads
const models = fileURLToPath(new URL("../../fixtures/golden/models", import.meta.url));
const RECIPE = tuneRecipe({ steps: 4, batch: 2, learningRate: 5e-3, warmup: 1, seed: 1 });
const isError = (kind: string, says: RegExp) => (e: unknown) =>
  e instanceof LabError && e.kind === kind && says.test(e.message);

/** A text of a task of its own: each token follows from the one before. */
function task(step: number): TuneText {
  const random = rng(step, "task"), ids = new Int32Array(120);
  for (let i = 1; i < ids.length; i++) ids[i] = (step * ids[i - 1] + 1 + random.int(2)) % 128;
  return windowsOfTokens(ids, 12, `task ${step}`);
}

const root = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(root, { recursive: true }));

/** A packed tiny model. */
async function packed(name: string, recipe: RecipeInput = {}): Promise<ModelFiles> {
  const stream = rng(3, "tokens"), path = join(root, "text.safetensors"), out = join(root, name);
  const data = Int32Array.from({ length: 4 * 24 }, () => stream.int(128));
  await writeSafetensors(path, [{ name: "input_ids", dtype: "I32", shape: [4, 24], data }]);
  const text = { text: path, samples: 4, seqLen: 24 },
    common = { calibration: text, evaluation: text, model: join(models, "llama") };
  await runExperiment(makeRecipe({ method: "owq", bits: 3, rank: 2, ...common, ...recipe }), {
    device: "cpu",
    out,
    skipFloat: true,
  });
  return await resolveModel(out);
}

const base = packed("base");

async function tune(files: ModelFiles, o: Partial<TuneOptions> & { out: string }) {
  const train = o.train ?? task(3);
  return await tuneModel({
    files,
    way: { method: "wct" },
    recipe: RECIPE,
    train,
    heldOut: train,
    task: "task 3",
    ...o,
  });
}

/** Mean nats a token of a model as anyone would open it. */
async function lossOf(files: ModelFiles, text: TuneText): Promise<number> {
  const model = await openLanguageModel(files), { meanNll } = await perplexity(model, text);
  model.close();
  return meanNll;
}

async function hashes(folder: string): Promise<Record<string, string>> {
  const out: Record<string, string> = {};
  for (
    const name of ["rest.safetensors", "owq_lab.json", "blocks/block-000.safetensors", "blocks/block-001.safetensors"]
  ) {
    out[name] = await sha256File(join(folder, name));
  }
  return out;
}

Deno.test(
  "tuneModel() leaves its base as it was; merged, only the weak columns differ, and the loss is the same",
  options,
  async () => {
    const files = await base, before = await hashes(files.folder!), out = join(root, "t1"), merged = join(root, "m1");
    const report = await tune(files, { out }), tuned = await openTuned(join(out, "tuned.safetensors"), files);
    assert.ok(report.heldOut!.stored < report.heldOut!.base - 0.05, JSON.stringify(report.heldOut));
    assert.deepEqual(await hashes(files.folder!), before);
    await mergeTuned(files, tuned, merged);
    let changed = 0;
    for (const name of Object.keys(before).filter((n) => n.endsWith(".safetensors"))) {
      const a = openSafetensors(join(files.folder!, name)), b = openSafetensors(join(merged, name));
      assert.deepEqual([...a.tensors.keys()], [...b.tensors.keys()]);
      for (const tensor of a.tensors.keys()) {
        const same = (await a.readBytes(tensor)).toString() === (await b.readBytes(tensor)).toString();
        assert.equal(same, !tensor.endsWith(".weak"), tensor);
        changed += same ? 0 : 1;
      }
      a.close();
      b.close();
    }
    assert.equal(changed, 14);
    const there = await resolveModel(merged), loss = await lossOf(there, task(3));
    assert.equal(loss, await lossOf(withTuned(files, tuned), task(3)));
    assertRelative(loss, report.heldOut!.stored, 1e-5, "the loss as anyone measures it");
    assert.equal(await baseFingerprint(there, "wct"), await baseFingerprint(files, "wct"));
    assert.notEqual(await baseFingerprint(there, "lora"), await baseFingerprint(files, "lora"));
    await assert.rejects(mergeTuned(files, tuned, merged), isError("storage", /holds a packed model already/));
  },
);

Deno.test("withTuned() serves two tasks from one base by swapping columns", options, async () => {
  const files = await base, tasks = [task(3), task(5)];
  const views = await Promise.all(tasks.map(async (train, i) => {
    const out = join(root, `swap${i}`);
    await tune(files, { out, train, heldOut: null, task: `task ${i}` });
    return withTuned(files, await openTuned(join(out, "tuned.safetensors"), files));
  }));
  const losses: number[][] = [];
  for (const view of [...views, files, views[0]]) {
    losses.push([await lossOf(view, tasks[0]), await lossOf(view, tasks[1])]);
  }
  const [own0, own1, plain, again] = losses;
  const folders = { a: join(root, "swap0"), b: join(root, "swap1") }, served = await swapTasks(files, folders, tasks);
  for (const [i, expected] of [plain, own0, own1].entries()) {
    served[i].perplexities.forEach((p, k) =>
      assertRelative(Math.log(p), expected[k], 1e-5, `${served[i].label}, text ${k}`)
    );
  }
  assert.ok(own0[0] < plain[0] - 0.05 && own0[0] < own1[0] - 0.05, `task 0: ${losses.map((l) => l[0])}`);
  assert.ok(own1[1] < plain[1] - 0.05 && own1[1] < own0[1] - 0.05, `task 1: ${losses.map((l) => l[1])}`);
  assert.deepEqual(again, own0);
});

for (const way of [{ method: "lora", rank: 3, alpha: 6 }, { method: "full" }] as const) {
  Deno.test(
    `withTuned() gives the loss that ${way.method} training measured; it is not merged into codes`,
    options,
    async () => {
      const files = await base, out = join(root, way.method), report = await tune(files, { out, way });
      const tuned = await openTuned(join(out, "tuned.safetensors"), files);
      assert.ok(report.heldOut!.stored < report.heldOut!.base - 0.05, JSON.stringify(report.heldOut));
      assertRelative(await lossOf(withTuned(files, tuned), task(3)), report.heldOut!.stored, 1e-5, "loss");
      assert.equal(tuned.values, report.cost.values);
      await assert.rejects(mergeTuned(files, tuned, join(root, "no")), isError("input", /no place in packed codes/));
    },
  );
}

Deno.test("weak columns of a method that stores lists are tuned and merged too", options, async () => {
  const files = await packed("hqq", { method: "hqq", bits: 4.9, rank: null, options: { weak: 2 } }),
    out = join(root, "t-hqq");
  const report = await tune(files, { out }), tuned = await openTuned(join(out, "tuned.safetensors"), files);
  assert.ok(report.heldOut!.stored < report.heldOut!.base - 0.02, JSON.stringify(report.heldOut));
  await mergeTuned(files, tuned, join(root, "m-hqq"));
  assert.equal(
    await lossOf(await resolveModel(join(root, "m-hqq")), task(3)),
    await lossOf(withTuned(files, tuned), task(3)),
  );
});

Deno.test("tuneModel() stopped and resumed writes the same bytes as one that went through", options, async () => {
  const files = await base, [a, b] = [join(root, "through"), join(root, "stopped")], stop = new AbortController();
  const through = await tune(files, { out: a });
  await assert.rejects(tune(files, { out: b, signal: stop.signal, onPoint: (p) => p.step === 2 && stop.abort() }), {
    name: "AbortError",
  });
  await assert.rejects(tune(files, { out: b }), isError("resume", /holds a tuning already.*--resume/));
  const report = await tune(files, { out: b, resume: true });
  assert.equal(await sha256File(join(b, "tuned.safetensors")), await sha256File(join(a, "tuned.safetensors")));
  const numbers = (r: typeof report) => r.curve.map(({ seconds: _, ...p }) => p);
  assert.deepEqual(numbers(report), numbers(through));
});

Deno.test("openTuned() and a checkpoint refuse another base, naming both", options, async () => {
  const files = await base, other = await packed("other", { bits: 4 }), out = join(root, "bound");
  await tune(files, { out });
  const both = /base "\S+ owq 3" \([0-9a-f]{12}\), this one is "\S+ owq 4" \([0-9a-f]{12}\)/;
  await assert.rejects(openTuned(join(out, "tuned.safetensors"), other), isError("resume", both));
  await assert.rejects(tune(other, { out, resume: true }), isError("resume", both));
  await assert.rejects(
    openTuned(join(files.folder!, "rest.safetensors"), files),
    isError("format", /no file of tuned values/),
  );
});

Deno.test("trainableOf() says which base a rank needs", async () => {
  const files = await base;
  await assert.rejects(
    trainableOf(files, { method: "wct" }, 4),
    isError("input", /4 columns were asked for, \S+ of this base has 2.*--rank 4/),
  );
  await assert.rejects(
    trainableOf(files, { method: "wct" }, 4000),
    isError("input", /4000 is more than the \d+ columns of/),
  );
  const plain = await resolveModel(join(models, "llama"));
  await assert.rejects(trainableOf(plain, { method: "wct" }), isError("input", /is no packed model.*owq quantize/));
});

Deno.test("questionWindows() asks for the answer and its end alone; openTuneTexts() reads them from lines of JSON", async () => {
  const encode = (t: string) => [...new TextEncoder().encode(t)];
  const tokenizer = { encode, decode: () => "", vocabSize: 256, bosId: null, eosId: 0 };
  const t = questionWindows([{ prompt: "2+2=", answer: "4" }], tokenizer, 8, "sums");
  assert.deepEqual([[...t.ids], [...t.mask!]], [[...encode("2+2=4"), 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0]]);
  const files = await base,
    path = join(root, "items.jsonl"),
    with_ = { ...files, tokenizer: () => Promise.resolve(tokenizer) };
  await Deno.writeTextFile(
    path,
    Array.from({ length: 20 }, (_, i) => JSON.stringify({ prompt: `${i}+1=`, answer: `${i + 1}` })).join("\n"),
  );
  const { train, heldOut } = await openTuneTexts(with_, { data: path, length: 10, seed: 0 });
  assert.deepEqual([train.windows, heldOut?.windows, heldOut?.mask?.slice(0, 7).join("")], [18, 2, "0000011"]);
  await Deno.writeTextFile(path, '{"prompt": 3}');
  await assert.rejects(
    openTuneTexts(with_, { data: path, length: 10, seed: 0 }),
    isError("format", /items.jsonl, line 1: is no/),
  );
});
