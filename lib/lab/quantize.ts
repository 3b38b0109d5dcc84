// The pipeline: block after block, see what flows in, quantize its linears, let the quantized outputs flow on.
import { join } from "node:path";
import { sha256File } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import { openSafetensors } from "../io/safetensors.ts";
import { type TensorToWrite, writeSafetensors } from "../io/safetensors_write.ts";
import { type Matrix, matrix } from "../io/tensor.ts";
import type { TextWindows } from "../io/windows.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { needsOf } from "../methods/method.ts";
import { findMethod } from "../methods/table.ts";
import type { LossGradients } from "../model/gradient.ts";
import type { Block, Hidden, LanguageModel } from "../model/language_model.ts";
import { quadratic } from "../model/quadratic.ts";
import { secondsSince } from "../quant/context.ts";
import { dequantize } from "../quant/dequantize.ts";
import { FactorCache } from "../quant/factor.ts";
import type { AnyLayer, LayerProblem } from "../quant/layer.ts";
import { dropFlow, keepFlow, keptFlow } from "./flow.ts";
import type { Journal, JournalLine } from "./journal.ts";
import { blockFile, type PackedEntry, packedEntry, packedTensors, readPacked } from "./packed.ts";
import { type LinearPlan, planBlock, type Recipe } from "./recipe.ts";

/** What a run is given. */
export interface QuantizeInput {
  readonly recipe: Recipe;
  readonly model: LanguageModel;
  /** Null for a method that measures nothing. */
  readonly calibration: TextWindows | null;
  readonly kernels: Kernels;
  /** Gradients of the float model on a few calibration windows, for a method that needs them. */
  readonly gradients?: LossGradients;
  readonly journal: Journal;
  readonly onProgress?: OnProgress;
  /** Asked between layers: aborting keeps all finished blocks. */
  readonly signal?: AbortSignal;
  /** After each layer, for reports and plots. */
  readonly onLayer?: (layer: AnyLayer, problem: LayerProblem) => void;
}

/** What a run left on disk: entries of all quantized linears by tensor name, and seconds by stage. */
export interface QuantizeResult {
  readonly layers: Record<string, PackedEntry>;
  readonly seconds: Record<string, number>;
  /** How many blocks had been done before. */
  readonly resumedBlocks: number;
}

/** The name of a linear's tensor in the model's own files, without ".weight". */
export function tensorName(model: LanguageModel, block: number, linear: string): string {
  const { base, blocks } = model.config.names;
  return `${base}${blocks}.${block}.${linear}`;
}

/**
 * Quantizes a model block by block into the journal's folder. Blocks that the journal knows are not done again: their
 * weights are put in and the calibration flows through, so that the result is bit-identical to a run without a break.
 *
 * @throws LabError on anything that does not fit, with the layer's name; an AbortError when the signal says so.
 */
export async function quantizeModel(input: QuantizeInput): Promise<QuantizeResult> {
  const { recipe, model, journal, calibration } = input, method = findMethod(recipe.method);
  const layers: Record<string, PackedEntry> = {}, seconds: Record<string, number> = {};
  const add = (stage: string, s: number) => seconds[stage] = (seconds[stage] ?? 0) + s;
  if (needsOf(method, recipe.options).text && !calibration) {
    throw new LabError("input", method.name, "needs calibration text");
  }
  const kept = calibration ? await keptFlow(journal.folder, journal.finished.length) : null;
  let hidden: Hidden | null = kept?.hidden ?? null;
  if (calibration && !hidden) hidden = await model.embed(calibration.ids, calibration.windows, calibration.length);
  for (let index = 0; index < model.blocks; index++) {
    const report = (what: string) => input.onProgress?.({ what, done: index, total: model.blocks, unit: "blocks" });
    const start = performance.now(), done = journal.finished[index];
    input.signal?.throwIfAborted();
    report("quantizing");
    if (done && (!hidden || index < (kept?.block ?? 0))) {
      Object.assign(layers, done.layers);
      continue;
    }
    const block = await model.openBlock(index);
    try {
      add("load", secondsSince(start));
      if (done) {
        report("going through blocks done before");
        await putBack(model, block, index, done, journal.folder);
        Object.assign(layers, done.layers);
      } else {
        const line = await quantizeBlock(input, block, index, hidden);
        await journal.append(line);
        Object.assign(layers, line.layers);
        for (const [stage, s] of Object.entries(line.seconds)) add(stage, s);
      }
      if (hidden && index + 1 < model.blocks) {
        const forward = performance.now();
        hidden = await block.forward(hidden);
        add("propagate", secondsSince(forward));
        if (!done) await keepFlow(journal.folder, index + 1, hidden);
      }
    } finally {
      block.close();
    }
  }
  await dropFlow(journal.folder);
  input.onProgress?.({ what: "quantizing", done: model.blocks, total: model.blocks, unit: "blocks" });
  return { layers, seconds, resumedBlocks: journal.finished.length };
}

/** Quantizes one block's linears, writes its file, and leaves the dequantized weights in the block. */
async function quantizeBlock(
  input: QuantizeInput,
  block: Block,
  index: number,
  hidden: Hidden | null,
): Promise<JournalLine> {
  const { recipe, model, kernels } = input, method = findMethod(recipe.method);
  const plan = planBlock(recipe, index, model.linears(index)).filter((p) => p.quantize);
  const needs = needsOf(method, recipe.options),
    context = { kernels, factors: new FactorCache(), objective: quadratic };
  const tensors: TensorToWrite[] = [], layers: Record<string, PackedEntry> = {}, seconds: Record<string, number> = {};
  const add = (stage: string, s: number) => seconds[stage] = (seconds[stage] ?? 0) + s;
  const gradients = needs.gradient ? await input.gradients?.block(index) : null;
  for (const stage of stagesOf(plan, recipe.trueSequential)) {
    const start = performance.now(), inputs = [...new Set(stage.map((p) => p.linear.input))];
    const grams = needs.hessian && hidden ? await block.gram(hidden, inputs) : new Map<string, Matrix>();
    const captured = new Map<string, Matrix>();
    if (needs.inputs && hidden) {
      for (const input of inputs) captured.set(input, sampleInputs(await block.capture(hidden, input)));
    }
    if (grams.size + captured.size > 0) add("calibrate", secondsSince(start));
    const finished: [LinearPlan, Matrix][] = [];
    for (const p of stage) {
      input.signal?.throwIfAborted();
      const weight = block.weight(p.linear.name), hessian = grams.get(p.linear.input) ?? null;
      const inputs = captured.get(p.linear.input) ?? null;
      const gradient = gradients?.get(p.linear.name) ?? null;
      const problem = { name: p.name, weight, hessian, inputs, gradient, seed: recipe.seed };
      const begun = performance.now();
      const layer = await method.quantizeLayer(problem, p.options, p.bits, p.weakColumns, context);
      const stages = Object.entries(layer.report.seconds);
      for (const [name, s] of stages.length > 0 ? stages : [[method.name, secondsSince(begun)] as const]) add(name, s);
      input.onLayer?.(layer, problem);
      const name = tensorName(model, index, p.linear.name);
      tensors.push(...packedTensors(name, layer));
      layers[name] = packedEntry(blockFile(index), layer);
      finished.push([p, dequantize(layer)]);
    }
    for (const [p, w] of finished) block.setWeight(p.linear.name, w);
  }
  const file = blockFile(index), path = join(input.journal.folder, file), start = performance.now();
  await Deno.mkdir(join(path, ".."), { recursive: true });
  await writeSafetensors(path, tensors, { owq_lab: "block" });
  add("save", secondsSince(start));
  return { block: index, file, sha256: await sha256File(path), layers, seconds };
}

/** Tokens of the calibration text that a method sees the inputs of: every so many-th, so that all windows take part. */
const INPUT_TOKENS = 2048;

/** At most INPUT_TOKENS rows of X (tokens, in), evenly spread. */
export function sampleInputs(x: Matrix): Matrix {
  if (x.rows <= INPUT_TOKENS) return x;
  const sample = matrix(INPUT_TOKENS, x.cols);
  for (let t = 0; t < INPUT_TOKENS; t++) {
    const from = Math.floor(t * x.rows / INPUT_TOKENS) * x.cols;
    sample.data.set(x.data.subarray(from, from + x.cols), t * x.cols);
  }
  return sample;
}

/** All at once, or in the order in which a block computes them. */
function stagesOf(plan: readonly LinearPlan[], trueSequential: boolean): LinearPlan[][] {
  if (!trueSequential) return plan.length > 0 ? [[...plan]] : [];
  const stages = [...new Set(plan.map((p) => p.linear.stage))].sort((a, b) => a - b);
  return stages.map((s) => plan.filter((p) => p.linear.stage === s));
}

async function putBack(
  model: LanguageModel,
  block: Block,
  index: number,
  line: JournalLine,
  folder: string,
): Promise<void> {
  const file = openSafetensors(join(folder, line.file));
  try {
    for (const { name } of model.linears(index)) {
      const tensor = tensorName(model, index, name), entry = line.layers[tensor];
      if (entry) block.setWeight(name, dequantize(await readPacked(file, tensor, entry)));
    }
  } finally {
    file.close();
  }
}
