// Perplexity of a model on windows of tokens, streamed block by block.
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import type { Block, LanguageModel } from "./language_model.ts";

/** Equal windows of token ids (windows·length); lib/io's TextWindows fits. */
export interface TokenWindows {
  readonly ids: Int32Array;
  readonly windows: number;
  readonly length: number;
}

/** Other weights for a linear of a block: a Matrix (out, in), or null to keep the model's own. */
export type OtherWeights = (block: number, linear: string) => Promise<Matrix | null>;

export interface PerplexityOptions {
  readonly weights?: OtherWeights;
  readonly onProgress?: OnProgress;
}

/** A perplexity with everything that says what it is of. */
export interface Perplexity {
  /** exp(meanNll). */
  readonly perplexity: number;
  /** Mean over windows of the mean over their length − 1 predictions, in nats. */
  readonly meanNll: number;
  /** (windows, length − 1), in nats. */
  readonly nll: Floats;
  /** Predictions that were scored: windows·(length − 1). */
  readonly tokens: number;
  readonly windows: number;
  readonly length: number;
  readonly unit: "token";
}

/** Opens a block, its linears replaced by `weights` where that has something. */
export async function openBlockWith(model: LanguageModel, index: number, weights?: OtherWeights): Promise<Block> {
  const block = await model.openBlock(index);
  if (weights) {
    for (const { name } of model.linears(index)) {
      const w = await weights(index, name);
      if (w) block.setWeight(name, w);
    }
  }
  return block;
}

/**
 * exp of the mean negative log-likelihood: windows do not overlap, nothing is carried from one to the next, the first token
 * of each is given (papers.md 1.1 point 10).
 *
 * @param model where it comes from. @param text its windows, at least two tokens long.
 * @throws LabError for an empty text, a token outside the vocabulary, a window longer than the model's positions.
 */
export async function perplexity(
  model: LanguageModel,
  text: TokenWindows,
  o: PerplexityOptions = {},
): Promise<Perplexity> {
  const { ids, windows, length } = text;
  if (windows < 1 || length < 2) {
    throw new LabError("input", "perplexity", `${windows} windows of ${length} tokens`, "It takes one window of two.");
  }
  const total = (model.blocks + 1) * windows;
  const report = (step: number, what: string) => (done: number, of: number) =>
    o.onProgress?.({ what, done: step * windows + Math.round(done / of * windows), total, unit: "windows × blocks" });
  let h = await model.embed(ids, windows, length);
  for (let i = 0; i < model.blocks; i++) {
    const block = await openBlockWith(model, i, o.weights);
    try {
      h = await block.forward(h, report(i, `block ${i + 1} of ${model.blocks}`));
    } finally {
      block.close();
    }
  }
  const nll = await model.scoreHidden(h, ids, report(model.blocks, "likelihoods"));
  let sum = 0;
  for (const x of nll) sum += x;
  const meanNll = sum / nll.length;
  return { perplexity: Math.exp(meanNll), meanNll, nll, tokens: nll.length, windows, length, unit: "token" };
}
