// deno task owq: one word more says what to do.
import { helpText } from "../command.ts";

const COMMANDS = [
  "quantize",
  "sweep",
  "eval",
  "score",
  "methods",
  "fetch",
  "generate",
  "export",
  "import",
  "tune",
  "amq",
] as const;

const HELP = helpText({
  name: "deno task owq",
  summary: "Quantizes language models and measures what that costs.",
  positionals: COMMANDS.join("|"),
  options: {},
  more: [
    "  quantize   one experiment: model, method, bits → packed model, report.json",
    "  sweep      a grid of experiments from a JSON file, resumable, in parts",
    "  eval       perplexity of a model on a text",
    "  score      multiple-choice and cloze accuracy of a model on a task",
    "  methods    the table of methods",
    "  fetch      bring a model into the cache",
    "  generate   text from a model",
    "  tune       fine-tuning of a quantized model: weak columns, LoRA, everything",
    "  amq        which linear gets how many bits: sensitivity, search, final models",
    "  export     a packed model → a GPTQ or compressed-tensors checkpoint",
    "  import     such a checkpoint → a packed model",
    "",
    "Each has --help.",
  ].join("\n"),
});

const [command, ...rest] = Deno.args;
if (command === undefined || command === "--help" || command === "-h") {
  console.log(HELP);
  Deno.exit(command === undefined ? 2 : 0);
}
if (!COMMANDS.some((c) => c === command)) {
  console.error(`deno task owq: there is no "${command}". It has ${COMMANDS.join(", ")}.`);
  Deno.exit(2);
}
const module = await import(`./owq_${command}.ts`) as { main(args: readonly string[]): Promise<never> };
await module.main(rest);
