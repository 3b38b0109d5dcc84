import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { LabError } from "../../lib/io/errors.ts";
import { DTYPES } from "../../lib/io/dtype.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { type TensorToWrite, writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { openWindows } from "../../lib/io/windows.ts";
import { readScheme } from "../../lib/lab/checkpoint_config.ts";
import { exportCheckpoint } from "../../lib/lab/checkpoint_export.ts";
import { importCheckpoint } from "../../lib/lab/checkpoint_import.ts";
import { runExperiment } from "../../lib/lab/experiment.ts";
import { readPackedIndex, resolveModel } from "../../lib/lab/open.ts";
import { makeRecipe } from "../../lib/lab/recipe.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { inTempFolder } from "../python.ts";
import { KINDS, makePacked, TINY_MODEL } from "./exports.ts";

const refuses = (kind: string, message: RegExp) => (e: unknown) => {
  assert.ok(e instanceof LabError, String(e));
  assert.equal(e.kind, kind, e.message);
  assert.match(e.message, message);
  return true;
};

for (const [name, { formats, ...kind }] of Object.entries(KINDS)) {
  if (formats.length === 0) continue;
  Deno.test(`importCheckpoint() gives back every byte that exportCheckpoint() was given: ${name}`, () =>
    inTempFolder(async (folder) => {
      const packed = join(folder, "packed");
      await makePacked(packed, kind);
      const index = await readPackedIndex(packed);
      for (const format of formats) {
        const out = join(folder, format), back = join(folder, `${format}-back`);
        const report = await exportCheckpoint(packed, { format, out });
        assert.equal(report.scaleChange, 0);
        assert.deepEqual([report.scheme.bits, report.scheme.actOrder], [kind.bits, name.includes("act-order")]);
        assert.equal((await importCheckpoint(out, back)).linears, report.linears);
        for (const e of [...Deno.readDirSync(join(packed, "blocks"))]) {
          const read = (d: string) => Deno.readFileSync(join(d, "blocks", e.name));
          assert.deepEqual(read(back), read(packed), `${format} ${e.name}`);
        }
        assert.deepEqual(
          Deno.readFileSync(join(back, "rest.safetensors")),
          Deno.readFileSync(join(packed, "rest.safetensors")),
        );
        const again = await readPackedIndex(back);
        for (const [tensor, { method: _, report: __, ...entry }] of Object.entries(index.layers)) {
          const { method: ___, report: ____, ...found } = again.layers[tensor];
          assert.deepEqual(found, entry, tensor);
        }
        const [a, b, c] = [await resolveModel(packed), await resolveModel(out), await resolveModel(back)];
        assert.deepEqual([...b.source.tensors.keys()].sort(), [...a.source.tensors.keys()].sort());
        assert.deepEqual([b.config, c.config], [a.config, a.config]);
        for (const tensor of a.source.tensors.keys()) {
          const expected = (await a.source.read(tensor)).data;
          assert.ok(expected.every(Number.isFinite));
          assert.deepEqual((await b.source.read(tensor)).data, expected, tensor);
          assert.deepEqual((await c.source.read(tensor)).data, expected, tensor);
        }
        for (const files of [a, b, c]) files.source.close();
      }
    }));
}

Deno.test("a checkpoint has the packed model's perplexity to the last bit, on the embedded model", () =>
  inTempFolder(async (folder) => {
    const packed = join(folder, "packed"), windows = { text: "sotu", samples: 2, seqLen: 128 };
    const options = { scaleBits: 16, groupSize: 64 };
    const recipe = makeRecipe({ method: "rtn", bits: 3, options, evaluation: windows, calibration: windows });
    const report = await runExperiment(recipe, { out: packed, device: "cpu", skipFloat: true });
    for (const format of ["gptq-v2", "compressed-tensors"] as const) {
      const out = join(folder, format);
      await exportCheckpoint(packed, { format, out });
      const files = await resolveModel(out), model = await openLanguageModel(files);
      assert.match(files.note, /its linears are stored as .*3 bits in groups of 64/);
      const text = await openWindows("sotu", {
        tokenizer: await files.tokenizer(),
        samples: 2,
        seqLen: 128,
        seed: 0,
        purpose: "evaluation",
      });
      assert.equal((await perplexity(model, text)).perplexity, report.ppl.quantized, format);
      files.source.close();
    }
  }));

Deno.test("exportCheckpoint() rounds 32-bit scales for GPTQ within half a step of f16, and not at all where asked", () =>
  inTempFolder(async (folder) => {
    const packed = join(folder, "packed");
    await makePacked(packed, { method: "rtn", bits: 4 });
    const rounded = await exportCheckpoint(packed, { format: "gptq-v2", out: join(folder, "rounded") });
    assert.ok(rounded.scaleChange > 0 && rounded.scaleChange <= 2 ** -11, `${rounded.scaleChange}`);
    assert.equal(rounded.scaleBits, 16);
    for (const o of [{ format: "gptq-v2", scaleBits: 32 }, { format: "compressed-tensors" }] as const) {
      const out = join(folder, o.format + "-exact"), report = await exportCheckpoint(packed, { ...o, out });
      assert.deepEqual([report.scaleChange, report.scaleBits], [0, 32]);
      const [a, b] = [await resolveModel(packed), await resolveModel(out)], name = "model.layers.0.mlp.up_proj.weight";
      assert.deepEqual((await b.source.read(name)).data, (await a.source.read(name)).data);
      [a, b].forEach((f) => f.source.close());
    }
  }));

Deno.test("exportCheckpoint() refuses before it writes: weak columns, v1's zero points of 0, folders that are no packed model", () =>
  inTempFolder(async (folder) => {
    const weak = join(folder, "weak"), plain = join(folder, "plain"), out = join(folder, "out");
    await makePacked(weak, { method: "owq", bits: 3, rank: 2 });
    const hint = /0\.self_attn\.q_proj: keeps 2 weak columns.*PACKED\.md.*owq export --format hf/;
    for (const format of ["gptq", "gptq-v2", "compressed-tensors"] as const) {
      await assert.rejects(exportCheckpoint(weak, { format, out }), refuses("input", hint));
    }
    await makePacked(plain, { method: "optq", bits: 2, options: { tuning: "mse", groupSize: 16 } });
    await assert.rejects(exportCheckpoint(plain, { format: "gptq", out }), refuses("input", /zero points are 0/));
    await assert.rejects(
      exportCheckpoint(TINY_MODEL, { format: "gptq", out }),
      refuses("input", /is no packed folder/),
    );
    await assert.rejects(Deno.stat(out), Deno.errors.NotFound);
    await assert.rejects(
      exportCheckpoint(plain, { format: "gptq-v2", out: weak }),
      refuses("input", /packed folder already/),
    );
    await assert.rejects(importCheckpoint(TINY_MODEL, out), refuses("input", /plain weights/));
    await assert.rejects(importCheckpoint(plain, weak), refuses("input", /packed folder already/));
  }));

type Tensors = Map<string, TensorToWrite>;

/** Copies a checkpoint with changed tensors and configuration, then opens it and reads every tensor. */
async function damaged(from: string, to: string, change: (tensors: Tensors, config: Record<string, unknown>) => void) {
  await Deno.mkdir(to, { recursive: true });
  const file = openSafetensors(join(from, "model.safetensors")), tensors: Tensors = new Map();
  for (const { name, dtype, shape } of file.tensors.values()) {
    const decode = DTYPES.get(dtype)!, bytes = await file.readBytes(name);
    const data = decode.range ? file.readInts(name).data : decode.decode!(bytes);
    tensors.set(name, { name, dtype, shape, data });
  }
  file.close();
  const config = JSON.parse(await Deno.readTextFile(join(from, "config.json")));
  change(tensors, config.quantization_config);
  await writeSafetensors(join(to, "model.safetensors"), tensors.values());
  await Deno.writeTextFile(join(to, "config.json"), JSON.stringify(config));
  const files = await resolveModel(to);
  try {
    for (const name of files.source.tensors.keys()) await files.source.read(name);
  } finally {
    files.source.close();
  }
}

const Q = "model.layers.0.self_attn.q_proj"; // (64, 64)
type Attack = [string, (t: Tensors, c: Record<string, unknown>) => void, kind: string, message: RegExp];

/** Another shape, and data that fit it: the first values, or zeros where there are too few. */
function reshape(t: Tensors, name: string, shape: number[]): void {
  const old = t.get(name)!, values = old.data as ArrayLike<number>, n = shape.reduce((a, b) => a * b, 1);
  t.set(name, { ...old, shape, data: Array.from({ length: n }, (_, i) => values[i] ?? 0) });
}

const GPTQ_ATTACKS: Attack[] = [
  ["nothing at all is changed", () => {}, "", /^$/],
  ["scales are missing", (t) => t.delete(`${Q}.scales`), "format", /no tensor ".*q_proj\.scales"/],
  ["zero points are missing", (t) => t.delete(`${Q}.qzeros`), "format", /no tensor ".*q_proj\.qzeros"/],
  ["codes are cut short", (t) => reshape(t, `${Q}.qweight`, [7, 64]), "format", /q_proj\.qweight: 448 values, not 512/],
  ["codes have one dimension", (t) => reshape(t, `${Q}.qweight`, [512]), "format", /expected two dimensions/],
  [
    "scales are of another width",
    (t) => reshape(t, `${Q}.scales`, [2, 32]),
    "format",
    /q_proj\.scales: 64 values, not 128/,
  ],
  ["the map is cut short", (t) => reshape(t, `${Q}.g_idx`, [32]), "format", /q_proj/],
  ["the map leaves the groups", (t) => edit(t, `${Q}.g_idx`, 3, 9), "format", /column 3 to group 9 of 2/],
  ["the map crowds a group", (t) => edit(t, `${Q}.g_idx`, 40, 0), "format", /group 0 33 columns/],
  ["a scale is NaN", (t) => edit(t, `${Q}.scales`, 5, NaN), "numeric", /scale \d+ is NaN/],
  ["codes are floats", (t) => retype(t, `${Q}.qweight`, "F32"), "format", /holds F32 where integers/],
  ["codes are of 64 bits", (t) => retype(t, `${Q}.qweight`, "I64"), "format", /holds I64 where packed words/],
  ["scales are integers", (t) => retype(t, `${Q}.scales`, "I32", true), "format", /holds I32 where scales/],
  ["v1 is called v2", (_, c) => (c.checkpoint_format = "gptq_v2"), "format", /zero point is 7, not 8.*"gptq"/],
  ["the width is wrong", (_, c) => (c.bits = 8), "format", /qweight: 1280 values, not 2560/],
  ["the width is unheard of", (_, c) => (c.bits = 5), "input", /5 bits/],
  ["the group size is wrong", (_, c) => (c.group_size = 16), "format", /qzeros/],
  ["the group size is no number", (_, c) => (c.group_size = "128"), "format", /group size is "128"/],
  ["a flag is no flag", (_, c) => (c.sym = "yes"), "format", /"sym" is "yes"/],
  ["words are of 16 bits", (_, c) => (c.pack_dtype = "int16"), "input", /"int16", not int32/],
  ["it is in Marlin's order", (_, c) => (c.checkpoint_format = "marlin"), "input", /format "marlin"/],
  ["it is AWQ", (_, c) => (c.quant_method = "awq"), "input", /quantized by "awq".*gptq and compressed-tensors/],
  ["it says nothing of itself", (_, c) => delete c.quant_method, "input", /quantized by "\?"/],
  [
    "no tensor is quantized",
    (t) => [...t.keys()].filter((n) => n.endsWith("qweight")).forEach((n) => t.delete(n)),
    "format",
    /no tensor is named …\.qweight/,
  ],
];
const COMPRESSED_ATTACKS: Attack[] = [
  ["nothing at all is changed", () => {}, "", /^$/],
  ["scales are missing", (t) => t.delete(`${Q}.weight_scale`), "format", /no tensor ".*q_proj\.weight_scale"/],
  ["the shape is missing", (t) => t.delete(`${Q}.weight_shape`), "format", /no tensor ".*q_proj\.weight_shape"/],
  ["zero points are missing", (t) => t.delete(`${Q}.weight_zero_point`), "format", /weight_zero_point: is missing/],
  [
    "codes are cut short",
    (t) => reshape(t, `${Q}.weight_packed`, [64, 7]),
    "format",
    /weight_packed: 448 words, not 512/,
  ],
  [
    "codes have fewer rows",
    (t) => reshape(t, `${Q}.weight_packed`, [32, 8]),
    "format",
    /says \[64, 64\], the codes have 32 rows/,
  ],
  ["the shape lies", (t) => edit(t, `${Q}.weight_shape`, 1, 96), "format", /q_proj/],
  ["the shape is negative", (t) => edit(t, `${Q}.weight_shape`, 1, -64), "format", /says \[64, -64\]/],
  ["the shape is enormous", (t) => edit(t, `${Q}.weight_shape`, 1, 2 ** 31), "format", /does not fit in 32 bits/],
  [
    "zero points are not packed",
    (t) => reshape(t, `${Q}.weight_zero_point`, [64, 2]),
    "format",
    /weight_zero_point: 128 words/,
  ],
  ["a scale is infinite", (t) => edit(t, `${Q}.weight_scale`, 0, Infinity), "numeric", /scale 0 is Infinity/],
  [
    "zero points are signed bytes",
    (t) => retype(t, `${Q}.weight_zero_point`, "I8", true),
    "format",
    /holds I8 where packed/,
  ],
  ["asymmetric is called symmetric", (_, c) => (weightsOf(c).symmetric = true), "format", /called symmetric/],
  ["the width is wrong", (_, c) => (weightsOf(c).num_bits = 8), "format", /weight_packed/],
  ["the weights are floats", (_, c) => (weightsOf(c).type = "float"), "input", /of type "float"/],
  [
    "there is one scale in all",
    (_, c) => Object.assign(weightsOf(c), { strategy: "tensor", group_size: null }),
    "input",
    /one scale a tensor/,
  ],
  ["groups have no size", (_, c) => (weightsOf(c).group_size = null), "format", /strategy "group"/],
  ["no group is there", (_, c) => delete c.config_groups, "format", /has no config_groups/],
  ["no group targets the layer", (_, c) => (groupOf(c).targets = ["re:nothing"]), "format", /targets model\.layers/],
  ["a pattern is broken", (_, c) => (groupOf(c).targets = ["re:("]), "input", /pattern "\("/],
  ["it is of 8-bit floats", (_, c) => (c.format = "float-quantized"), "input", /format "float-quantized"/],
  ["it is sparse", (_, c) => (c.sparsity_config = { format: "sparse-24-bitmask" }), "input", /sparse/],
  ["it is rotated", (_, c) => (c.transform_config = { config_groups: { u: {} } }), "input", /rotated/],
];

function edit(t: Tensors, name: string, at: number, value: number): void {
  const old = t.get(name)!, data = Array.from(old.data as ArrayLike<number>);
  data[at] = value;
  t.set(name, { ...old, data });
}

function retype(t: Tensors, name: string, dtype: string, zeros = false): void {
  const old = t.get(name)!, data = Array.from(old.data as ArrayLike<number>);
  t.set(name, { ...old, dtype, data: zeros ? data.map(() => 0) : data });
}

const groupOf = (c: Record<string, unknown>) => (c.config_groups as Record<string, Record<string, unknown>>).group_0;
const weightsOf = (c: Record<string, unknown>) => groupOf(c).weights as Record<string, unknown>;

for (
  const [format, symmetric, attacks] of [
    ["gptq", true, GPTQ_ATTACKS],
    ["compressed-tensors", false, COMPRESSED_ATTACKS],
  ] as const
) {
  Deno.test(`a damaged ${format} checkpoint ends in a sentence, whatever is wrong with it`, () =>
    inTempFolder(async (folder) => {
      const packed = join(folder, "packed"),
        whole = join(folder, "whole"),
        options = { groupSize: 32, scaleBits: 16, symmetric };
      await makePacked(packed, { method: "rtn", bits: 4, options });
      await exportCheckpoint(packed, { format, out: whole });
      for (const [i, [what, change, kind, message]] of attacks.entries()) {
        const opened = damaged(whole, join(folder, `${i}`), change);
        if (kind === "") await opened;
        else await assert.rejects(opened, refuses(kind, message), what);
      }
    }));
}

Deno.test("an older GPTQ checkpoint says what it is in quantize_config.json, and may lack g_idx", () =>
  inTempFolder(async (folder) => {
    const packed = join(folder, "packed"), out = join(folder, "gptq"), old = join(folder, "old");
    await makePacked(packed, { method: "rtn", bits: 4, options: { groupSize: 32, scaleBits: 16 } });
    await exportCheckpoint(packed, { format: "gptq", out });
    await damaged(out, old, (t) => [...t.keys()].filter((n) => n.endsWith("g_idx")).forEach((n) => t.delete(n)));
    const { quantization_config: said, ...config } = JSON.parse(await Deno.readTextFile(join(old, "config.json")));
    await Deno.writeTextFile(join(old, "config.json"), JSON.stringify(config));
    const { quant_method: _, checkpoint_format: __, format: ___, ...older } = said;
    await Deno.writeTextFile(join(old, "quantize_config.json"), JSON.stringify(older));
    const [a, b] = [await resolveModel(packed), await resolveModel(old)];
    assert.deepEqual((await b.source.read(`${Q}.weight`)).data, (await a.source.read(`${Q}.weight`)).data);
    assert.equal(b.config.quantization_config, undefined);
    assert.equal((await b.companions())["config.json"].includes("quantization_config"), false);
    [a, b].forEach((f) => f.source.close());
    await Deno.writeTextFile(join(old, "quantize_config.json"), JSON.stringify({ ...older, desc_act: true }));
    await assert.rejects(resolveModel(old), refuses("format", /has no g_idx/));
  }));

Deno.test("readScheme() knows which linear has which width, as GPTQModel's dynamic and compressed-tensors' targets say it", () => {
  const gptq = readScheme("config.json", {
    quant_method: "gptq",
    bits: 4,
    group_size: 128,
    dynamic: { "-:lm_head": {}, "+:model\\.layers\\.0\\.mlp": { bits: 8, group_size: -1 }, ".*v_proj": { bits: 3 } },
  });
  assert.deepEqual(gptq.schemeOf("model.layers.0.mlp.up_proj"), {
    bits: 8,
    groupSize: 0,
    symmetric: true,
    actOrder: false,
  });
  assert.equal(gptq.schemeOf("model.layers.0.self_attn.v_proj").bits, 3);
  assert.equal(gptq.schemeOf("x.model.layers.0.mlp.up_proj").bits, 4); // Python's match begins at the first letter
  const group = (targets: string[], num_bits: number) => ({ targets, weights: { num_bits, group_size: 32 } });
  const mixed = readScheme("config.json", {
    quant_method: "compressed-tensors",
    format: "mixed-precision",
    config_groups: { a: group(["Linear"], 4), b: group(["re:.*v_proj"], 8), c: group(["model.layers.0.v_proj"], 2) },
  });
  const bits = ["model.layers.0.q_proj", "model.layers.1.v_proj", "model.layers.0.v_proj"].map((n) =>
    mixed.schemeOf(n).bits
  );
  assert.deepEqual(bits, [4, 8, 2]);
});

Deno.test("the configuration of a partial export names what stays plain, in each format's own way", () =>
  inTempFolder(async (folder) => {
    const packed = join(folder, "packed"),
      said = async (format: "gptq-v2" | "compressed-tensors") => {
        const out = join(folder, format);
        await exportCheckpoint(packed, { format, out });
        return JSON.parse(await Deno.readTextFile(join(out, "config.json"))).quantization_config;
      };
    await makePacked(packed, { method: "rtn", bits: 8, layers: "up_proj|down_proj" });
    const gptq = await said("gptq-v2"), compressed = await said("compressed-tensors");
    const plain = [0, 1].flatMap((b) =>
      ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj"]
        .map((l) => `model.layers.${b}.${l}`)
    );
    assert.deepEqual(compressed.ignore, ["lm_head", ...plain]);
    assert.deepEqual(gptq.modules_in_block_to_quantize, [["mlp.up_proj", "mlp.down_proj"]]);
    const rules = Object.keys(gptq.dynamic).map((rule) => new RegExp(rule.replace("-:", "")));
    assert.ok(plain.every((name) => rules.filter((r) => r.test(name)).length === 1));
    assert.ok(!rules.some((r) => r.test("model.layers.0.mlp.up_proj")));
    assert.equal(basename(packed), "packed");
  }));

Deno.test("owq export and owq import work as commands, and end in a sentence where they cannot", () =>
  inTempFolder(async (folder) => {
    const packed = join(folder, "packed"), out = join(folder, "out"), back = join(folder, "back");
    await makePacked(packed, { method: "rtn", bits: 4, options: { scaleBits: 16 } });
    const command = new URL("../../lib/lab/commands/owq.ts", import.meta.url).pathname;
    const owq = async (...args: string[]) => {
      const r = await new Deno.Command(Deno.execPath(), { args: ["run", "-A", command, ...args] }).output();
      const text = (b: Uint8Array) => new TextDecoder().decode(b);
      return { code: r.code, out: text(r.stdout), err: text(r.stderr) };
    };
    const [help, made, wrong] = await Promise.all([
      owq("export", "--help"),
      owq("export", "--model", packed, "--format", "gptq", "--out", out, "--json"),
      owq("export", "--model", packed, "--format", "awq", "--out", out),
    ]);
    assert.match(help.out, /usage: deno task owq export/);
    assert.deepEqual([help.code, made.code, wrong.code], [0, 0, 1], made.err);
    assert.equal(JSON.parse(made.out).linears, 14);
    assert.match(wrong.err, /--format: "awq"\. It takes gptq, gptq-v2, compressed-tensors, hf/);
    const imported = await owq("import", "--model", out, "--out", back, "--json");
    assert.equal(imported.code, 0, imported.err);
    const { storedBits } = JSON.parse(imported.out), { layers } = await readPackedIndex(packed);
    const entries = Object.values(layers), weights = entries.map((e) => e.rows * e.cols);
    const total = entries.reduce((sum, e, i) => sum + e.storedBits * weights[i], 0);
    assert.equal(storedBits, total / weights.reduce((a, b) => a + b, 0));
  }));
