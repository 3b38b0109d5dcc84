// Options that several of the owq commands share.
import { LabError } from "../../io/errors.ts";
import type { CommandInput } from "../command.ts";
import { readLinearBits } from "../linear_bits.ts";
import { makeRecipe, type Recipe, type TextRecipe } from "../recipe.ts";

/** Where kernels may run. */
export const DEVICES = ["auto", "gpu", "cpu"] as const;

/** Options that name texts. */
export const TEXT_OPTIONS = {
  calib: {
    value: "TEXT",
    help: "calibration: a text file, a .safetensors with input_ids, moby-dick (default), sotu, wikitext2, ptb, c4",
  },
  "calib-samples": { value: "N", help: "calibration windows; 32 by default" },
  eval: { value: "TEXT", help: "evaluation text, as --calib; sotu by default" },
  "eval-samples": { value: "N", help: "evaluation windows, 0 for all; 32 by default" },
  "seq-len": { value: "L", help: "tokens a window, at most the model's; 512 by default, 256 for the embedded model" },
  "calib-seq-len": { value: "L", help: "tokens a calibration window, where it differs from --seq-len" },
  "eval-seq-len": { value: "L", help: "tokens an evaluation window, where it differs from --seq-len" },
  "local-copy": { value: "FILE", help: "a local copy of a text that otherwise comes from the hub" },
  seed: { value: "S", help: "seed of every random choice; 0 by default" },
};

const MODELS = "fixture (default), a folder, a .gguf file, hf:owner/name[@revision], smollm2";

/** The option that names a model to be read, plain or packed. */
export const MODEL_OPTION = { value: "SPEC", help: `${MODELS}; packed folders too` };

/** Options that make a recipe. */
export const RECIPE_OPTIONS = {
  model: { value: "SPEC", help: MODELS },
  injected: {
    value: "FACTOR",
    help: "first inject outlier channels of that factor (function unchanged, always labelled); 1: none",
  },
  method: { value: "NAME", help: "see `owq methods`; owq by default" },
  bits: { value: "B", help: "target bits, such as 3.01; 3.1 by default" },
  budget: {
    value: "nominal|stored",
    help: "what --bits means for rtn, optq and owq: as in the papers (default), or everything that is stored",
  },
  rank: { value: "K", help: "weak columns of each linear, instead of those the target gives" },
  layers: { value: "PATTERN", help: "quantize only linears whose name matches, such as 'self_attn' or '^[0-3]\\.'" },
  "weak-layers": { value: "PATTERN", help: "weak columns only where the name matches" },
  "linear-bits": {
    value: "FILE",
    help: "bits of single linears' codes in place of the target's whole part: a JSON file or object, linear → bits",
  },
  "true-sequential": { help: "linears of a block one stage after another" },
  ...TEXT_OPTIONS,
  set: { value: "KEY=VALUE", help: "an option of the method; may be given again", multiple: true },
};

/** The recipe that the options of {@link RECIPE_OPTIONS} ask for. */
export async function recipeOf(input: CommandInput): Promise<Recipe> {
  const linearBits = input.text("linear-bits");
  return makeRecipe({
    model: input.text("model") ?? "fixture",
    injected: number(input, "injected") ?? 1,
    method: input.text("method") ?? "owq",
    bits: number(input, "bits") ?? 3.1,
    budget: budget(input.text("budget")),
    rank: number(input, "rank") ?? null,
    layers: input.text("layers") ?? null,
    weakLayers: input.text("weak-layers") ?? null,
    trueSequential: input.on("true-sequential"),
    ...(linearBits === undefined ? {} : { linearBits: await readLinearBits(linearBits) }),
    options: settings(input.all("set")),
    calibration: textRecipe(input, "calib", "moby-dick"),
    evaluation: textRecipe(input, "eval", "sotu"),
    seed: number(input, "seed") ?? 0,
  });
}

function budget(text = "nominal"): "nominal" | "stored" {
  if (text === "nominal" || text === "stored") return text;
  throw new LabError("input", "--budget", `"${text}"`, "It takes nominal or stored.");
}

/** A number option; undefined where it was not given. */
export function number(input: CommandInput, name: string): number | undefined {
  const text = input.text(name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) {
    throw new LabError("input", `--${name}`, `"${text}" is not a number`);
  }
  return value;
}

/** The text that an option names, with its samples and window length. */
export function textRecipe(input: CommandInput, name: "calib" | "eval", fallback: string): TextRecipe {
  const fixture = (input.text("model") ?? "fixture") === "fixture";
  return {
    text: input.text(name) ?? fallback,
    samples: number(input, `${name}-samples`) ?? 32,
    seqLen: number(input, `${name}-seq-len`) ?? number(input, "seq-len") ?? (fixture ? 256 : 512),
  };
}

/** --set key=value pairs. */
export function settings(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new LabError("input", `--set ${pair}`, "is not KEY=VALUE");
    return [pair.slice(0, at), pair.slice(at + 1)];
  }));
}

/** --device, checked. */
export function device(text: string | undefined): "auto" | "gpu" | "cpu" {
  const found = DEVICES.find((d) => d === (text ?? "auto"));
  if (!found) throw new LabError("input", "--device", `"${text}"`, `It takes ${DEVICES.join(", ")}.`);
  return found;
}
