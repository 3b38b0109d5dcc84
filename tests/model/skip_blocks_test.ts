import assert from "node:assert/strict";
import { contrastText } from "../../lib/model/contrast_text.ts";
import { SCORING } from "../../lib/model/contrast.ts";
import { generate } from "../../lib/model/generate.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { continuationLogLikelihoods, contrastLogLikelihoods } from "../../lib/model/likelihood.ts";
import { logSoftmax } from "../../lib/model/log_softmax.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { withoutBlocks } from "../../lib/model/skip_blocks.ts";
import { assertWithin } from "../assert.ts";
import { randomIds, smallLlama } from "./tiny.ts";

const input = smallLlama(4);
// Block 2 adds nothing to the stream: without it the model must be what it was.
for (const name of ["self_attn.o_proj", "mlp.down_proj"]) {
  input.tensors.get(`model.layers.2.${name}.weight`)!.data.fill(0);
}
const model = await openLanguageModel(input), ids = randomIds(40, 64), window = { ids, windows: 1, length: 40 };
const prompt = [...ids.slice(0, 6)];

/** Texts by both ways of decoding. */
async function decoded(skip: number[], o: { plausibility?: number; expert?: number; amateur?: number }) {
  const expert = await model.openDecoder({ capacity: 32 });
  const amateur = await withoutBlocks(model, skip).openDecoder({ capacity: 32 });
  try {
    return await contrastText(expert, amateur, prompt, { tokens: 12, ...o });
  } finally {
    expert.close();
    amateur.close();
  }
}

Deno.test("withoutBlocks() of none is the model bit for bit, of a block that adds nothing too, of another one not", async () => {
  const whole = (await perplexity(model, window)).nll;
  assert.deepEqual((await perplexity(withoutBlocks(model, []), window)).nll, whole);
  assert.deepEqual((await perplexity(withoutBlocks(model, [2]), window)).nll, whole);
  const other = (await perplexity(withoutBlocks(model, [1, 2]), window)).nll;
  assert(other.some((v, i) => Math.abs(v - whole[i]) > 1e-2));
  // weights given for a skipped block are never asked for
  const asked: number[] = [];
  const weights = (b: number) => {
    asked.push(b);
    return Promise.resolve(null);
  };
  await perplexity(withoutBlocks(model, [1]), window, { weights });
  assert.deepEqual([...new Set(asked)], [0, 2, 3]);
});

Deno.test("withoutBlocks() writes with keys and values what it scores whole", async () => {
  const amateur = withoutBlocks(model, [1]), written = await generate(amateur, prompt, { tokens: 8 });
  const [score] = await continuationLogLikelihoods(amateur, [{ context: prompt, continuation: written }], {
    greedy: true,
  });
  assert.equal(score.greedy, true);
});

Deno.test("withoutBlocks() refuses all blocks, and blocks that are not there", () => {
  assert.throws(() => withoutBlocks(model, [0, 1, 2, 3]), /no block would be left/);
  assert.throws(() => withoutBlocks(model, [4]), /no block 4 to skip/);
});

Deno.test("contrastText() at α = 1 is greedy decoding exactly, against itself too where the amateur has no weight", async () => {
  const greedy = await generate(model, prompt, { tokens: 12 });
  assert.deepEqual(await decoded([1], { plausibility: 1 }), greedy);
  assert.deepEqual(await decoded([1], { plausibility: 0.01, amateur: 0 }), greedy);
  assert.deepEqual(await decoded([], { plausibility: 0.01, expert: 2, amateur: 1 }), greedy); // 2p − p
  assert.notDeepEqual(await decoded([0, 1], { plausibility: 0.001 }), greedy);
});

Deno.test("contrastLogLikelihoods() sums the contrast at each token, and writes what contrastText() writes", async () => {
  const options = { plausibility: 0.01, expert: 1, amateur: 1 }, text = await decoded([1], options);
  const requests = [text, [...ids.slice(20, 25)], [...ids.slice(25, 26)]].map((continuation) => ({
    context: prompt,
    continuation,
  }));
  const amateur = withoutBlocks(model, [1]), contrast = { ...options, normalize: true, outside: -1000 };
  const scores = await contrastLogLikelihoods(model, amateur, requests, { contrast });
  assert.equal(scores[0].greedy, true);
  assert.deepEqual(scores.map((s) => s.tokens), [12, 5, 1]);
  // open set, no weight on the amateur: plain likelihoods
  const plain = await continuationLogLikelihoods(model, requests, { greedy: true });
  const open = await contrastLogLikelihoods(model, amateur, requests, { contrast: { plausibility: 0, amateur: 0 } });
  assertWithin(open.map((s) => s.logLikelihood), plain.map((s) => s.logLikelihood), 1e-4);
  assert.deepEqual(open.map((s) => s.greedy), plain.map((s) => s.greedy));
  // by hand for the one token
  const decoder = await model.openDecoder({ capacity: 16 }), other = await amateur.openDecoder({ capacity: 16 });
  const p = logSoftmax(await decoder.append(prompt)), q = logSoftmax(await other.append(prompt));
  const values = logSoftmax(p.map((v, i) => v - q[i])), id = ids[25];
  const expected = p[id] >= Math.max(...p) + Math.log(0.1) ? values[id] : SCORING.outside!;
  const [, , last] = await contrastLogLikelihoods(model, amateur, requests);
  assertWithin([last.logLikelihood], [expected], 1e-4);
  decoder.close();
  other.close();
});

Deno.test("an empty skip set as its own amateur changes no score where both weigh 2 and 1", async () => {
  const requests = [{ context: prompt, continuation: [...ids.slice(10, 14)] }];
  const o = { contrast: { plausibility: 0, expert: 2, amateur: 1 } };
  const [same] = await contrastLogLikelihoods(model, withoutBlocks(model, []), requests, o);
  const [plain] = await continuationLogLikelihoods(model, requests);
  assertWithin([same.logLikelihood], [plain.logLikelihood], 1e-4);
});
