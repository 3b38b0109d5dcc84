// How far variants of a model predict from the model itself, on one text: the model's own logits are computed once.
import type { Floats } from "../io/tensor.ts";
import { type Distribution, type Divergence, sequenceDistributions, sequenceDivergence } from "./divergence.ts";
import type { Hidden, LanguageModel } from "./language_model.ts";
import type { TokenWindows } from "./perplexity.ts";

/** Probabilities that are kept rather than computed again for each variant: 256 MB with their logarithms. */
const KEPT = 1 << 24;

/** Logits that are computed by one product with the head, 16 MB. */
const AT_ONCE = 1 << 22;

/** Measures variants against the float model. */
export interface DivergenceMeter {
  /** Mean divergence over all predictions of `hidden` (windows, length, width), what left a variant's last block. */
  measure(hidden: Hidden): Promise<Divergence>;
}

/**
 * Runs the float model on a text and keeps what it predicts.
 *
 * @param model the float model; stays open. @param text windows of two tokens or more.
 * @returns a meter; its measures are in nats, mean over windows · (length − 1) predictions.
 * @throws LabError "input" for windows of one token.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openModel } from "../io/open_model.ts";
 * import { openMeter } from "./divergence_meter.ts";
 * import { openLanguageModel } from "./language_model.ts";
 * const model = await openLanguageModel(await openModel("fixture"));
 * const text = { ids: Int32Array.of(1, 2, 3, 4), windows: 1, length: 4 }, meter = await openMeter(model, text);
 * const other = await model.embed(text.ids, 1, 4); // no block at all
 * assert((await meter.measure(other)).jsd > 0.01);
 * model.close();
 * ```
 */
export async function openMeter(model: LanguageModel, text: TokenWindows): Promise<DivergenceMeter> {
  let hidden = await model.embed(text.ids, text.windows, text.length);
  for (let b = 0; b < model.blocks; b++) {
    const block = await model.openBlock(b);
    try {
      hidden = await block.forward(hidden);
    } finally {
      block.close();
    }
  }
  const { vocab } = model.config, { windows, length } = text, reference = hidden, kept: Distribution[][] = [];
  const together = Math.max(1, Math.floor(AT_ONCE / (length * vocab)));
  /** Logits (length, vocab) of each window in turn; some windows go through the head together. */
  async function* each(h: Hidden): AsyncGenerator<Floats> {
    const size = h.length * h.width;
    for (let w = 0; w < windows; w += together) {
      const count = Math.min(together, windows - w), data = h.data.subarray(w * size, (w + count) * size);
      const logits = (await model.logits({ ...h, data, windows: count })).data;
      for (let i = 0; i < count; i++) yield logits.subarray(i * length * vocab, (i + 1) * length * vocab);
    }
  }
  const keep = windows * length * vocab <= KEPT;
  if (keep) { for await (const logits of each(reference)) kept.push(sequenceDistributions(logits, vocab)); }
  return {
    async measure(h) {
      let jsd = 0, old = 0, w = 0;
      const own = keep ? null : each(reference);
      for await (const logits of each(h)) {
        const d = sequenceDivergence(kept[w++] ?? (await own!.next()).value!, logits, vocab);
        jsd += d.jsd / windows;
        old += d.old / windows;
      }
      return { jsd, old };
    },
  };
}
