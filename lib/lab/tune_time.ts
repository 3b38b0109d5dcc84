// How long a step of tuning takes, from one real one on one short window.
import type { ModelFiles } from "../io/open_model.ts";
import { modelConfig } from "../model/families.ts";
import type { TuneRecipe } from "../model/tune.ts";
import { tuneCost } from "../model/tune_count.ts";
import { openTuneModel } from "../model/tune_gradient.ts";
import { type Trainable, tuneLeaves } from "../model/tune_leaves.ts";

/** Tokens that are tried: enough to fill the threads, few enough to be quick. */
const TRIED = 64;

/**
 * Seconds of a step on this machine, now: a gradient of one window of 64 tokens, after one that compiles, times the ratio of
 * the counted multiplications. With other work going on, it is that much longer.
 *
 * @param files the base. @param t what is trained. @param length tokens a window.
 */
export async function secondsOfStep(
  files: ModelFiles,
  t: Trainable,
  recipe: TuneRecipe,
  length: number,
): Promise<number> {
  const c = modelConfig(files.config), leaves = tuneLeaves(c, t), tokens = Math.min(TRIED, length);
  const model = await openTuneModel(files, t);
  try {
    const values = await model.start(0), into = values.map((v) => new Float32Array(v.length));
    const text = { ids: new Int32Array(tokens).fill(1), windows: 1, length: tokens };
    await model.gradient(values, text, 1 / tokens, into);
    const begun = performance.now();
    await model.gradient(values, text, 1 / tokens, into);
    const seconds = (performance.now() - begun) / 1000;
    const small = tuneCost(c, t, leaves, { batch: 1, length: tokens, accumulate: 1 });
    return seconds * tuneCost(c, t, leaves, { ...recipe, length }).multiplyAdds / small.multiplyAdds;
  } finally {
    model.close();
  }
}
