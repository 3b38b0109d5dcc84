import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LabError } from "../../lib/io/errors.ts";
import { exportCheckpoint } from "../../lib/lab/checkpoint_export.ts";
import { resolveModel } from "../../lib/lab/open.ts";
import { describeRuntime, openCodedModel, openRuntime, runtimeDevice } from "../../lib/lab/runtime.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { timedText } from "../../lib/model/timed_text.ts";
import { assertWithin } from "../assert.ts";
import { adapter, gpuTest } from "../gpu/gpu_test_helper.ts";
import { randomIds } from "../model/tiny.ts";
import { KINDS, makePacked, TINY_MODEL } from "./exports.ts";

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const text = { ids: randomIds(2 * 30, 128, 4), windows: 2, length: 30 };

gpuTest("openRuntime() scores packed folders and checkpoints from their codes as jax does dequantized", async (gpu) => {
  await inFolder(async (folder) => {
    const out = (name: string) => join(folder, name);
    await makePacked(out("weak"), KINDS["weak columns"]);
    await makePacked(out("part"), KINDS["8 bits, part of the model"]);
    await makePacked(out("groups"), KINDS["3 bits, groups, act-order"]);
    for (const format of ["gptq-v2", "compressed-tensors"] as const) {
      await exportCheckpoint(out("groups"), { out: out(format), format });
    }
    for (const name of ["weak", "part", "groups", "gptq-v2", "compressed-tensors"]) {
      const files = await resolveModel(out(name)), model = await openLanguageModel(files);
      const want = (await perplexity(model, text)).nll;
      const packed = await openRuntime(gpu, out(name), { capacity: 30 });
      const dense = await openRuntime(gpu, out(name), { capacity: 30, weights: "f32" });
      assertWithin((await packed.runtime.score(text)).nll, want, 2e-5, `${name}, packed`);
      assertWithin((await dense.runtime.score(text)).nll, want, 2e-5, `${name}, dense`);
      const { linears } = packed.runtime;
      assert.equal(linears.dense > 0, name === "part", `${name}: ${linears.dense} dense linears`);
      assert.ok(linears.packed > 0 && dense.runtime.linears.packed === 0);
      assert.match(
        describeRuntime(packed.runtime),
        name === "part" ? /: packed and dense linears/ : /: packed linears/,
      );
      for (const o of [packed, dense]) o.close();
      model.close();
      files.source.close();
    }
  });
});

Deno.test("openCodedModel() finds no codes in a model of floats", async () => {
  assert.equal(await openCodedModel(TINY_MODEL), null);
  assert.equal(await openCodedModel("fixture"), null);
});

Deno.test("runtimeDevice() takes jax where it is told to, or where the weights are floats", async () => {
  assert.equal(await runtimeDevice(TINY_MODEL, "auto"), null);
  assert.equal(await runtimeDevice(TINY_MODEL, undefined), null);
  await assert.rejects(
    runtimeDevice(TINY_MODEL, "gpu"),
    (e) => e instanceof LabError && /auto, packed, jax/.test(e.message),
  );
});

gpuTest("timedText() counts from the prompt to the last token", async (gpu) => {
  const { runtime, close } = await openRuntime(gpu, TINY_MODEL, { capacity: 32 }), times: number[] = [];
  const begun = performance.now();
  const r = await timedText(runtime, [1, 2, 3], { tokens: 12, onToken: () => times.push(performance.now()) });
  assert.equal(r.ids.length, 12);
  // Each time below is taken a moment after the one inside, so these hold however busy the machine is.
  const decode = r.seconds - r.firstTokenSeconds;
  assert.ok(r.firstTokenSeconds > 0 && r.firstTokenSeconds <= (times[0] - begun) / 1000);
  assert.ok(decode >= (times[10] - times[0]) / 1000 && r.seconds <= (times[11] - begun) / 1000);
  assert.ok(Math.abs(11 / r.tokensPerSecond - decode) < 1e-6);
  runtime.restart();
  assert.ok(Number.isNaN((await timedText(runtime, [1], { tokens: 1 })).tokensPerSecond));
  close();
});

Deno.test({
  name: "owq generate writes the same text packed and on jax, and says what it ran on",
  ignore: adapter === null,
  fn: () =>
    inFolder(async (folder) => {
      await makePacked(join(folder, "weak"), KINDS["weak columns"]);
      const files = await resolveModel("fixture"), companions = await files.companions();
      files.source.close();
      // The tiny model has no tokenizer; a character each will do.
      const vocab = Object.fromEntries(Array.from({ length: 128 }, (_, i) => [String.fromCharCode(i + 256), i]));
      const tokenizer = JSON.parse(companions["tokenizer.json"]);
      Object.assign(tokenizer, { added_tokens: [], model: { ...tokenizer.model, vocab, merges: [] } });
      await Deno.writeTextFile(join(folder, "weak", "tokenizer.json"), JSON.stringify(tokenizer));
      const run = async (runtime: string) => {
        const script = fileURLToPath(new URL("../../lib/lab/commands/owq.ts", import.meta.url));
        const options = [
          "--model",
          join(folder, "weak"),
          "--prompt",
          "āĂĎ",
          "--tokens",
          "20",
          "--runtime",
          runtime,
          "--json",
        ];
        const o = await new Deno.Command(Deno.execPath(), { args: ["run", "-A", script, "generate", ...options] })
          .output();
        assert.equal(o.success, true, new TextDecoder().decode(o.stderr));
        return JSON.parse(new TextDecoder().decode(o.stdout));
      };
      const [packed, jax] = [await run("auto"), await run("jax")];
      assert.deepEqual(packed.ids, jax.ids);
      assert.deepEqual([packed.runtime, jax.runtime], ["packed", "jax"]);
      assert.ok(
        packed.tokensPerSecond > 0 && packed.firstTokenSeconds > 0 && packed.bytes.total > packed.bytes.linears,
      );
    }),
});
