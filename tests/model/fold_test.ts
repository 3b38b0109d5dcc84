import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { foldScales } from "../../lib/model/fold.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { channelSize, smoothScale } from "../../lib/quant/smooth.ts";
import { maxDifference } from "../assert.ts";
import { randomIds, tinyModel } from "./tiny.ts";

async function logitsOf(files: Parameters<typeof openLanguageModel>[0], ids: Int32Array) {
  const model = await openLanguageModel(files);
  let h = await model.embed(ids, 1, ids.length);
  for (let b = 0; b < model.blocks; b++) {
    const block = await model.openBlock(b);
    h = await block.forward(h);
    block.close();
  }
  const { data } = await model.logits(h);
  model.close();
  return data;
}

for (const family of ["llama", "mistral", "qwen2", "opt", "bloom", "falcon"]) {
  Deno.test(`foldScales() leaves the logits of ${family} as they are, to 1e-4`, async () => {
    const files = { ...tinyModel(family), note: "" }, ids = randomIds(20, 128), stream = rng(1, "scales");
    const drawn: number[] = [];
    const folded = foldScales(files, () => {
      const s = Float32Array.from({ length: Number(files.config.hidden_size) }, () => 2 ** (4 * stream.float() - 2));
      drawn.push(...s);
      return s;
    }, "drawn");
    const [before, after] = [await logitsOf(files, ids), await logitsOf(folded, ids)];
    assert(Math.max(...drawn) > 3 && Math.min(...drawn) < 1 / 3);
    const size = Math.max(...before.map(Math.abs));
    assert(maxDifference(before, after).value < 1e-4 * size);
    assert.match(folded.note, /scales folded: drawn/);
    assert.notEqual(await folded.source.sha256(), await files.source.sha256());
  });
}

Deno.test("foldScales() with SmoothQuant's scale gives the linears smoother inputs", async () => {
  const files = { ...tinyModel("llama"), note: "" }, ids = randomIds(40, 128), plain = await openLanguageModel(files);
  const first = await plain.openBlock(0),
    hidden = await plain.embed(ids, 1, 40),
    x = await first.capture(hidden, "attention");
  const reads = plain.linears(0).filter((l) => l.input === "attention").map((l) => first.weight(l.name));
  const size = Float32Array.from(
    x.data.subarray(0, x.cols),
    (_, j) =>
      Math.max(...reads.flatMap((w) => Array.from({ length: w.rows }, (_, r) => Math.abs(w.data[r * w.cols + j])))),
  );
  const s = smoothScale(channelSize(x, "max"), size, 0.5, 0.5);
  const folded = await openLanguageModel(
    foldScales(files, (b, g) => b === 0 && g.inputs[0] === "attention" ? s : null, "half"),
  );
  const y = await (await folded.openBlock(0)).capture(hidden, "attention"), before = channelSize(x, "max");
  channelSize(y, "max").forEach((v, j) => assert(Math.abs(v * s[j] / before[j] - 1) < 1e-4, `channel ${j}`));
  plain.close();
  folded.close();
});

Deno.test("foldScales() refuses scales that are none", () => {
  const files = { ...tinyModel("llama"), note: "" };
  assert.throws(() => foldScales(files, () => [1, 2], "two"), /2 scales for/);
  const width = Number(files.config.hidden_size);
  assert.throws(() => foldScales(files, () => new Float32Array(width), "zeros"), /scale 0 of channel 0/);
});
