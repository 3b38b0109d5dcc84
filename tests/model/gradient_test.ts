import assert from "node:assert/strict";
import { openGradients } from "../../lib/model/gradient.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import type { Tensor } from "../../lib/io/tensor.ts";
import { assertRelative } from "../assert.ts";
import { memorySource, randomIds, tinyModel } from "./tiny.ts";

/** Mean nll of one window under a model whose tensor `name` has `by` added at `at`. */
async function lossOf(family: string, ids: Int32Array, name: string, at: number, by: number): Promise<number> {
  const files = tinyModel(family), tensors = new Map<string, Tensor>();
  for (const key of files.source.tensors.keys()) tensors.set(key, await files.source.read(key));
  const t = tensors.get(name)!, data = t.data.slice();
  data[at] += by;
  tensors.set(name, { data, shape: t.shape });
  const model = await openLanguageModel({ ...files, source: memorySource(tensors) });
  let h = await model.embed(ids, 1, ids.length);
  for (let b = 0; b < model.blocks; b++) {
    const block = await model.openBlock(b);
    h = await block.forward(h);
    block.close();
  }
  const nll = await model.scoreHidden(h, ids);
  model.close();
  return nll.reduce((s, v) => s + v, 0) / nll.length;
}

for (const family of ["llama", "opt", "bloom", "falcon"]) {
  Deno.test(`openGradients() agrees with differences of the loss of ${family}, in the first and the last block`, async () => {
    const files = tinyModel(family), ids = randomIds(24, 128), model = await openLanguageModel(files);
    const gradients = await openGradients(files, { ids, windows: 1, length: 24 });
    const { linears, names, blocks } = model.config, prefix = (b: number) => `${names.base}${names.blocks}.${b}.`;
    assertRelative(
      gradients.losses[0],
      await lossOf(family, ids, [...files.source.tensors.keys()][0], 0, 0),
      1e-4,
      "loss",
    );
    for (const b of [0, blocks - 1]) {
      const found = await gradients.block(b);
      for (const l of [linears[0], linears.at(-1)!]) {
        const g = found.get(l.name)!.data, at = g.indexOf(Math.max(...g)), key = `${prefix(b)}${l.name}.weight`;
        const name = files.source.tensors.has(key) ? key : key.slice(names.base.length), step = 1e-2;
        const up = await lossOf(family, ids, name, at, step), down = await lossOf(family, ids, name, at, -step);
        assertRelative(g[at], Math.abs(up - down) / (2 * step), 0.03, `${b}.${l.name}`);
      }
    }
    model.close();
  });
}

Deno.test("openGradients() takes the mean of |gradient| over windows, not the |mean|", async () => {
  const files = tinyModel("llama"), ids = randomIds(48, 128);
  const of = async (part: Int32Array, windows: number) => {
    const g = await openGradients(files, { ids: part, windows, length: 24 });
    return (await g.block(1)).values().next().value!.data;
  };
  const [both, first, second] = [await of(ids, 2), await of(ids.slice(0, 24), 1), await of(ids.slice(24), 1)];
  for (let i = 0; i < both.length; i++) {
    assert(Math.abs(both[i] - (first[i] + second[i]) / 2) <= 1e-5 * (first[i] + second[i]) + 1e-8);
  }
});
