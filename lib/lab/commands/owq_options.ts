// Options that several of the owq commands share.
import { LabError } from "../../io/errors.ts";
import type { CommandInput } from "../command.ts";
import type { TextRecipe } from "../recipe.ts";

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
  "local-copy": { value: "FILE", help: "a local copy of a text that otherwise comes from the hub" },
  seed: { value: "S", help: "seed of every random choice; 0 by default" },
};

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
    seqLen: number(input, "seq-len") ?? (fixture ? 256 : 512),
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
