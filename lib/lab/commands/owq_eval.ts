import type { Gpu } from "../../gpu/device.ts";
import { LabError } from "../../io/errors.ts";
import { openWindows } from "../../io/windows.ts";
import { openLanguageModel } from "../../model/language_model.ts";
import { chunkFor } from "../../model/packed_runtime.ts";
import { perplexity, type PerplexityOptions, type TokenWindows } from "../../model/perplexity.ts";
import { runCommand } from "../command.ts";
import { resolveModel } from "../open.ts";
import { progress } from "../progress.ts";
import { describeRuntime, openRuntime, runtimeDevice } from "../runtime.ts";
import { openTuned, withTuned } from "../tuned.ts";
import { MODEL_OPTION, number, TEXT_OPTIONS, textRecipe } from "./owq_options.ts";

const INFO = {
  name: "deno task owq eval",
  summary: "Perplexity of a model, plain or packed, on a text.",
  options: {
    model: MODEL_OPTION,
    tuned: {
      value: "FILE",
      help: "with a task's tuned values in place: a tuned.safetensors that `owq tune` wrote for this model",
    },
    eval: TEXT_OPTIONS.eval,
    "eval-samples": TEXT_OPTIONS["eval-samples"],
    "seq-len": TEXT_OPTIONS["seq-len"],
    "local-copy": TEXT_OPTIONS["local-copy"],
    seed: TEXT_OPTIONS.seed,
    runtime: {
      value: "R",
      help:
        "jax (default): dequantized, block by block; packed: on the WebGPU device from stored codes; auto: as generate",
    },
    json: { help: "one JSON object on standard output, nothing else" },
  },
};

/** `owq eval`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const begun = performance.now(), plain = await resolveModel(input.text("model") ?? "fixture");
    const task = input.text("tuned"), tuned = task === undefined ? null : await openTuned(task, plain);
    if (tuned && (input.text("runtime") ?? "jax") !== "jax") {
      throw new LabError("input", "--tuned", "goes with --runtime jax", "For packed, merge it: owq tune --merge DIR.");
    }
    const files = tuned ? withTuned(plain, tuned) : plain;
    const text = textRecipe(input, "eval", "sotu"), local = input.text("local-copy");
    const windows = await openWindows(text.text, {
      tokenizer: await files.tokenizer(),
      samples: text.samples,
      seqLen: text.seqLen,
      seed: number(input, "seed") ?? 0,
      purpose: "evaluation",
      ...(local ? { localCopy: local } : {}),
    });
    const bar = progress("evaluating", { total: windows.windows, unit: "windows" });
    const spec = input.text("model") ?? "fixture", gpu = await runtimeDevice(spec, input.text("runtime") ?? "jax");
    const { r, what, details } = gpu
      ? await onDevice(gpu, spec, windows, bar)
      : { r: await perplexity(await openLanguageModel(files), windows, bar), what: "", details: { runtime: "jax" } };
    await bar.finish(`${windows.windows} windows`);
    if (!Number.isFinite(r.perplexity)) throw new LabError("numeric", files.label, `its perplexity is ${r.perplexity}`);
    const seconds = (performance.now() - begun) / 1000;
    if (input.on("json")) {
      const provenance = {
        modelSha256: await files.source.sha256(),
        evaluationSha256: windows.sha256,
        deno: Deno.version.deno,
      };
      const { nll: _, ...rest } = r;
      console.log(
        JSON.stringify({
          model: files.label,
          note: files.note,
          text: windows.label,
          ...rest,
          seconds,
          ...details,
          provenance,
        }),
      );
    } else {
      console.log(`${files.label}${files.note ? ` (${files.note})` : ""}`);
      console.log(
        `token perplexity ${
          r.perplexity.toFixed(4)
        } on ${windows.label}: ${windows.windows} windows of ${windows.length} tokens, ` +
          `${r.tokens} predictions, ${seconds.toFixed(1)} s`,
      );
      if (what) console.log(what);
    }
    tuned?.close();
    files.source.close();
  }, args);
}

/** The perplexity from stored codes on the device. */
async function onDevice(gpu: Gpu, spec: string, windows: TokenWindows, o: Pick<PerplexityOptions, "onProgress">) {
  const opened = await openRuntime(gpu, spec, { capacity: windows.length, chunk: chunkFor(windows.length) }),
    { runtime } = opened;
  const r = await runtime.score(windows, o.onProgress), { bytes, dispatches, linears, device } = runtime;
  const what = describeRuntime(runtime);
  opened.close();
  gpu.close();
  return { r, what, details: { runtime: "packed", device, bytes, dispatches, linears } };
}
