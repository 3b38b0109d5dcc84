import assert from "node:assert/strict";
import { openGpu } from "../../lib/gpu/device.ts";
import { LabError } from "../../lib/io/errors.ts";
import { openModel } from "../../lib/io/open_model.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { familyNames } from "../../lib/model/families.ts";
import { continueText, likeliest } from "../../lib/model/generate.ts";
import { type ModelInput, openLanguageModel } from "../../lib/model/language_model.ts";
import { openPackedRuntime, type RuntimeOptions } from "../../lib/model/packed_runtime.ts";
import { blockPrefix } from "../../lib/model/parameters.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { toPackedMatrix } from "../../lib/quant/packed_matrix.ts";
import { NO_REPORT, type QuantizedLayer } from "../../lib/quant/layer.ts";
import { assertRelative, assertWithin, maxDifference } from "../assert.ts";
import { adapter, gpuTest } from "../gpu/gpu_test_helper.ts";
import { type QuantizedTiny, quantizeTiny } from "./quantized_tiny.ts";
import { randomIds, randomModel, tinyModel } from "./tiny.ts";
import type { Gpu } from "../../lib/gpu/device.ts";

/** What float32 in another order may do to a logit of these models, whose logits reach about 4. */
const LOGIT_BOUND = 2e-5;

/**
 * Greedy text of both paths: logits within the bound and the same likeliest token each time, unless the jax path's two best
 * logits lie closer than both bounds together; that is said, and the text up to there must have `least` tokens.
 */
async function sameText(gpu: Gpu, files: ModelInput, q: QuantizedTiny, o: Partial<RuntimeOptions>, least: number) {
  const prompt = [...randomIds(9, 128, 11)], tokens = 64, capacity = prompt.length + tokens;
  const runtime = await openPackedRuntime(gpu, files, { capacity, linears: q.stored, ...o });
  const model = await openLanguageModel(files);
  const decoder = await model.openDecoder({
    capacity,
    prepare: async (block) => {
      for (const l of model.linears(block.index)) block.setWeight(l.name, (await q.weights(block.index, l.name))!);
    },
  });
  let ours = await runtime.append(prompt), theirs = await decoder.append(prompt), same = 0;
  const taken: number[] = [];
  for (; same < tokens; same++) {
    assertWithin(ours, theirs, LOGIT_BOUND, `logits after ${same} tokens`);
    const next = likeliest(theirs);
    if (likeliest(ours) !== next) {
      const gap = theirs[next] - theirs[likeliest(ours)];
      assert.ok(gap <= 2 * LOGIT_BOUND, `another token after ${same}, though its logit is ${gap} less`);
      console.log(`a tie after ${same} tokens: the two best logits differ by ${gap}`);
      break;
    }
    taken.push(next);
    if (same + 1 < tokens) [ours, theirs] = [await runtime.append([next]), await decoder.append([next])];
  }
  assert.ok(same >= least, `${same} tokens are the same`);
  runtime.restart(); // on its own, with tokens chosen on the device
  assert.deepEqual((await continueText(runtime, prompt, { tokens })).slice(0, same), taken);
  const text = { ids: randomIds(3 * 40, 128, 12), windows: 3, length: 40 };
  const score = await runtime.score(text), want = await perplexity(model, text, { weights: q.weights });
  assertRelative(score.meanNll, want.meanNll, 1e-4, "mean nll");
  assertWithin(score.nll, want.nll, (i) => 1e-4 * want.nll[i], "nll");
  runtime.close();
  decoder.close();
  model.close();
}

for (const family of familyNames()) {
  gpuTest(
    `${family} writes and scores from packed weights as dequantized: weak columns, groups, act-order`,
    async (gpu) => {
      const files = tinyModel(family), grouped = { bits: 4, groupSize: 16, actOrder: true };
      const q = await quantizeTiny(files, [{ bits: 3 }, grouped], 3), layers = [...q.layers.values()];
      assert.ok(layers.every((l) => l.weakIds.length === 3));
      assert.ok(layers.some((l) => l.bits === 3 && l.groupSize === 0) && layers.some((l) => l.groupOf !== null));
      await sameText(gpu, files, q, {}, 64);
    },
  );
}

gpuTest("falcon and mistral write the same text by the kernels for GPUs, split linears and all", async (gpu) => {
  for (const family of ["falcon", "mistral"]) {
    const files = tinyModel(family), q = await quantizeTiny(files, [{ bits: 3 }, { bits: 4, groupSize: 16 }], 2);
    await sameText(gpu, files, q, { form: "group", variant: "split" }, 64);
  }
});

const folder = new URL("../../fixtures/golden/variants/", import.meta.url).pathname;
gpuTest("every variant of a family scores on the device as transformers does", async (gpu) => {
  for (const { name } of [...Deno.readDirSync(folder)].filter((e) => e.isDirectory)) {
    const files = randomModel(JSON.parse(Deno.readTextFileSync(`${folder}${name}/config.json`)));
    const expected = openSafetensors(`${folder}${name}/expected.safetensors`);
    const ids = await expected.read("input_ids"), nll = await expected.read("nll"), [windows, length] = ids.shape;
    for (const form of ["lanes", "group"] as const) {
      const runtime = await openPackedRuntime(gpu, files, { capacity: length, form });
      const r = await runtime.score({ ids: Int32Array.from(ids.data), windows, length });
      assertWithin(r.nll, nll.data, 2e-5, `${name}, ${form}`);
      runtime.close();
    }
    expected.close();
  }
});

/** Rounded to the nearest of 8 levels a row; for a model whose calibration would take too long here. */
function rounded(name: string, w: { data: Float32Array; rows: number; cols: number }): QuantizedLayer {
  const { rows, cols } = w, codes = new Uint8Array(rows * cols), scale = new Float32Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = w.data.subarray(r * cols, (r + 1) * cols);
    scale[r] = row.reduce((m, x) => Math.max(m, Math.abs(x)), 0) / 3.5;
    row.forEach((x, j) => codes[r * cols + j] = Math.max(0, Math.min(7, Math.round(x / scale[r]) + 4)));
  }
  const none = { groupOf: null, weakIds: new Int32Array(0), weak: new Float32Array(0), report: NO_REPORT };
  const zero = new Float32Array(rows).fill(4);
  return { name, method: "rtn", rows, cols, bits: 3, groupSize: 0, codes, scale, zero, scaleBits: 32, ...none };
}

gpuTest("the embedded model writes from packed weights what it writes dequantized", async (gpu) => {
  const files = await openModel("fixture"), model = await openLanguageModel(files), { config } = model;
  const layers = new Map<string, QuantizedLayer>();
  for (let b = 0; b < model.blocks; b++) {
    const block = await model.openBlock(b);
    for (const l of model.linears(b)) {
      const name = `${blockPrefix(config, b)}${l.name}`;
      layers.set(name, rounded(name, block.weight(l.name)));
    }
    block.close();
  }
  const runtime = await openPackedRuntime(gpu, files, {
    capacity: 80,
    linears: (tensor) => Promise.resolve(toPackedMatrix(layers.get(tensor)!)),
  });
  const decoder = await model.openDecoder({
    capacity: 80,
    prepare: (block) => {
      for (const l of model.linears(block.index)) {
        block.setWeight(l.name, dequantize(layers.get(`${blockPrefix(config, block.index)}${l.name}`)!));
      }
      return Promise.resolve();
    },
  });
  const prompt = (await files.tokenizer())!.encode("The whale rose slowly");
  const ours = await continueText(runtime, prompt, { tokens: 64 });
  assert.deepEqual(ours, await continueText(decoder, prompt, { tokens: 64 }));
  assert.ok(
    runtime.bytes.linears < 3.6 / 32 * 4 * config.linears.reduce((n, l) => n + l.in * l.out, 0) * config.blocks,
  );
  assert.equal(runtime.linears.dense, 0);
  // Four linears and six dispatches around them; a linear for software drivers first lays x out (wgsl/matvec_lane.wgsl).
  assert.ok(runtime.dispatches.block <= (gpu.software ? 14 : 10), `${runtime.dispatches.block} dispatches a block`);
  runtime.close();
  decoder.close();
  model.close();
  files.source.close();
});

gpuTest(
  "append() gives the same bits again after restart(), and the same logits in chunks of any size",
  async (gpu) => {
    const files = tinyModel("llama"), ids = [...randomIds(113, 128)];
    let whole: Float32Array | null = null;
    for (const chunk of [1, 4, 8, 110]) {
      const runtime = await openPackedRuntime(gpu, files, { capacity: 115, chunk });
      const logits = await runtime.append(ids);
      runtime.restart();
      const [first, second] = [await runtime.append(ids.slice(0, 13)), await runtime.append(ids.slice(13))];
      assertWithin(second, logits, LOGIT_BOUND);
      assert.ok(maxDifference(first, logits).value > 1e-3);
      runtime.restart();
      assert.deepEqual(await runtime.append(ids), logits);
      assertWithin(logits, whole ??= logits, LOGIT_BOUND, `chunks of ${chunk}`);
      runtime.close();
    }
  },
);

gpuTest("write() chooses what append() would, stops after a stop token and goes on from there", async (gpu) => {
  const runtime = await openPackedRuntime(gpu, tinyModel("qwen2"), { capacity: 40 }), prompt = [5, 6, 7];
  const text = [likeliest(await runtime.append(prompt))];
  while (text.length < 20) text.push(likeliest(await runtime.append([text[text.length - 1]])));
  runtime.restart();
  assert.equal(likeliest(await runtime.append(prompt)), text[0]);
  const first = await runtime.write(text[0], 3, []), next = text.slice(1 + first.length);
  assert.deepEqual(first, text.slice(1, 1 + first.length));
  assert.equal(runtime.position, 3 + first.length);
  const end = next.find((t, i) => i > 0 && next.indexOf(t) === i)!, at = next.indexOf(end);
  let more: number[] = [];
  while (more[more.length - 1] !== end) {
    more = more.concat(await runtime.write(more[more.length - 1] ?? first[first.length - 1], 15, [end]));
  }
  assert.deepEqual(more, next.slice(0, at + 1));
  assert.equal(runtime.position, 3 + first.length + more.length, "what was read beyond the stop token is forgotten");
  assert.equal(likeliest(await runtime.append([end])), next[at + 1]);
  await assert.rejects(runtime.write(1, 40, []), refused(/40 tokens after \d+, it was opened for 40/));
  runtime.close();
});

gpuTest("write() says so when logits are not finite", async (gpu) => {
  const files = randomModel(tinyModel("llama").config);
  files.tensors.get("model.norm.weight")!.data.fill(3e38);
  const runtime = await openPackedRuntime(gpu, files, { capacity: 8 });
  await assert.rejects(runtime.append([1]), refused(/gives (NaN|-?Infinity) at/));
  await assert.rejects(runtime.write(1, 2, []), refused(/logits that are not finite/));
  runtime.close();
});

gpuTest("a vocabulary beyond one buffer is embedded and scored in parts", async (gpu) => {
  const files = tinyModel("mistral"), model = await openLanguageModel(files), q = await quantizeTiny(files, [{}], 1);
  const runtime = await openPackedRuntime(gpu, files, { capacity: 30, linears: q.stored });
  assert.ok(runtime.dispatches.token > runtime.dispatches.block * 2 + 3, "the head lies in parts");
  const text = { ids: randomIds(60, 128, 2), windows: 2, length: 30 };
  const want = await perplexity(model, text, { weights: q.weights });
  assertWithin((await runtime.score(text)).nll, want.nll, 2e-5);
  const prompt = [...text.ids.subarray(0, 30)], logits = await runtime.append(prompt);
  assert.equal(logits.length, 128);
  runtime.close();
  model.close();
}, { maxBytes: 20000 });

function refused(pattern: RegExp): (e: unknown) => boolean {
  return (e) => e instanceof LabError && pattern.test(e.message);
}

gpuTest("the runtime refuses in words what does not fit", async (gpu) => {
  const files = tinyModel("llama");
  await assert.rejects(openPackedRuntime(gpu, files, { capacity: 129 }), refused(/129 tokens, it knows 128 positions/));
  await assert.rejects(openPackedRuntime(gpu, files, { capacity: 0 }), refused(/a text of 0 tokens/));
  const runtime = await openPackedRuntime(gpu, files, { capacity: 5 });
  await assert.rejects(runtime.append([1, 2, 3, 4, 5, 6]), refused(/6 tokens after 0, it was opened for 5/));
  await assert.rejects(runtime.append([]), refused(/0 tokens after 0/));
  await assert.rejects(runtime.append([1, 128]), refused(/token id 128 at 1, the vocabulary has 128/));
  const long = { ids: new Int32Array(6), windows: 1, length: 6 };
  await assert.rejects(runtime.score(long), refused(/windows of 6 tokens, it was opened for 5/));
  await assert.rejects(runtime.score({ ...long, length: 1 }), refused(/1 windows of 1 tokens/));
  runtime.close();
});

gpuTest("a cache beyond the largest buffer ends in a sentence", async (gpu) => {
  const files = tinyModel("bloom"), opening = openPackedRuntime(gpu, files, { capacity: 5000, chunk: 1 });
  await assert.rejects(opening, refused(/5000 positions.*do not fit a texture/));
}, { maxBytes: 2 ** 17 });

Deno.test({
  name: "a device that is lost in the middle of a text ends in a sentence",
  ignore: adapter === null,
  fn: async () => {
    const gpu = (await openGpu())!, runtime = await openPackedRuntime(gpu, tinyModel("qwen2"), { capacity: 16 });
    await runtime.append([1, 2, 3]);
    gpu.device.destroy();
    await assert.rejects(runtime.append([4]), refused(/device was lost/));
    gpu.close();
  },
});
