import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { rng } from "../../lib/io/rng.ts";
import { familyNames } from "../../lib/model/families.ts";
import { continueText, drawToken, generate, likeliest } from "../../lib/model/generate.ts";
import { type LanguageModel, openLanguageModel } from "../../lib/model/language_model.ts";
import { assertWithin } from "../assert.ts";
import { randomIds, randomModel, tinyModel } from "./tiny.ts";

/** Logits after a text, without any cache. */
async function uncached(model: LanguageModel, ids: readonly number[]): Promise<Float32Array> {
  let h = await model.embed(Int32Array.from(ids), 1, ids.length);
  for (let i = 0; i < model.blocks; i++) {
    const block = await model.openBlock(i);
    h = await block.forward(h);
    block.close();
  }
  const all = await model.logits(h);
  return all.data.subarray((ids.length - 1) * all.cols);
}

for (const family of familyNames()) {
  Deno.test(`append() gives ${family} the logits of a pass without cache`, async () => {
    const model = await openLanguageModel(tinyModel(family));
    const decoder = await model.openDecoder({ capacity: 32 });
    const ids = [...randomIds(12, 128)];
    assertWithin(await decoder.append(ids.slice(0, 7)), await uncached(model, ids.slice(0, 7)), 1e-5);
    for (let n = 8; n <= 12; n++) {
      assertWithin(await decoder.append([ids[n - 1]]), await uncached(model, ids.slice(0, n)), 1e-5, `${n} tokens`);
    }
    decoder.close();
    model.close();
  });
}

Deno.test("append() sees no further back than a sliding window when it reads from the cache", async () => {
  const config = { ...tinyModel("mistral").config, sliding_window: 5 };
  const model = await openLanguageModel(randomModel(config)), decoder = await model.openDecoder({ capacity: 20 });
  const ids = [...randomIds(16, 128)];
  await decoder.append(ids.slice(0, 6));
  for (let n = 7; n <= 16; n++) {
    assertWithin(await decoder.append([ids[n - 1]]), await uncached(model, ids.slice(0, n)), 1e-4, `${n} tokens`);
  }
  decoder.close();
  model.close();
});

Deno.test("append() refuses more tokens than the cache holds", async () => {
  const model = await openLanguageModel(tinyModel("llama")), decoder = await model.openDecoder({ capacity: 4 });
  await decoder.append([1, 2, 3]);
  await assert.rejects(
    decoder.append([4, 5]),
    (e: LabError) => /2 tokens after 3, it was opened for 4/.test(e.message),
  );
  decoder.close();
  model.close();
});

Deno.test("generate() takes the likeliest token each time when the temperature is 0", async () => {
  const model = await openLanguageModel(tinyModel("llama")), prompt = [...randomIds(5, 128)];
  const text = await generate(model, prompt, { tokens: 6 });
  for (const [i, id] of text.entries()) {
    assert.equal(id, likeliest(await uncached(model, [...prompt, ...text.slice(0, i)])));
  }
  assert.equal(text.length, 6);
  assert.deepEqual(await generate(model, prompt, { tokens: 6, stop: text[2] }), text.slice(0, 2));
  model.close();
});

Deno.test("continueText() draws the same text again when the seed is the same", async () => {
  const model = await openLanguageModel(tinyModel("qwen2")), decoder = await model.openDecoder({ capacity: 32 });
  const write = async (seed: number) => {
    decoder.restart();
    return await continueText(decoder, [3, 1, 4], { tokens: 12, temperature: 1, seed });
  };
  const first = await write(1);
  assert.deepEqual(await write(1), first);
  assert.notDeepEqual(await write(2), first);
  decoder.close();
  model.close();
});

Deno.test("drawToken() draws by probability, and among the topP likeliest only", () => {
  const logits = [Math.log(0.5), Math.log(0.3), Math.log(0.15), Math.log(0.05)], random = rng(7, "test");
  const seen = [0, 0, 0, 0], nucleus = new Set<number>();
  for (let i = 0; i < 4000; i++) {
    seen[drawToken(logits, { temperature: 1 }, random)]++;
    nucleus.add(drawToken(logits, { temperature: 1, topP: 0.75 }, random));
  }
  assertWithin(seen.map((n) => n / 4000), [0.5, 0.3, 0.15, 0.05], 0.025);
  assert.deepEqual([...nucleus].sort(), [0, 1]);
});
