import { LabError } from "../../io/errors.ts";
import type { ModelFiles } from "../../io/open_model.ts";
import { capacityFor } from "../../model/generate.ts";
import { openLanguageModel } from "../../model/language_model.ts";
import { chunkFor } from "../../model/packed_runtime.ts";
import { type TimedText, timedText } from "../../model/timed_text.ts";
import { runCommand } from "../command.ts";
import { resolveModel } from "../open.ts";
import { describeRuntime, openRuntime, runtimeDevice } from "../runtime.ts";
import { number } from "./owq_options.ts";

const INFO = {
  name: "deno task owq generate",
  summary: "Text from a model: from its packed weights on the WebGPU device, or from plain ones.",
  options: {
    model: { value: "SPEC", help: "fixture by default; a packed folder works too" },
    prompt: { value: "TEXT", help: "how the text begins" },
    tokens: { value: "N", help: "tokens to add; 64 by default" },
    temperature: { value: "T", help: "0 (default): always the likeliest token; above: seeded sampling" },
    seed: { value: "S", help: "seed of the sampling; 0 by default" },
    runtime: {
      value: "R",
      help: "packed: on the WebGPU device from stored codes; jax: dequantized; auto (default): packed where it can",
    },
    json: { help: "one JSON object on standard output, nothing else" },
  },
};

/** `owq generate`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const prompt = input.text("prompt");
    if (prompt === undefined) throw new LabError("input", "--prompt", "is missing", 'Such as --prompt "The whale".');
    const spec = input.text("model") ?? "fixture", tokens = number(input, "tokens") ?? 64;
    const gpu = await runtimeDevice(spec, input.text("runtime"));
    const options = { tokens, temperature: number(input, "temperature") ?? 0, seed: number(input, "seed") ?? 0 };
    const files = await resolveModel(spec), { ids, tokenizer } = await encode(files, prompt);
    const all = { ...options, stop: tokenizer.eosId };
    let text: TimedText, what: string, details: Record<string, unknown>;
    if (gpu) {
      const opened = await openRuntime(gpu, spec, { capacity: ids.length + tokens, chunk: chunkFor(ids.length) });
      const { runtime } = opened;
      text = await timedText(runtime, ids, all);
      what = describeRuntime(runtime);
      const { bytes, dispatches, linears, device } = runtime;
      details = { runtime: "packed", device, bytes, dispatches, linears };
      opened.close();
      gpu.close();
    } else {
      const model = await openLanguageModel(files);
      const decoder = await model.openDecoder({
        capacity: capacityFor(ids.length + tokens, model.config.maxPositions),
      });
      text = await timedText(decoder, ids, all);
      what = "float32 weights on jax-js";
      details = { runtime: "jax" };
      decoder.close();
    }
    files.source.close();
    const { seconds, tokensPerSecond, firstTokenSeconds } = text, whole = tokenizer.decode([...ids, ...text.ids]);
    if (input.on("json")) {
      const speed = { tokensPerSecond: finite(tokensPerSecond), firstTokenSeconds };
      const result = { model: files.label, prompt, text: whole, ids: [...text.ids], seconds, ...speed, ...details };
      console.log(JSON.stringify(result));
      return;
    }
    const rate = Number.isFinite(tokensPerSecond) ? `, then ${tokensPerSecond.toFixed(2)} tokens/s` : "";
    console.log(`${whole}\n`);
    console.log(
      `${text.ids.length} tokens in ${seconds.toFixed(1)} s: the first after ${firstTokenSeconds.toFixed(2)} s ` +
        `(${ids.length} tokens of prompt)${rate}`,
    );
    console.log(what);
  }, args);
}

async function encode(files: ModelFiles, prompt: string) {
  const tokenizer = await files.tokenizer();
  if (!tokenizer) {
    throw new LabError("input", files.label, "has no tokenizer", "Put its tokenizer.json into the folder.");
  }
  const ids = tokenizer.encode(prompt);
  if (ids.length === 0) throw new LabError("input", "--prompt", "has no tokens", "Give it a word.");
  return { ids, tokenizer };
}

/** JSON has no NaN. */
function finite(x: number): number | null {
  return Number.isFinite(x) ? x : null;
}
