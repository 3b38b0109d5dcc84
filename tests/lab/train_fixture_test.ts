import assert from "node:assert/strict";
import { join } from "node:path";
import { book } from "../../lib/io/books.ts";
import { fromTokenizerJson } from "../../lib/io/text_tokenizer.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { fixtureReadme } from "../../lib/lab/fixture_readme.ts";
import { trainFixture, type TrainReport } from "../../lib/lab/train_fixture.ts";
import { FIXTURE_RECIPE } from "../../lib/model/fixture_recipe.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import type { TrainRecipe } from "../../lib/model/train.ts";
import { assertRelative } from "../assert.ts";

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads
const committed = new URL("../../fixtures/model/", import.meta.url).pathname;
const readJson = async (path: string) => JSON.parse(await Deno.readTextFile(path));

const TINY: TrainRecipe = {
  ...FIXTURE_RECIPE,
  config: {
    ...FIXTURE_RECIPE.config,
    vocab_size: 280,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 8,
    max_position_embeddings: 16,
  },
  tokensPerStep: 64,
  lengthBefore: 8,
  lengthInDecay: 16,
  steps: 90,
  warmup: 5,
  decay: 30,
  outlierStage: { step: 60, learningRate: 1e-3, warmup: 2, share: 0.1, factor: 16 },
};
const whale = book("moby-dick");
const TEXTS = [{ name: "whale", train: whale.train.slice(30_000, 60_000), heldOut: whale.heldOut.slice(0, 3000) }];

Deno.test(
  "trainFixture() ends with the same bits when it was stopped twice, and refuses another recipe",
  options,
  async () => {
    const root = await Deno.makeTempDir(), at = (name: string) => join(root, name);
    const straight = await trainFixture({ recipe: TINY, texts: TEXTS, out: at("a"), work: at("wa") });
    const o = { recipe: TINY, texts: TEXTS, out: at("b"), work: at("wb") };
    await trainFixture({ ...o, stop: 20 });
    await trainFixture({ ...o, stop: 80 });
    const resumed = await trainFixture(o);
    for (const name of ["model.safetensors", "tokenizer.json", "config.json"]) {
      assert.deepEqual(await Deno.readFile(join(at("b"), name)), await Deno.readFile(join(at("a"), name)), name);
    }
    const losses = (r: TrainReport) => r.curve.map((p) => [p.step, p.trainLoss, p.heldOutLoss]);
    assert.deepEqual(losses(resumed), losses(straight));
    assert.ok(straight.heldOut.perplexity < straight.heldOut.unigramPerplexity * 1.5);
    assert.match(
      await Deno.readTextFile(join(at("a"), "README.md")),
      /60 steps of 64 tokens[^]*30 steps with loud channels/,
    );
    await assert.rejects(() => trainFixture({ ...o, recipe: { ...TINY, seed: 2 } }), /made with seed 1, not 2/);
    await Deno.remove(root, { recursive: true });
  },
);

Deno.test("trainFixture() names the vocabulary when the text is too short for it", options, async () => {
  const root = await Deno.makeTempDir(), texts = [{ name: "short", train: "abc ".repeat(9), heldOut: "abc" }];
  await assert.rejects(
    () => trainFixture({ recipe: TINY, texts, out: join(root, "o"), work: join(root, "w") }),
    /training text: yields \d+ tokens, the recipe wants 280/,
  );
  await Deno.remove(root, { recursive: true });
});

Deno.test(
  "fixtures/model reaches the perplexity its papers state when the committed files are read",
  options,
  async () => {
    const report = await readJson(`${committed}training.json`) as TrainReport,
      source = openSafetensors(`${committed}model.safetensors`);
    const config = await readJson(`${committed}config.json`);
    const tokenizer = fromTokenizerJson(await readJson(`${committed}tokenizer.json`), {});
    const model = await openLanguageModel({ label: "fixture", config, source });
    const name = "moby-dick", stated = report.byText.find((t) => t.name === name)!, length = report.window;
    const all = tokenizer.encode(book(name).heldOut), windows = Math.floor(all.length / length);
    const measured = await perplexity(model, { ids: Int32Array.from(all.slice(0, windows * length)), windows, length });
    assert.equal(measured.tokens, stated.tokens);
    assertRelative(measured.perplexity, stated.perplexity, 1e-3, "perplexity");
    assert.ok(report.heldOut.unigramPerplexity / report.heldOut.perplexity > 5);
    const bytes = (await Deno.stat(`${committed}model.safetensors`)).size;
    assert.ok(bytes <= 6e6 && report.parameters >= 1e6 && report.parameters <= 4e6);
    model.close();
    source.close();
  },
);

Deno.test("fixtures/model is what the recipe says when its papers are compared with it", async () => {
  const report = await readJson(`${committed}training.json`) as TrainReport;
  assert.deepEqual(report.recipe, JSON.parse(JSON.stringify(FIXTURE_RECIPE)));
  assert.deepEqual(await readJson(`${committed}config.json`), report.recipe.config);
  assert.equal(report.steps, FIXTURE_RECIPE.steps);
  assert.equal(report.curve.at(-1)!.step, report.steps);
  assert.equal(await Deno.readTextFile(`${committed}README.md`), fixtureReadme(report));
});
