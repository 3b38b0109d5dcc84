// A model whose blocks stay in memory while single linears change places: many variants of one model, one after another,
// on one text. Nothing is read from files twice, and blocks before the first change are not run again.
import { LabError } from "../io/errors.ts";
import type { Matrix } from "../io/tensor.ts";
import type { Block, Hidden, LanguageModel } from "./language_model.ts";
import type { TokenWindows } from "./perplexity.ts";

/** W (out, in) of a linear in one of its variants, such as the one of so many bits. */
export type VariantWeights = (block: number, linear: string, variant: number) => Promise<Matrix>;

/** A model and a text, to be run in one variant after another. */
export interface SwappedModel {
  /**
   * What leaves the last block, (windows, length, width), with each linear in the variant that `plan` has for
   * "block.linear". Bit by bit what a model holding those weights gives, whatever ran before.
   *
   * @throws LabError "input" for a linear that the plan leaves out, "numeric" where a block leaves float32's range.
   */
  forward(plan: ReadonlyMap<string, number>): Promise<Hidden>;
  close(): void;
}

/**
 * Opens a model for variants. The hidden states before each block of the last run are kept: (blocks + 1) · windows · length ·
 * width floats; blocks are opened when they are first run.
 *
 * @param model stays open and is shared. @param text windows, at least one. @param weights asked once a change.
 * @throws LabError as LanguageModel.embed.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openModel } from "../io/open_model.ts";
 * import { openLanguageModel } from "./language_model.ts";
 * import { openSwaps } from "./weight_swap.ts";
 * const model = await openLanguageModel(await openModel("fixture"));
 * const text = { ids: Int32Array.of(1, 2, 3, 4), windows: 1, length: 4 };
 * const swaps = await openSwaps(model, text, () => Promise.reject(new Error("not asked")));
 * await assert.rejects(swaps.forward(new Map()), /0\.self_attn\.q_proj: has no variant/);
 * swaps.close();
 * model.close();
 * ```
 */
export async function openSwaps(
  model: LanguageModel,
  text: TokenWindows,
  weights: VariantWeights,
): Promise<SwappedModel> {
  const first = await model.embed(text.ids, text.windows, text.length);
  return new Swaps(model, first, weights);
}

class Swaps implements SwappedModel {
  readonly #model: LanguageModel;
  readonly #weights: VariantWeights;
  readonly #blocks: Block[] = [];
  /** Variants that a block holds now, by linear. */
  readonly #held: Map<string, number>[] = [];
  /** What enters block i in the last run; one more is what left the last block. */
  readonly #enters: Hidden[];

  constructor(model: LanguageModel, first: Hidden, weights: VariantWeights) {
    [this.#model, this.#weights, this.#enters] = [model, weights, [first]];
  }

  async forward(plan: ReadonlyMap<string, number>): Promise<Hidden> {
    for (let b = 0; b < this.#model.blocks; b++) {
      const changed = this.#model.linears(b).flatMap(({ name }) => {
        const variant = plan.get(`${b}.${name}`);
        if (variant === undefined) throw new LabError("input", `${b}.${name}`, "has no variant in the plan");
        return this.#held[b]?.get(name) === variant ? [] : [[name, variant] as const];
      });
      if (changed.length === 0 && b + 1 < this.#enters.length) continue;
      this.#enters.length = b + 1; // whatever fails from here on leaves nothing that does not fit
      const block = this.#blocks[b] ??= await this.#model.openBlock(b), held = this.#held[b] ??= new Map();
      for (const [name, variant] of changed) {
        held.delete(name);
        block.setWeight(name, await this.#weights(b, name, variant));
        held.set(name, variant);
      }
      this.#enters.push(await block.forward(this.#enters[b]));
    }
    return this.#enters[this.#model.blocks];
  }

  close() {
    for (const block of this.#blocks) block.close();
    this.#blocks.length = this.#held.length = 0;
    this.#enters.length = 1;
  }
}
