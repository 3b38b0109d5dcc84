import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { continuationLogLikelihoods } from "../../lib/model/likelihood.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { assertRelative, assertWithin } from "../assert.ts";
import { randomIds, tinyModel } from "./tiny.ts";

const expected = openSafetensors(
  new URL("../../fixtures/golden/models/llama/expected.safetensors", import.meta.url).pathname,
);

Deno.test("perplexity() is the exponential of the mean of transformers' likelihoods", async () => {
  const model = await openLanguageModel(tinyModel("llama")),
    ids = Int32Array.from((await expected.read("input_ids")).data);
  const steps: number[] = [];
  const r = await perplexity(model, { ids, windows: 2, length: 48 }, {
    onProgress: (p) => steps.push(p.done / p.total),
  });
  const nll = (await expected.read("nll")).data;
  assertWithin(r.nll, nll, 1e-5);
  assertRelative(r.perplexity, Math.exp(nll.reduce((a, b) => a + b) / nll.length), 1e-5);
  assert.deepEqual([r.tokens, r.windows, r.length, r.unit], [94, 2, 48, "token"]);
  assert.equal(steps.at(-1), 1);
  assert.ok(steps.every((s, i) => i === 0 || s >= steps[i - 1]), `progress goes back: ${steps}`);
  model.close();
});

Deno.test("perplexity() takes other weights where it is given some", async () => {
  const model = await openLanguageModel(tinyModel("llama")), text = { ids: randomIds(32, 128), windows: 1, length: 32 };
  const plain = await perplexity(model, text), asked: string[] = [];
  const other = await perplexity(model, text, {
    weights: (block, linear) => {
      asked.push(`${block}.${linear}`);
      return Promise.resolve(
        linear === "mlp.down_proj" ? { data: new Float32Array(64 * 160), rows: 64, cols: 160 } : null,
      );
    },
  });
  assert.ok(Math.abs(plain.meanNll - other.meanNll) > 1e-4);
  assert.equal(asked.length, 14);
  model.close();
});

Deno.test("perplexity() refuses a text of nothing", async () => {
  const model = await openLanguageModel(tinyModel("llama"));
  await assert.rejects(perplexity(model, { ids: new Int32Array(1), windows: 1, length: 1 }), LabError);
  model.close();
});

Deno.test("continuationLogLikelihoods() sums the likelihoods of the continuation's tokens, whatever its length", async () => {
  const model = await openLanguageModel(tinyModel("falcon")), ids = [...randomIds(40, 128)];
  const requests = [[5, 3], [5, 30], [1, 1], [31, 2]].map(([c, n]) => ({
    context: ids.slice(0, c),
    continuation: ids.slice(c, c + n),
  }));
  const whole = await perplexity(model, { ids: Int32Array.from(ids), windows: 1, length: 40 });
  const sum = (from: number, to: number) => -whole.nll.slice(from - 1, to - 1).reduce((a, b) => a + b, 0);
  const scores = await continuationLogLikelihoods(model, requests);
  assertWithin(scores.map((s) => s.logLikelihood), [sum(5, 8), sum(5, 35), sum(1, 2), sum(31, 33)], 1e-4);
  assert.deepEqual(scores.map((s) => s.tokens), [3, 30, 1, 2]);
  await assert.rejects(
    continuationLogLikelihoods(model, [{ context: [], continuation: [1] }]),
    /continuation 0: needs/,
  );
  model.close();
});
