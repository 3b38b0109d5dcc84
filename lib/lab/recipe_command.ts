// The one command that makes an experiment again, from its recipe.
import { findMethod } from "../methods/table.ts";
import type { Recipe } from "./recipe.ts";

/**
 * The command line that runs exactly this recipe; options that have their default are left out.
 *
 * @param r a whole recipe. @returns one line for a POSIX shell.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { makeRecipe } from "./recipe.ts";
 * import { recipeCommand } from "./recipe_command.ts";
 * const line = recipeCommand(makeRecipe({ method: "owq", bits: 3.1, options: { rule: "hessian" } }));
 * assert.match(line, /^deno task owq quantize --model fixture --method owq --bits 3.1 .* --set rule=hessian$/);
 * ```
 */
export function recipeCommand(r: Recipe): string {
  return ["deno task owq quantize", ...recipeArguments(r).map(quoted)].join(" ");
}

/** The arguments of {@link recipeCommand}, not quoted. */
export function recipeArguments(r: Recipe): string[] {
  const { defaults } = findMethod(r.method), { calibration: c, evaluation: e } = r;
  const given = (on: boolean, ...words: (string | number)[]) => on ? words.map(String) : [];
  return [
    ...given(true, "--model", r.model, "--method", r.method, "--bits", r.bits),
    ...given(r.budget !== "nominal", "--budget", r.budget),
    ...given(r.rank !== null, "--rank", r.rank ?? 0),
    ...given(r.injected !== 1, "--injected", r.injected),
    ...given(r.layers !== null, "--layers", r.layers ?? ""),
    ...given(r.weakLayers !== null, "--weak-layers", r.weakLayers ?? ""),
    ...given(r.trueSequential, "--true-sequential"),
    ...given(r.linearBits !== undefined, "--linear-bits", JSON.stringify(r.linearBits)),
    ...given(true, "--calib", c.text, "--calib-samples", c.samples, "--eval", e.text, "--eval-samples", e.samples),
    ...given(true, "--seq-len", e.seqLen),
    ...given(c.seqLen !== e.seqLen, "--calib-seq-len", c.seqLen),
    ...given(true, "--seed", r.seed),
    ...Object.entries(r.options).flatMap(([k, v]) => given(v !== defaults[k], "--set", `${k}=${v}`)),
  ];
}

function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
