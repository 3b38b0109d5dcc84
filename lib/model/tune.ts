// Tuning of a quantized model: batches, accumulated gradients, AdamW, the curve. All state is plain arrays and one step
// number, so a run that is stopped and resumed is the same run bit by bit. AdamW is adamw.ts, as for the embedded model:
// @jax-js/optax keeps its moments as device arrays, which would have to leave jax for every checkpoint.
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Floats } from "../io/tensor.ts";
import { adamwStep, clipByNorm, warmSchedule } from "./adamw.ts";
import { askedTokens, nextWindows, takeWindows, type TuneText } from "./tune_text.ts";
import type { TuneModel } from "./tune_gradient.ts";

/** Everything that decides a tuning run, besides the base, what is trained and the text. */
export interface TuneRecipe {
  readonly seed: number;
  readonly steps: number;
  /** Windows that go through the model together. */
  readonly batch: number;
  /** Batches whose gradients are added up to one step. */
  readonly accumulate: number;
  readonly learningRate: number;
  readonly schedule: "constant" | "cosine";
  readonly warmup: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** On matrices; gains and biases are not decayed. */
  readonly weightDecay: number;
  /** Largest norm of a step's gradient. */
  readonly clip: number;
}

/** What QEFT's fine-tuning script sets for all ways alike (papers.md 1.1): constant rate, clip 0.3, no decay. */
export const TUNE_DEFAULTS: Omit<TuneRecipe, "learningRate"> = {
  seed: 0,
  steps: 100,
  batch: 4,
  accumulate: 1,
  schedule: "constant",
  warmup: 5,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  clip: 0.3,
};

/** Where a run stands: steps done, and for each leaf its values and AdamW's two moments. */
export interface TuneState {
  step: number;
  readonly values: Floats[];
  readonly mean: Floats[];
  readonly square: Floats[];
}

/** One point of the curve. */
export interface TunePoint {
  /** Steps done. */
  readonly step: number;
  /** Mean loss of this step's tokens before the step, nats a token; null for the point before the first. */
  readonly loss: number | null;
  /** The gradient's norm before clipping. */
  readonly norm: number | null;
  /** Loss on the held-out text after the step, nats a token; null where it was not measured. */
  readonly heldOut: number | null;
  /** Seconds of work up to here, without pauses. */
  readonly seconds: number;
}

/** A run: what it works on, how far it goes, who hears of it. */
export interface TuneRun {
  readonly model: TuneModel;
  readonly text: TuneText;
  readonly recipe: TuneRecipe;
  /** Changed in place. */
  readonly state: TuneState;
  /** Points so far are kept, new ones added. */
  readonly curve: TunePoint[];
  readonly heldOut?: TuneText;
  /** Measure the held-out text after every so many steps, and at the last; 0: before the first and after the last only. */
  readonly measureEvery?: number;
  /** Stop after this step. */
  readonly stop?: number;
  /** After each step, for a live curve. */
  readonly onPoint?: (point: TunePoint, curve: readonly TunePoint[]) => void;
  readonly onProgress?: OnProgress;
  /** Called after each step; awaited. */
  readonly afterStep?: () => Promise<void>;
  /** Asked between steps: aborting keeps the state of the last whole step. */
  readonly signal?: AbortSignal;
}

/**
 * A state before the first step.
 *
 * @param seed of what begins at random (a LoRA's A).
 */
export async function startTuning(model: TuneModel, seed: number): Promise<TuneState> {
  const values = await model.start(seed), like = () => values.map((v) => new Float32Array(v.length));
  return { step: 0, values, mean: like(), square: like() };
}

/** Mean nats a token over the asked-for tokens of all windows of a text, `batch` windows at a time. */
export async function tunedLoss(
  model: TuneModel,
  values: readonly Floats[],
  text: TuneText,
  batch: number,
  onWindow?: (done: number, total: number) => void,
): Promise<number> {
  let sum = 0, count = 0;
  for (let w = 0; w < text.windows; w += batch) {
    const which = Array.from({ length: Math.min(batch, text.windows - w) }, (_, i) => w + i);
    const part = await model.loss(values, takeWindows(text, which));
    sum += part.sum;
    count += part.count;
    onWindow?.(w + which.length, text.windows);
  }
  if (count === 0) throw new LabError("input", "held-out text", "asks for no token");
  return sum / count;
}

/**
 * One step in place: mean loss over the asked-for tokens of batch · accumulate windows, its gradient clipped to a norm,
 * AdamW at the rate that {@link warmSchedule} gives.
 *
 * @returns the loss before the step in nats a token, and the gradient's norm before clipping.
 * @throws LabError "numeric" where loss or gradient is not finite, the state as it was; "input" for a step whose windows ask
 *   for no token.
 */
export async function tuneStep(
  { model, text, recipe, state }: Pick<TuneRun, "model" | "text" | "recipe" | "state">,
): Promise<{ loss: number; norm: number }> {
  const { batch, accumulate, seed } = recipe, size = batch * accumulate;
  const which = nextWindows(text.windows, seed, state.step * size, size), count = askedTokens(takeWindows(text, which));
  if (count === 0) throw new LabError("input", "training text", `the windows of step ${state.step} ask for no token`);
  const gradients = state.values.map((v) => new Float32Array(v.length));
  let sum = 0;
  for (let i = 0; i < size; i += batch) {
    const part = takeWindows(text, which.slice(i, i + batch));
    if (askedTokens(part) > 0) sum += await model.gradient(state.values, part, 1 / count, gradients);
  }
  const loss = sum / count, norm = clipByNorm(gradients, recipe.clip);
  if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
    const problem = `the loss is ${loss}, the gradient's norm ${norm}`;
    const hint = `Try a lower learning rate than ${recipe.learningRate}; the state before this step is kept.`;
    throw new LabError("numeric", `tuning step ${state.step + 1}`, problem, hint);
  }
  const learningRate = recipe.learningRate * warmSchedule(state.step, recipe), t = ++state.step;
  model.leaves.forEach((leaf, i) => {
    const o = { ...recipe, learningRate, weightDecay: leaf.decays ? recipe.weightDecay : 0 };
    adamwStep(state.values[i], gradients[i], state.mean[i], state.square[i], t, o);
  });
  return { loss, norm };
}

/**
 * Runs a tuning to its last step, from wherever its state stands.
 *
 * @throws LabError as {@link tuneStep}; an AbortError between steps when the signal says so.
 */
export async function runTuning(run: TuneRun): Promise<void> {
  const { model, recipe, state, curve } = run, last = Math.min(run.stop ?? recipe.steps, recipe.steps);
  const begun = performance.now(),
    before = curve.at(-1)?.seconds ?? 0,
    first = state.step,
    every = run.measureEvery ?? 0;
  const measured = async () => run.heldOut ? await tunedLoss(model, state.values, run.heldOut, recipe.batch) : null;
  const note = (loss: number | null, norm: number | null, heldOut: number | null) => {
    const point = { step: state.step, loss, norm, heldOut, seconds: before + (performance.now() - begun) / 1000 };
    curve.push(point);
    run.onPoint?.(point, curve);
  };
  if (curve.length === 0) note(null, null, await measured());
  while (state.step < last) {
    run.signal?.throwIfAborted();
    const { loss, norm } = await tuneStep(run);
    const now = (every > 0 && state.step % every === 0) || state.step === recipe.steps;
    note(loss, norm, now ? await measured() : null);
    await run.afterStep?.();
    run.onProgress?.({ what: "tuning", done: state.step - first, total: last - first, unit: "steps" });
  }
}

/**
 * A recipe, checked.
 *
 * @throws LabError "input" for a number that makes no sense, by its name.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { tuneRecipe } from "./tune.ts";
 * assert.equal(tuneRecipe({ learningRate: 1e-3 }).clip, 0.3);
 * assert.throws(() => tuneRecipe({ learningRate: -1 }), /learning rate: -1/);
 * ```
 */
export function tuneRecipe(o: Partial<TuneRecipe> & Pick<TuneRecipe, "learningRate">): TuneRecipe {
  const r = { ...TUNE_DEFAULTS, ...o };
  const refuse = (what: string, value: unknown, hint: string): never => {
    throw new LabError("input", what, String(value), hint);
  };
  for (const key of ["steps", "batch", "accumulate"] as const) {
    if (!Number.isSafeInteger(r[key]) || r[key] < 1) refuse(key, r[key], "Give a whole number from 1.");
  }
  if (!Number.isSafeInteger(r.warmup) || r.warmup < 0) {
    refuse("warm-up", r.warmup, "Give a whole number of steps from 0.");
  }
  if (!(r.learningRate > 0 && r.learningRate < Infinity)) refuse("learning rate", r.learningRate, "Give one above 0.");
  if (!(r.weightDecay >= 0)) refuse("weight decay", r.weightDecay, "Give 0 or more.");
  if (!(r.clip > 0)) refuse("clip", r.clip, "Give a norm above 0.");
  if (r.schedule !== "constant" && r.schedule !== "cosine") {
    refuse("schedule", r.schedule, "It takes constant or cosine.");
  }
  return r;
}
