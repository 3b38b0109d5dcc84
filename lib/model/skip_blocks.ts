// A model without some of its blocks: PruneCD's amateur. Weights, final norm and head are the model's own.
import { LabError } from "../io/errors.ts";
import type { Block, LanguageModel } from "./language_model.ts";

/**
 * The model with the blocks of `skip` replaced by the identity; the others keep their numbers. With none to skip it computes
 * what the model computes, bit for bit.
 *
 * @param model stays open and is shared: closing the result closes nothing.
 * @param skip numbers of blocks, from 0. @returns a model; its decoder holds only the blocks that are left.
 * @throws LabError "input" for a number that no block has, or where no block would be left.
 * Source: PruneCD (arXiv 2509.16598) skips blocks of the same model; how it chooses them is not here.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import type { LanguageModel } from "./language_model.ts";
 * import { withoutBlocks } from "./skip_blocks.ts";
 * const model = { label: "m", blocks: 2 } as LanguageModel;
 * assert.equal(withoutBlocks(model, [1]).label, "m without block 1");
 * assert.throws(() => withoutBlocks(model, [0, 1]), /no block would be left/);
 * ```
 */
export function withoutBlocks(model: LanguageModel, skip: Iterable<number>): LanguageModel {
  const out = new Set(skip), numbers = [...out].sort((a, b) => a - b);
  const bad = numbers.find((i) => !(Number.isInteger(i) && i >= 0 && i < model.blocks));
  if (bad !== undefined) {
    throw new LabError("input", model.label, `has no block ${bad} to skip`, `Its blocks are 0 to ${model.blocks - 1}.`);
  }
  if (out.size === model.blocks) throw new LabError("input", model.label, "no block would be left", "Skip fewer.");
  const without = numbers.length === 1 ? `block ${numbers[0]}` : `blocks ${numbers.join(", ")}`;
  return {
    label: numbers.length === 0 ? model.label : `${model.label} without ${without}`,
    config: model.config,
    blocks: model.blocks,
    family: model.family,
    linears: (i) => out.has(i) ? [] : model.linears(i),
    embed: (ids, windows, length) => model.embed(ids, windows, length),
    openBlock: (i) => out.has(i) ? Promise.resolve(identity(model.label, i)) : model.openBlock(i),
    scoreHidden: (h, ids, onWindow) => model.scoreHidden(h, ids, onWindow),
    logits: (h) => model.logits(h),
    openDecoder: (o) => model.openDecoder({ ...o, skip: new Set([...out, ...o.skip ?? []]) }),
    close: () => {},
  };
}

function identity(label: string, index: number): Block {
  const none = (): never => {
    throw new LabError("input", label, `block ${index} is skipped and has no linears`);
  };
  return {
    index,
    weight: none,
    setWeight: none,
    forward: (h) => Promise.resolve(h),
    gram: () => Promise.resolve(new Map()),
    capture: none,
    close: () => {},
  };
}
