import assert from "node:assert/strict";
import type { Floats } from "../../lib/io/tensor.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { openTuneModel, type TuneModel } from "../../lib/model/tune_gradient.ts";
import type { Trainable } from "../../lib/model/tune_leaves.ts";
import { askedTokens, takeWindows, type TuneText } from "../../lib/model/tune_text.ts";
import { assertFinite, assertRelative, assertWithin } from "../assert.ts";
import { randomIds } from "./tiny.ts";
import { tinyBase } from "./tune_tiny.ts";

const options = { sanitizeOps: false, sanitizeResources: false }; // jax-js keeps its worker threads
const llama = tinyBase("llama", 3);

/** Two windows, of the second of which only some tokens are asked for. */
function maskedText(length = 16): TuneText {
  const mask = new Uint8Array(2 * length).fill(1, 0, length).fill(1, length + 9, length + 13);
  return { ids: randomIds(2 * length, 128), windows: 2, length, mask };
}

const zeros = (m: TuneModel) => m.leaves.map((l) => new Float32Array(l.shape.reduce((a, b) => a * b, 1)));

async function gradientOf(m: TuneModel, values: readonly Floats[], text: TuneText): Promise<Floats[]> {
  const g = zeros(m);
  await m.gradient(values, text, 1 / askedTokens(text), g);
  return g;
}

/** d/dt of the mean loss along `by` at 0, from four losses: exact up to t⁵. */
async function slope(m: TuneModel, values: readonly Floats[], text: TuneText, leaf: number, by: Floats, t: number) {
  const at = async (s: number) => {
    const moved = values.map((v, i) => i === leaf ? v.map((x, j) => x + s * by[j]) : v);
    const { sum, count } = await m.loss(moved, text);
    return sum / count;
  };
  return (8 * (await at(t) - await at(-t)) - (await at(2 * t) - await at(-2 * t))) / (12 * t);
}

// Not OPT: where a relu bends, differences are good to a percent only; it is compared below.
for (
  const [t, family] of [
    ["wct", "llama"],
    ["wct", "bloom"],
    ["wct", "falcon"],
    ["lora", "llama"],
    ["full", "llama"],
  ] as const
) {
  Deno.test(
    `gradient() of ${t} in ${family} equals differences of the loss in every kind of trained tensor`,
    options,
    async () => {
      const { files, ids } = await tinyBase(family, 3), text = maskedText();
      const trainable: Trainable = t === "wct"
        ? { method: t, ids }
        : t === "lora"
        ? { method: t, rank: 4, alpha: 16 }
        : { method: t };
      const m = await openTuneModel(files, trainable), values = await m.start(1);
      // B of a LoRA is zero at the start, and A's gradient with it
      if (t === "lora") {
        values.forEach((v, i) =>
          m.leaves[i].name.endsWith("side_out") && v.forEach((_, j) => v[j] = 0.05 * ((7 * j) % 5 - 2))
        );
      }
      const g = await gradientOf(m, values, text), seen = new Set<string>();
      for (const [i, leaf] of m.leaves.entries()) {
        const kind = leaf.inner;
        if (seen.has(kind)) continue;
        seen.add(kind);
        assertFinite(g[i], leaf.name);
        const size = Math.hypot(...g[i]), by = g[i].map((x) => x / size);
        assert.ok(size > 1e-4, `${leaf.name} has the gradient ${size}`);
        assertRelative(await slope(m, values, text, i, by, 0.01 / size), size, 1e-3, leaf.name); // about 0.01 nats a step
      }
      assert.ok(seen.size >= 4);
      m.close();
    },
  );
}

for (const family of ["llama", "opt", "bloom", "falcon"]) {
  Deno.test(
    `gradient() of the weak columns of ${family} equals the dense model's at the same entries`,
    options,
    async () => {
      const { files, ids } = await tinyBase(family, 3), text = maskedText(), { source } = files;
      const m = await openTuneModel(files, { method: "wct", ids }), values = await m.start(0);
      const g = await gradientOf(m, values, text), { sum, count } = await m.loss(values, text);
      // Inference has an exponential of its own (fast_math.ts), so its loss is steady to 1e-6 only: 3e-3 of these differences.
      // The dense gradient of one weight, by the loss of a model of which that weight is changed.
      const dense = async (name: string, at: number, by: number) => {
        const tensor = files.tensors.get(name)!, data = tensor.data.slice();
        data[at] += by;
        const read = (n: string) => n === name ? Promise.resolve({ data, shape: tensor.shape }) : source.read(n);
        const model = await openLanguageModel({ ...files, source: { ...source, read } });
        const { nll } = await perplexity(model, text);
        model.close();
        const asked = nll.filter((_, i) => text.mask![i + 1 + Math.floor(i / (text.length - 1))]);
        return asked.reduce((a, b) => a + b, 0) / asked.length;
      };
      assertRelative(sum / count, await dense([...files.tensors.keys()][0], 0, 0), 1e-5, "loss");
      for (const i of [0, m.leaves.length - 1]) {
        const linear = m.leaves[i].name.replace(".side_out", ""), columns = ids.get(linear)!;
        const width = files.tensors.get(`${linear}.weight`)!.shape[1];
        const best = g[i].reduce((most, x, j) => Math.abs(x) > Math.abs(g[i][most]) ? j : most, 0);
        const at = Math.floor(best / columns.length) * width + columns[best % columns.length],
          t = 0.01 / Math.abs(g[i][best]);
        const d = async (s: number) =>
          (await dense(`${linear}.weight`, at, s) - await dense(`${linear}.weight`, at, -s)) / (2 * s);
        assertRelative((4 * await d(t / 2) - await d(t)) / 3, g[i][best], 3e-3, `${linear}, entry ${at}`);
      }
      m.close();
    },
  );
}

Deno.test("gradient() of the weak columns is full tuning's at those columns, in every linear", options, async () => {
  const { files, ids } = await llama, text = maskedText();
  const some = await openTuneModel(files, { method: "wct", ids }), all = await openTuneModel(files, { method: "full" });
  const g = await gradientOf(some, await some.start(0), text), dense = await gradientOf(all, await all.start(0), text);
  for (const [i, { name, shape: [rows, k] }] of some.leaves.entries()) {
    const linear = name.replace(".side_out", ""), columns = ids.get(linear)!;
    const j = all.leaves.findIndex((l) => l.name === `${linear}.weight`), width = all.leaves[j].shape[1];
    const expected = Float32Array.from(
      { length: rows * k },
      (_, e) => dense[j][Math.floor(e / k) * width + columns[e % k]],
    );
    const largest = Math.max(...expected.map(Math.abs));
    assert.ok(largest > 0, name);
    assertWithin(g[i], expected, 1e-5 * largest, name);
  }
  some.close();
  all.close();
});

Deno.test("gradient() of windows taken one after another adds up to that of all at once", options, async () => {
  const { files, ids } = await llama, text = maskedText();
  const m = await openTuneModel(files, { method: "wct", ids }),
    values = await m.start(0),
    scale = 1 / askedTokens(text);
  const together = await gradientOf(m, values, text), parts = zeros(m);
  for (const w of [1, 0]) await m.gradient(values, takeWindows(text, [w]), scale, parts);
  together.forEach((g, i) => assertWithin(parts[i], g, 1e-5 * Math.max(...g.map(Math.abs)), m.leaves[i].name));
  m.close();
});

Deno.test("exact() is 1 where the likeliest token of each asked-for position is the text's", options, async () => {
  const { files, ids } = await llama, length = 8, model = await openLanguageModel(files);
  const m = await openTuneModel(files, { method: "wct", ids }), values = await m.start(0);
  const given = randomIds(3 * length, 128), mask = new Uint8Array(3 * length);
  for (let w = 0; w < 3; w++) mask.fill(1, w * length + 5, w * length + 7);
  // Greedy decoding, a token at a time, makes windows 0 and 2 right; in window 1 the second answer is another token.
  for (const at of [5, 6]) {
    let h = await model.embed(given, 3, length);
    for (let b = 0; b < model.blocks; b++) h = await (await model.openBlock(b)).forward(h);
    const { data, cols } = await model.logits(h);
    for (let w = 0; w < 3; w++) {
      const row = data.subarray((w * length + at - 1) * cols, (w * length + at) * cols);
      given[w * length + at] = row.indexOf(Math.max(...row));
    }
  }
  given[length + 6] = (given[length + 6] + 1) % 128;
  assert.deepEqual([...await m.exact(values, { ids: given, windows: 3, length, mask })], [1, 0, 1]);
  model.close();
  m.close();
});
