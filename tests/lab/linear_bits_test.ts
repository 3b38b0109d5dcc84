import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sha256File } from "../../lib/io/digest.ts";
import { rng } from "../../lib/io/rng.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { runExperiment } from "../../lib/lab/experiment.ts";
import { readLinearBits } from "../../lib/lab/linear_bits.ts";
import { readPackedIndex } from "../../lib/lab/open.ts";
import { makeRecipe, planBlock } from "../../lib/lab/recipe.ts";
import { readSweep } from "../../lib/lab/sweep_file.ts";
import { inTempFolder } from "../python.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/models/llama", import.meta.url));
const LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
  .concat(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]);
const ALL = [0, 1].flatMap((b) => LINEARS.map((l) => `${b}.${l}`));

/** The blocks' digests of a run of `recipe`, and the bits of each linear. */
async function run(folder: string, name: string, recipe: Parameters<typeof makeRecipe>[0]) {
  const text = { text: join(folder, "ids.safetensors"), samples: 4, seqLen: 32 }, out = join(folder, name);
  const whole = makeRecipe({ model: MODEL, calibration: text, evaluation: text, ...recipe });
  const report = await runExperiment(whole, { out, device: "cpu", skipFloat: true });
  const { layers } = await readPackedIndex(out);
  const sums = await Promise.all([0, 1].map((b) => sha256File(join(out, "blocks", `block-00${b}.safetensors`))));
  return { sums, report, entries: Object.values(layers) };
}

async function withIds(folder: string): Promise<string> {
  const stream = rng(8, "tokens"), data = Int32Array.from({ length: 4 * 32 }, () => stream.int(128));
  await writeSafetensors(join(folder, "ids.safetensors"), [{ name: "input_ids", dtype: "I32", shape: [4, 32], data }]);
  return folder;
}

for (
  const [method, bits] of [["optq", 4], ["owq", 4.3], ["awq", 4.9], ["hqq", 4.6], ["optq stored", 4.5]] as const
) {
  Deno.test(`runExperiment() with all linears at 4 bits by a plan is uniform 4 with ${method}, bit by bit`, () =>
    inTempFolder(async (temporary) => {
      const folder = await withIds(temporary), [name, budget] = method.split(" ");
      const recipe = { method: name, bits, ...(budget ? { budget: "stored" as const } : {}) };
      const uniform = await run(folder, "uniform", recipe);
      const all = { ...recipe, linearBits: Object.fromEntries(ALL.map((n) => [n, 4])) };
      const planned = await run(folder, "planned", all);
      assert.deepEqual(planned.sums, uniform.sums);
      assert.equal(planned.report.ppl.quantized, uniform.report.ppl.quantized);

      const linearBits: Record<string, number> = { ...all.linearBits, "1.mlp.up_proj": 2, "0.self_attn.v_proj": 3 };
      const mixed = await run(folder, "mixed", { ...recipe, linearBits });
      const width = (e: typeof mixed.entries[0]) => "stores" in e ? e.stores[0].arrays.codes.bits : e.bits;
      const widths = Object.fromEntries(mixed.entries.map((e) => [e.name, width(e)]));
      assert.deepEqual(widths, linearBits);
      const weights = mixed.entries.reduce((sum, e) => sum + e.rows * e.cols, 0);
      const saved = mixed.entries.reduce((sum, e) => sum + (4 - linearBits[e.name]) * e.rows * e.cols, 0) / weights;
      const kept = mixed.report.bits.stored - uniform.report.bits.stored;
      assert(Math.abs(kept + saved) < 0.05, `${method}: ${kept} bits a weight, expected ${-saved}`);
      assert(Number.isFinite(mixed.report.ppl.quantized));
      assert.notEqual(mixed.sums[0], uniform.sums[0]);
    }));
}

Deno.test("runExperiment() names the linear that a plan has and the model has not", () =>
  inTempFolder(async (temporary) => {
    const folder = await withIds(temporary);
    const recipe = { method: "rtn", bits: 4, linearBits: { "0.mlp.up_proj": 3, "7.mlp.up_proj": 3 } };
    await assert.rejects(
      run(folder, "out", recipe),
      /"7\.mlp\.up_proj" is no linear of this model.*0\.self_attn\.q_proj/,
    );
  }));

Deno.test("planBlock() refuses a plan that a stored target has no room for, with what to change", () => {
  const q = { name: "q", out: 64, in: 64, input: "q", stage: 0, ratio: 1, bias: false };
  const plan = (method: string, bits: number) =>
    planBlock(makeRecipe({ method, bits, budget: "stored", linearBits: { "0.q": 3 } }), 0, [q]);
  assert.deepEqual(plan("hqq", 4.5)[0].bits, 3);
  assert.throws(() => plan("hqq", 4.1), /hqq stores at least 3\.5.* in 0\.q .* target of 3\.1/);
  assert.throws(() => plan("optq", 4.1), /the linear 0\.q: 3 bits a code.*Raise what --bits/);
});

Deno.test("readLinearBits() says what is wrong with a file", () =>
  inTempFolder(async (folder) => {
    const file = join(folder, "bits.json"),
      reads = async (text: string) => {
        await Deno.writeTextFile(file, text);
        return await readLinearBits(file);
      };
    assert.deepEqual(await reads('{"0.q": 4}'), { "0.q": 4 });
    assert.deepEqual(await reads('{"about": "a model", "linearBits": {"0.q": 4}}'), { "0.q": 4 });
    await assert.rejects(reads("{0.q: 4"), /bits\.json: is no JSON/);
    await assert.rejects(reads("[4]"), /no object from linears to bits/);
    await assert.rejects(reads("{}"), /names no linear/);
    await assert.rejects(reads('{"q_proj": 4}'), /"q_proj" is no linear of a block/);
    await assert.rejects(reads('{"0.q": 9}'), /0\.q: 9 is no whole number from 2 to 8/);
    await assert.rejects(readLinearBits(join(folder, "none.json")), /cannot be read/);
    const sweep = (bits: unknown) => () =>
      readSweep(JSON.stringify({ name: "s", base: { linearBits: bits } }), "s.json");
    assert.throws(sweep({ "0.q": 1 }), /s\.json: base\.linearBits: 0\.q: 1/);
    assert.deepEqual(sweep({ "0.q": 3 })().cells[0].recipe.linearBits, { "0.q": 3 });
  }));
