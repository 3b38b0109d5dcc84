// What a recipe will make of a model, known before any work: columns of each linear, bits that will be stored.
import { LabError } from "../io/errors.ts";
import type { LanguageModel } from "../model/language_model.ts";
import { addBits, type StoredBits } from "../quant/budget.ts";
import { checkLinearNames, type LinearPlan, planBlock, type Recipe } from "./recipe.ts";

/** Everything that is known before the work starts. */
export interface Plan {
  readonly blocks: readonly (readonly LinearPlan[])[];
  readonly stored: StoredBits;
  readonly nominal: number;
}

/**
 * What a recipe will make of a model: columns of each linear, and the bits it will store.
 *
 * nominal = b + (16 − b) · (weak weights) / (weights): what papers count.
 */
export function planExperiment(recipe: Recipe, model: LanguageModel): Plan {
  const blocks = Array.from({ length: model.blocks }, (_, b) => planBlock(recipe, b, model.linears(b)));
  if (recipe.linearBits) checkLinearNames(recipe.linearBits, blocks.flat().map((p) => p.name));
  const quantized = blocks.flat().filter((p) => p.quantize);
  if (quantized.length === 0) {
    throw new LabError(
      "input",
      "--layers",
      `"${recipe.layers}" matches no linear`,
      `Names look like "${blocks[0][0].name}".`,
    );
  }
  const stored = addBits(quantized.map((p) => p.stored));
  const weights = (f: (p: LinearPlan) => number) => quantized.reduce((a, p) => a + p.linear.out * f(p), 0);
  const of16 = weights((p) => p.weakColumns), inCodes = weights((p) => p.linear.in * p.bits - p.weakColumns * p.bits);
  const nominal = (inCodes + 16 * of16) / weights((p) => p.linear.in);
  return { blocks, stored, nominal };
}
