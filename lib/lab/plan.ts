// What a recipe will make of a model, known before any work: columns of each linear, bits that will be stored.
import { LabError } from "../io/errors.ts";
import type { LanguageModel } from "../model/language_model.ts";
import { addBits, storageOf, type StoredBits } from "../quant/budget.ts";
import { type LinearPlan, planBlock, type Recipe } from "./recipe.ts";

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
  const { options } = recipe, quantized = blocks.flat().filter((p) => p.quantize);
  if (quantized.length === 0) {
    throw new LabError(
      "input",
      "--layers",
      `"${recipe.layers}" matches no linear`,
      `Names look like "${blocks[0][0].name}".`,
    );
  }
  const groupSize = Number(options.groupSize ?? 0);
  const stored = addBits(quantized.map((p) =>
    storageOf({
      rows: p.linear.out,
      cols: p.linear.in,
      bits: p.bits,
      groupSize,
      weak: p.weakColumns,
      scaleBits: Number(options.scaleBits ?? 32),
      groupMap: options.actOrder === true && groupSize > 0,
    })
  ));
  const weights = (f: (p: LinearPlan) => number) => quantized.reduce((a, p) => a + p.linear.out * f(p), 0);
  const b = Math.floor(recipe.bits),
    nominal = b + (16 - b) * weights((p) => p.weakColumns) / weights((p) => p.linear.in);
  return { blocks, stored, nominal };
}
