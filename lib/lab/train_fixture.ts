// Makes the embedded model: vocabulary, training with durable checkpoints, measurement of what was written, its papers.
import { join } from "node:path";
import { atomicWriteText, ensureWritableFolder } from "../io/atomic.ts";
import { bpeEncoder, tokenizerJson, trainBpe } from "../io/bpe_train.ts";
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import { openSafetensors } from "../io/safetensors.ts";
import { writeSafetensors } from "../io/safetensors_write.ts";
import { modelConfig } from "../model/families.ts";
import { parameterShapes } from "../model/forward.ts";
import { openLanguageModel } from "../model/language_model.ts";
import { type InputOutliers, outlierReport } from "../model/outlier_report.ts";
import { perplexity } from "../model/perplexity.ts";
import { openTrainer, startState, type TrainRecipe, type TrainState } from "../model/train.ts";
import { type CurvePoint, loadCheckpoint, saveCheckpoint } from "../model/train_checkpoint.ts";
import { unigramNll } from "../model/unigram.ts";
import { fixtureReadme } from "./fixture_readme.ts";

/** A text to learn from and its end that is only measured on; lib/io/books.ts has two. */
export interface TrainText {
  readonly name: string;
  readonly train: string;
  readonly heldOut: string;
}

/** Where a run works, how long, and who hears of it. */
export interface TrainFixtureOptions {
  readonly recipe: TrainRecipe;
  readonly texts: readonly TrainText[];
  /** Folder of the model; written when training is over, or with `stop`. */
  readonly out: string;
  /** Folder of the checkpoint; a run that finds one there goes on. */
  readonly work: string;
  /** Stop after this many steps and write what there is. */
  readonly stop?: number;
  readonly checkpointSeconds?: number;
  readonly onProgress?: OnProgress;
  readonly onLine?: (line: string) => void;
}

/** What the finished model achieves on one held-out text. */
export interface HeldOutResult {
  readonly name: string;
  /** Predictions measured: all windows of the text, one token less each. */
  readonly tokens: number;
  readonly perplexity: number;
  /** Of the token frequencies of the training text, on the same held-out tokens. */
  readonly unigramPerplexity: number;
  readonly bitsPerByte: number;
}

/** training.json: all there is to know about how a model came to be. */
export interface TrainReport {
  readonly recipe: TrainRecipe;
  readonly steps: number;
  readonly parameters: number;
  readonly text: {
    readonly names: readonly string[];
    readonly trainTokens: number;
    readonly heldOutTokens: number;
    readonly heldOutBytes: number;
    readonly sha256: string;
  };
  readonly window: number;
  readonly heldOut: HeldOutResult;
  readonly byText: readonly HeldOutResult[];
  readonly outliers: readonly InputOutliers[];
  readonly seconds: number;
  /** What a reader of a committed copy must know besides; written by hand. */
  readonly remark?: string;
  readonly curve: readonly CurvePoint[];
}

/** Windows of the held-out text for the points of the curve: enough to see the trend. */
const CURVE_WINDOWS = 64, CURVE_EVERY = 200, LOSS_EVERY = 20;

/**
 * Trains a small language model from a recipe and writes it as a Hugging Face folder: config.json, model.safetensors in
 * 16 bits, tokenizer.json, README.md and training.json. Stopped at any moment, it goes on from its last checkpoint, and
 * ends with the same bits.
 *
 * @returns the report that training.json holds.
 * @throws LabError("resume") for a checkpoint of another recipe or text, "storage" for a folder that cannot be written,
 *   "numeric" for a gradient that is not finite.
 */
export async function trainFixture(o: TrainFixtureOptions): Promise<TrainReport> {
  const { recipe, texts } = o, config = modelConfig(recipe.config), shapes = parameterShapes(config);
  await ensureWritableFolder(o.work);
  await ensureWritableFolder(o.out);
  const bpe = trainBpe(texts.map((t) => t.train).join("\n\n"), config.vocab), encode = bpeEncoder(bpe);
  if (bpe.vocabulary.length < config.vocab) {
    const problem = `yields ${bpe.vocabulary.length} tokens, the recipe wants ${config.vocab}`;
    throw new LabError("input", "training text", problem, "Use a longer text or a smaller vocabulary.");
  }
  const tokens = (part: (t: TrainText) => string) =>
    Int32Array.from(texts.flatMap((t) => [...encode(part(t)), bpe.endOfText]));
  const train = tokens((t) => t.train),
    heldOut = tokens((t) => t.heldOut),
    digest = sha256Hex(new Uint8Array(train.buffer));
  o.onLine?.(`${train.length} tokens to learn from, ${heldOut.length} held out`);

  const state = startState(config, recipe.seed), file = join(o.work, "checkpoint.safetensors");
  const before = await loadCheckpoint(file, shapes, state, recipe, digest);
  const curve = before?.curve ?? [], begun = performance.now();
  if (before) o.onLine?.(`going on after step ${state.step} of ${recipe.steps}`);
  const seconds = () => (before?.seconds ?? 0) + (performance.now() - begun) / 1000;
  const save = () => saveCheckpoint(file, shapes, state, { recipe, text: digest, curve, seconds: seconds() });

  const trainer = await openTrainer(recipe, train), last = Math.min(o.stop ?? recipe.steps, recipe.steps);
  const probes = spread(heldOut.length, recipe.lengthBefore, CURVE_WINDOWS);
  let losses: number[] = [], saved = performance.now();
  const first = state.step; // time left counts from where this run began
  while (state.step < last) {
    losses.push((await trainer.step(state)).loss);
    if (state.step % LOSS_EVERY === 0 || state.step === last) {
      const measured = state.step % CURVE_EVERY === 0 || state.step === recipe.steps;
      const heldOutLoss = measured ? await trainer.measure(state, heldOut, probes, recipe.lengthBefore) : null;
      const trainLoss = losses.reduce((a, b) => a + b) / losses.length;
      curve.push({ step: state.step, trainLoss, heldOutLoss, seconds: seconds() });
      losses = [];
      if (heldOutLoss !== null) {
        const [a, b] = [trainLoss, heldOutLoss].map((x) => Math.exp(x).toFixed(1));
        o.onLine?.(`step ${state.step}: perplexity ${a}, held out ${b}`);
      }
      // Only here, where no loss waits for its point of the curve: a resumed run then has the same curve.
      if (performance.now() - saved > 1000 * (o.checkpointSeconds ?? 120) || state.step === last) {
        await save();
        saved = performance.now();
      }
    }
    o.onProgress?.({ what: "training", done: state.step - first, total: last - first, unit: "steps" });
  }

  await writeModel(o.out, recipe, state, shapes);
  await atomicWriteText(join(o.out, "tokenizer.json"), JSON.stringify(tokenizerJson(bpe), null, 1) + "\n");
  const tokenizerConfig = {
    tokenizer_class: "PreTrainedTokenizerFast",
    eos_token: bpe.vocabulary[bpe.endOfText],
    clean_up_tokenization_spaces: false,
    model_max_length: config.maxPositions,
  };
  await atomicWriteText(join(o.out, "tokenizer_config.json"), JSON.stringify(tokenizerConfig, null, 2) + "\n");
  o.onLine?.("measuring the model as it was written");
  const measured = await measure(o.out, recipe, texts, encode, train);
  const report: TrainReport = {
    recipe,
    steps: state.step,
    parameters: state.weights.reduce((n, w) => n + w.length, 0),
    text: {
      names: texts.map((t) => t.name),
      trainTokens: train.length,
      heldOutTokens: heldOut.length,
      heldOutBytes: texts.reduce((n, t) => n + new TextEncoder().encode(t.heldOut).length, 0),
      sha256: digest,
    },
    window: recipe.lengthInDecay,
    ...measured,
    seconds: Math.round(before && state.step === curve.at(-1)?.step ? curve.at(-1)!.seconds : seconds()),
    curve,
  };
  await atomicWriteText(join(o.out, "training.json"), JSON.stringify(report, null, 1) + "\n");
  await atomicWriteText(join(o.out, "README.md"), fixtureReadme(report));
  return report;
}

/** `count` window starts, evenly over a text of `tokens`. */
function spread(tokens: number, length: number, count: number): number[] {
  const stride = Math.max(1, Math.floor((tokens - length - 1) / count));
  return Array.from({ length: count }, (_, i) => i * stride).filter((start) => start + length < tokens);
}

async function writeModel(
  out: string,
  recipe: TrainRecipe,
  state: TrainState,
  shapes: ReadonlyMap<string, readonly number[]>,
) {
  const tensors = [...shapes].map(([name, shape], i) => ({ name, dtype: "F16", shape, data: state.weights[i] }));
  await writeSafetensors(join(out, "model.safetensors"), tensors, { format: "pt" });
  await atomicWriteText(join(out, "config.json"), JSON.stringify(recipe.config, null, 2) + "\n");
}

/** Perplexity on each held-out text and statistics of activations, of the files in `folder`. */
async function measure(
  folder: string,
  recipe: TrainRecipe,
  texts: readonly TrainText[],
  encode: (text: string) => number[],
  train: Int32Array,
): Promise<Pick<TrainReport, "heldOut" | "byText" | "outliers">> {
  const length = recipe.lengthInDecay, source = openSafetensors(join(folder, "model.safetensors"));
  const model = await openLanguageModel({ label: folder, config: recipe.config, source });
  const byText: HeldOutResult[] = [], sums = { nll: 0, unigram: 0, tokens: 0, bits: 0, bytes: 0 };
  let outliers: InputOutliers[] = [];
  for (const { name, heldOut } of texts) {
    const all = encode(heldOut), windows = Math.floor(all.length / length);
    const ids = Int32Array.from(all.slice(0, windows * length));
    const { tokens, meanNll } = await perplexity(model, { ids, windows, length }), nll = meanNll * tokens;
    const targets = ids.filter((_, i) => i % length > 0), unigram = unigramNll(train, targets, model.config.vocab);
    const share = new TextEncoder().encode(heldOut).length * tokens / all.length; // bytes that these tokens stand for
    const bits = nll / Math.LN2;
    byText.push({
      name,
      tokens,
      perplexity: Math.exp(meanNll),
      unigramPerplexity: Math.exp(unigram),
      bitsPerByte: bits / share,
    });
    sums.nll += nll;
    sums.unigram += unigram * tokens;
    sums.tokens += tokens;
    sums.bits += bits;
    sums.bytes += share;
    const few = Math.min(16, windows);
    outliers = await outlierReport(model, ids.subarray(0, few * length), few, length);
  }
  model.close();
  source.close();
  const heldOut = {
    name: texts.map((t) => t.name).join(" + "),
    tokens: sums.tokens,
    perplexity: Math.exp(sums.nll / sums.tokens),
    unigramPerplexity: Math.exp(sums.unigram / sums.tokens),
    bitsPerByte: sums.bits / sums.bytes,
  };
  return { heldOut, byText, outliers };
}
