// Training of a small LLaMA: loss, batches, one step. All state is plain arrays and one step number, so a run that is
// stopped and resumed is the same run bit by bit.
import { defaultDevice, init, jit, nn, numpy as np, valueAndGrad } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import { rng } from "../io/rng.ts";
import type { Floats } from "../io/tensor.ts";
import { adamwStep, clipByNorm, warmPlateauDecay } from "./adamw.ts";
import type { ModelConfig, RawConfig } from "./config.ts";
import { modelConfig } from "./families.ts";
import { injectionPlan } from "./outliers.ts";
import { block, blockPrefix, blockShapes, logits, makeTables, parameterShapes, type Params } from "./forward.ts";

/** Everything that decides a training run, besides the text. */
export interface TrainRecipe {
  readonly seed: number;
  /** config.json of the model: a family of RMS norms, rotary positions and tied embeddings. */
  readonly config: RawConfig;
  /** Tokens in a step; windows are shorter before the decay than in it. */
  readonly tokensPerStep: number;
  readonly lengthBefore: number;
  readonly lengthInDecay: number;
  readonly steps: number;
  readonly warmup: number;
  readonly decay: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** On matrices; embedding and gains of norms are not decayed. */
  readonly weightDecay: number;
  readonly clip: number;
  /** A last stage that makes channels of the norms loud and learns on; null for none. */
  readonly outlierStage: OutlierStage | null;
}

/**
 * At `step`, {@link injectionPlan} chooses channels of each norm: their gains grow by `factor`, the columns that read them
 * shrink by it, so the function stays. Then AdamW starts anew with a rate that falls linearly to 0 at the last step. The
 * channels stay loud and their columns small (500 steps at 6e-4 move a column of 1/16 to about 1/10 of the others).
 */
export interface OutlierStage {
  readonly step: number;
  readonly learningRate: number;
  readonly warmup: number;
  readonly share: number;
  readonly factor: number;
}

/** Where a run stands: steps done, and for each tensor of parameterShapes the weights and AdamW's two moments. */
export interface TrainState {
  step: number;
  readonly weights: Floats[];
  readonly mean: Floats[];
  readonly square: Floats[];
}

/** Standard deviation of a tensor's random start: matrices that write into the residual stream start smaller. */
function startDeviation(c: ModelConfig, name: string, shape: readonly number[]): number {
  if (name.includes(c.names.embed)) return 0.02;
  const writes = name.includes(c.names.output) || name.includes(c.names.down);
  return 1 / Math.sqrt(shape[1] * (writes ? 2 * c.blocks : 1));
}

/**
 * Random weights: normal with deviation 1/√in, divided by √(2·blocks) where a matrix writes into the residual stream,
 * 0.02 for the embedding; gains of norms are 1.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { modelConfig } from "./families.ts";
 * import { startState } from "./train.ts";
 * const c = modelConfig({ model_type: "llama", vocab_size: 8, hidden_size: 4, intermediate_size: 8,
 *   num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 16, tie_word_embeddings: true });
 * assert.equal(startState(c, 1).weights[0].length, 32);
 * ```
 */
export function startState(c: ModelConfig, seed: number): TrainState {
  const weights: Floats[] = [], mean: Floats[] = [], square: Floats[] = [];
  for (const [name, shape] of parameterShapes(c)) {
    const n = shape.reduce((a, b) => a * b, 1), random = rng(seed, `start ${name}`);
    const deviation = shape.length === 1 ? 0 : startDeviation(c, name, shape);
    weights.push(Float32Array.from({ length: n }, () => deviation === 0 ? 1 : deviation * random.normal()));
    mean.push(new Float32Array(n));
    square.push(new Float32Array(n));
  }
  return { step: 0, weights, mean, square };
}

/**
 * Where windows number `firstWindow` and the next ones begin: each pass over the text visits all windows of length + 1
 * tokens once, in a random order and shifted by a random offset. Depends on its arguments alone, so a resumed run goes
 * on with the same windows.
 *
 * @param tokens number of tokens in the text, at least three windows.
 * @param count how many windows.
 * @returns their first tokens' positions.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { batchStarts } from "./train.ts";
 * assert.equal(batchStarts(1000, 1, 10, 0, 4).length, 4);
 * ```
 */
export function batchStarts(
  tokens: number,
  seed: number,
  length: number,
  firstWindow: number,
  count: number,
): number[] {
  const perPass = Math.floor((tokens - 1) / length) - 1;
  const starts: number[] = [];
  let pass = -1, order = new Int32Array(0), offset = 0;
  for (let i = firstWindow; i < firstWindow + count; i++) {
    if (Math.floor(i / perPass) !== pass) {
      pass = Math.floor(i / perPass);
      const random = rng(seed, `windows of ${length}, pass ${pass}`);
      offset = random.int(length);
      order = random.permutation(perPass);
    }
    starts.push(offset + order[i % perPass] * length);
  }
  return starts;
}

/** Makes the channels of an outlier stage loud, in place, and forgets AdamW's moments. */
function startOutlierStage(c: ModelConfig, state: TrainState, stage: OutlierStage, seed: number): void {
  const plan = injectionPlan(c, Math.max(1, Math.round(stage.share * c.width)), seed);
  for (const [i, [name, shape]] of [...parameterShapes(c)].entries()) {
    state.mean[i].fill(0);
    state.square[i].fill(0);
    const part = plan.get(name), w = state.weights[i], width = shape[shape.length - 1];
    for (let row = 0; part && row < w.length; row += width) {
      for (const k of part.channels) w[row + k] *= part.columns ? 1 / stage.factor : stage.factor;
    }
  }
}

const array = (data: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>, shape: readonly number[]) =>
  np.array(data, { shape: [...shape] });

/** A model under training: steps and measurements on one text. */
export interface Trainer {
  /** Makes one step in place. Returns the loss in nats a token and the gradient's norm before clipping. */
  step(state: TrainState): Promise<{ loss: number; norm: number; tokens: number }>;
  /** Mean nats a token over windows of a text: `length` predictions from each of `starts`. */
  measure(state: TrainState, tokens: Int32Array, starts: readonly number[], length: number): Promise<number>;
}

/** Weights and embedded tokens (batch, length, width) and targets (batch·length), all consumed → mean nll. */
type Loss = (weights: np.Array[], embedded: np.Array, targets: np.Array) => np.Array;

/** The loss as a function of its weights, for windows of `length`. */
function lossFunction(c: ModelConfig, length: number): Loss {
  const names = [...parameterShapes(c).keys()], tables = makeTables(c, 0, length, null);
  return (weights, embedded, targets) => {
    const p: Params = Object.fromEntries(names.map((name, i) => [name, weights[i]]));
    let x = embedded;
    for (let i = 0; i < c.blocks; i++) {
      const prefix = blockPrefix(c, i);
      const own: Params = Object.fromEntries([...blockShapes(c).keys()].map((name) => [name, p[prefix + name]]));
      x = block(c, own, tables, x);
    }
    const scores = logits(c, p, x).reshape([targets.shape[0], c.vocab]);
    const chosen = np.sum(scores.ref.mul(nn.oneHot(targets, c.vocab)), -1);
    for (const w of weights) w.dispose();
    return np.mean(nn.logsumexp(scores, -1).sub(chosen));
  };
}

/**
 * Prepares training of `recipe` on `tokens` with jax-js on WebAssembly threads.
 *
 * The embedding is looked up, and its gradient added up, on plain arrays: jax-js has no derivative of a lookup in a jit,
 * and a product with one-hot rows would cost as much as the head.
 *
 * @param recipe see {@link TrainRecipe}.
 * @param tokens the training text as token ids.
 * @throws LabError("input") when a step's tokens are no multiple of a window's length, the model's embedding is no plain
 *   tied table, or the text is shorter than a step; from a step LabError("numeric") when its gradient is not finite.
 */
export async function openTrainer(recipe: TrainRecipe, tokens: Int32Array): Promise<Trainer> {
  await init("wasm");
  defaultDevice("wasm");
  const c = modelConfig(recipe.config), shapes = [...parameterShapes(c).values()];
  for (const length of [recipe.lengthBefore, recipe.lengthInDecay]) {
    if (recipe.tokensPerStep % length !== 0) {
      throw new LabError(
        "input",
        "recipe",
        `${recipe.tokensPerStep} tokens a step are no multiple of windows of ${length}`,
      );
    }
    if (tokens.length < 3 * length) {
      throw new LabError("input", "training text", `${tokens.length} tokens are fewer than three windows of ${length}`);
    }
  }
  if (!c.tied || c.embedWidth !== c.width || c.positions.kind !== "rotary" || c.names.embedNorm !== null) {
    throw new LabError(
      "input",
      "recipe",
      `training knows rotary positions and tied embeddings only, this ${c.family} differs`,
    );
  }

  const compiled = new Map<string, (...a: Parameters<Loss>) => [loss: np.Array, [np.Array[], np.Array]]>();
  const compile = (batch: number, length: number) => {
    const key = `${batch} × ${length}`;
    let found = compiled.get(key);
    if (!found) {
      const both = jit(valueAndGrad(lossFunction(c, length), { argnums: [0, 1] }));
      compiled.set(key, found = both as unknown as NonNullable<typeof found>); // its type does not follow argnums
    }
    return found;
  };

  /** Arguments of the compiled functions for the windows at `starts`, and the tokens that were looked up. */
  const prepare = (state: TrainState, text: Int32Array, starts: readonly number[], length: number) => {
    const batch = starts.length, inputs = new Int32Array(batch * length), targets = new Int32Array(batch * length);
    starts.forEach((start, w) => {
      inputs.set(text.subarray(start, start + length), w * length);
      targets.set(text.subarray(start + 1, start + 1 + length), w * length);
    });
    const embedded = new Float32Array(batch * length * c.width), [table] = state.weights;
    inputs.forEach((id, i) => embedded.set(table.subarray(id * c.width, (id + 1) * c.width), i * c.width));
    const args: Parameters<Loss> = [
      shapes.map((shape, i) => array(state.weights[i], shape)),
      array(embedded, [batch, length, c.width]),
      array(targets, [batch * length]),
    ];
    return { inputs, args };
  };

  const stage = recipe.outlierStage, firstEnd = stage?.step ?? recipe.steps;
  const turn = firstEnd - recipe.decay; // windows are counted anew where their length changes
  /** The learning rate of a step and the number of AdamW's step, from 1. */
  const pace = (step: number): [learningRate: number, t: number] => {
    if (stage === null || step < firstEnd) {
      return [recipe.learningRate * warmPlateauDecay(step, { ...recipe, steps: firstEnd }), step + 1];
    }
    const steps = recipe.steps - firstEnd, { warmup } = stage;
    return [
      stage.learningRate * warmPlateauDecay(step - firstEnd, { steps, warmup, decay: steps }),
      step - firstEnd + 1,
    ];
  };

  return {
    async step(state) {
      if (stage !== null && state.step === firstEnd) startOutlierStage(c, state, stage, recipe.seed);
      const length = state.step < turn ? recipe.lengthBefore : recipe.lengthInDecay;
      const batch = recipe.tokensPerStep / length, first = (state.step < turn ? state.step : state.step - turn) * batch;
      const starts = batchStarts(tokens.length, recipe.seed, length, first, batch);
      const { inputs, args } = prepare(state, tokens, starts, length);
      const [value, [byWeight, byToken]] = compile(batch, length)(...args);
      const loss = (await value.data())[0];
      const gradients = await Promise.all(byWeight.map(async (g) => new Float32Array(await g.data() as Floats)));
      const rows = await byToken.data(), [table] = gradients;
      inputs.forEach((id, i) => {
        for (let j = 0; j < c.width; j++) table[id * c.width + j] += rows[i * c.width + j];
      });
      const norm = clipByNorm(gradients, recipe.clip);
      if (!Number.isFinite(norm)) {
        throw new LabError(
          "numeric",
          `step ${state.step}`,
          `the gradient's norm is ${norm}`,
          "Try a lower learning rate.",
        );
      }
      const [learningRate, t] = pace(state.step++);
      shapes.forEach((shape, i) => {
        const o = { ...recipe, learningRate, weightDecay: i > 0 && shape.length === 2 ? recipe.weightDecay : 0 };
        adamwStep(state.weights[i], gradients[i], state.mean[i], state.square[i], t, o);
      });
      return { loss, norm, tokens: inputs.length };
    },

    async measure(state, text, starts, length) {
      const batch = Math.max(1, Math.floor(recipe.tokensPerStep / length));
      let sum = 0;
      for (let i = 0; i < starts.length; i += batch) {
        const some = starts.slice(i, i + batch), { args } = prepare(state, text, some, length);
        // The gradient is thrown away: in jax-js the loss alone is no faster, and this function is compiled already.
        const [value, [byWeight, byToken]] = compile(some.length, length)(...args);
        sum += (await value.data())[0] * some.length;
        for (const g of [...byWeight, byToken]) g.dispose();
      }
      return sum / starts.length;
    },
  };
}
