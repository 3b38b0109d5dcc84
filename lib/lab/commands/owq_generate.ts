import { LabError } from "../../io/errors.ts";
import { generate } from "../../model/generate.ts";
import { openLanguageModel } from "../../model/language_model.ts";
import { runCommand } from "../command.ts";
import { resolveModel } from "../open.ts";
import { number } from "./owq_options.ts";

const INFO = {
  name: "deno task owq generate",
  summary: "Text from a model, plain or packed (packed weights are dequantized).",
  options: {
    model: { value: "SPEC", help: "fixture by default; a packed folder works too" },
    prompt: { value: "TEXT", help: "how the text begins" },
    tokens: { value: "N", help: "tokens to add; 64 by default" },
    temperature: { value: "T", help: "0 (default): always the likeliest token; above: seeded sampling" },
    seed: { value: "S", help: "seed of the sampling; 0 by default" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
};

/** `owq generate`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const prompt = input.text("prompt");
    if (prompt === undefined) throw new LabError("input", "--prompt", "is missing", 'Such as --prompt "The whale".');
    const files = await resolveModel(input.text("model") ?? "fixture"), tokenizer = await files.tokenizer();
    if (!tokenizer) {
      throw new LabError("input", files.label, "has no tokenizer", "Put its tokenizer.json into the folder.");
    }
    const model = await openLanguageModel(files), ids = tokenizer.encode(prompt);
    if (ids.length === 0) throw new LabError("input", "--prompt", "has no tokens", "Give it a word.");
    const begun = performance.now();
    const added = await generate(model, ids, {
      tokens: number(input, "tokens") ?? 64,
      temperature: number(input, "temperature") ?? 0,
      seed: number(input, "seed") ?? 0,
      stop: tokenizer.eosId,
    });
    const seconds = (performance.now() - begun) / 1000, text = tokenizer.decode([...ids, ...added]);
    if (input.on("json")) console.log(JSON.stringify({ model: files.label, prompt, text, ids: [...added], seconds }));
    else console.log(`${text}\n\n${added.length} tokens in ${seconds.toFixed(1)} s`);
    files.source.close();
  }, args);
}
