import { LabError } from "../../io/errors.ts";
import { openWindows } from "../../io/windows.ts";
import { openLanguageModel } from "../../model/language_model.ts";
import { perplexity } from "../../model/perplexity.ts";
import { runCommand } from "../command.ts";
import { resolveModel } from "../open.ts";
import { progress } from "../progress.ts";
import { number, TEXT_OPTIONS, textRecipe } from "./owq_options.ts";

const INFO = {
  name: "deno task owq eval",
  summary: "Perplexity of a model, plain or packed, on a text.",
  options: {
    model: {
      value: "SPEC",
      help: "fixture (default), a folder (packed ones too), a .gguf file, hf:owner/name[@revision], smollm2",
    },
    eval: TEXT_OPTIONS.eval,
    "eval-samples": TEXT_OPTIONS["eval-samples"],
    "seq-len": TEXT_OPTIONS["seq-len"],
    "local-copy": TEXT_OPTIONS["local-copy"],
    seed: TEXT_OPTIONS.seed,
    json: { help: "one JSON object on standard output, nothing else" },
  },
};

/** `owq eval`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const begun = performance.now(), files = await resolveModel(input.text("model") ?? "fixture");
    const text = textRecipe(input, "eval", "sotu"), local = input.text("local-copy");
    const windows = await openWindows(text.text, {
      tokenizer: await files.tokenizer(),
      samples: text.samples,
      seqLen: text.seqLen,
      seed: number(input, "seed") ?? 0,
      purpose: "evaluation",
      ...(local ? { localCopy: local } : {}),
    });
    const model = await openLanguageModel(files);
    const bar = progress("evaluating", { total: windows.windows, unit: "windows" });
    const r = await perplexity(model, windows, { onProgress: bar.onProgress });
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
        JSON.stringify({ model: files.label, note: files.note, text: windows.label, ...rest, seconds, provenance }),
      );
    } else {
      console.log(`${files.label}${files.note ? ` (${files.note})` : ""}`);
      console.log(
        `token perplexity ${
          r.perplexity.toFixed(4)
        } on ${windows.label}: ${windows.windows} windows of ${windows.length} tokens, ` +
          `${r.tokens} predictions, ${seconds.toFixed(1)} s`,
      );
    }
    files.source.close();
  }, args);
}
