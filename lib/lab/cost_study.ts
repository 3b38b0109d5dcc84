// Notebook 11: how long the stages of quantization take on this device, on made-up layers of many sizes and on a model's own.
import { rng } from "../io/rng.ts";
import { matrix } from "../io/tensor.ts";
import { openKernels } from "../kernels/kernels.ts";
import type { OnProgress } from "../io/progress.ts";
import { secondsSince } from "../quant/context.ts";
import { owq, OWQ_DEFAULTS } from "../quant/owq.ts";
import type { LayerProblem } from "../quant/layer.ts";
import { quadratic } from "../model/quadratic.ts";
import type { LanguageModel } from "../model/language_model.ts";
import type { Row } from "./compare.ts";
import { type Plan, planExperiment } from "./plan.ts";
import { packedFolders } from "./sweep.ts";
import { type LayerStudy, openStudy, type StudyText } from "./layer_study.ts";
import { blockForward, blockGram, type CostStage, layerOperations } from "./quantization_cost.ts";

/** Stages that a layer's own report tells apart. */
export const LAYER_STAGES = ["sensitivity", "search", "factor", "sweep", "objective"] as const;

/** One layer, quantized and timed. */
export interface LayerCost {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly seconds: Readonly<Record<(typeof LAYER_STAGES)[number], number>>;
}

/** A layer (n, n) of normal weights; H = I + a few loud directions, so that it costs little to make. */
function madeUpLayer(n: number, seed: number): LayerProblem {
  const random = rng(seed, `cost ${n}`), weight = matrix(n, n), hessian = matrix(n, n);
  for (let i = 0; i < weight.data.length; i++) weight.data[i] = random.normal();
  for (let d = 0; d < 4; d++) {
    const x = Array.from({ length: n }, () => random.normal());
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) hessian.data[i * n + j] += x[i] * x[j];
  }
  for (let i = 0; i < n; i++) hessian.data[i * n + i] += 4;
  return { name: `(${n}, ${n})`, weight, hessian, seed };
}

/**
 * Quantizes one layer by OWQ and says how long each stage took: the median of some runs, after one that compiles.
 *
 * @param weak columns kept. @param bits of a code.
 */
export async function layerCost(
  problem: LayerProblem,
  bits: number,
  weak: number,
  kernels: Awaited<ReturnType<typeof openKernels>>,
  repeats: number,
): Promise<LayerCost> {
  const runs: Readonly<Record<string, number>>[] = [], { rows, cols } = problem.weight;
  for (let r = 0; r <= repeats; r++) {
    const layer = await owq(problem, { ...OWQ_DEFAULTS, bits }, weak, { kernels, objective: quadratic });
    if (r > 0 || repeats === 0) runs.push(layer.report.seconds);
  }
  const seconds = Object.fromEntries(LAYER_STAGES.map((s) => {
    const own = runs.map((r) => r[s] ?? 0).sort((a, b) => a - b);
    return [s, Math.max(own[(own.length - 1) >> 1], 1e-6)];
  })) as LayerCost["seconds"];
  return { name: problem.name, out: rows, in: cols, seconds };
}

/** Square layers of several sizes, at 3 bits with 4 weak columns. */
export async function sizeTimes(
  sizes: readonly number[],
  o: { readonly bits: number; readonly weak: number; readonly repeats: number; readonly seed: number },
  onProgress?: OnProgress,
): Promise<LayerCost[]> {
  const kernels = await openKernels("auto"), out: LayerCost[] = [];
  try {
    for (const [i, n] of sizes.entries()) {
      onProgress?.({ what: `a layer (${n}, ${n})`, done: i, total: sizes.length, unit: "sizes" });
      out.push(await layerCost(madeUpLayer(n, o.seed), o.bits, o.weak, kernels, o.repeats));
    }
    onProgress?.({ what: "layers", done: sizes.length, total: sizes.length, unit: "sizes" });
  } finally {
    kernels.close();
  }
  return out;
}

/** One model's own layers, and how fast it reads. */
export interface ModelTimes {
  readonly label: string;
  readonly kernels: string;
  readonly layers: readonly LayerCost[];
  /** Seconds an operation of the forward pass and of the second moments, on block 0. */
  readonly perOperation: Readonly<Record<Extract<CostStage, "forward" | "gram">, number>>;
  readonly study: LayerStudy;
}

/**
 * Times a model's own layers, one by one, and the two passes of its first block.
 *
 * @param pattern which layers. @param text the calibration text. The caller closes `study`.
 */
export async function modelTimes(
  spec: string,
  pattern: string,
  text: StudyText & { readonly seed: number },
  o: { readonly bits: number; readonly weak: number },
  onProgress?: OnProgress,
): Promise<ModelTimes> {
  const study = await openStudy(spec, text), kernels = await openKernels("auto"), layers: LayerCost[] = [];
  try {
    const { model, windows } = study, tokens = windows.windows * windows.length;
    const hidden = await model.embed(windows.ids, windows.windows, windows.length), block = await model.openBlock(0);
    const timed = async (work: () => Promise<unknown>) => {
      await work(); // compiles
      const start = performance.now();
      await work();
      return secondsSince(start);
    };
    const forward = await timed(() => block.forward(hidden)), gram = await timed(() => block.gram(hidden));
    block.close();
    for await (const layer of study.layers(pattern, onProgress)) {
      layers.push(
        await layerCost(layer, o.bits, Math.min(o.weak, layer.weight.cols - 1), kernels, layers.length < 7 ? 1 : 0),
      );
    }
    const passes = blockForward(model.config, tokens, windows.length), moments = blockGram(model.config, tokens);
    return {
      label: study.label,
      kernels: kernels.description,
      layers,
      // What the second moments take beyond the pass that they ride on; never less than a tenth of their call.
      perOperation: { forward: forward / passes, gram: Math.max(gram - forward, gram / 10) / moments },
      study,
    };
  } catch (e) {
    study.close();
    throw e;
  } finally {
    kernels.close();
  }
}

/** A finished row with its plan and its files. */
export interface StoredRow {
  readonly label: string;
  readonly plan: Plan;
  readonly bytes: { readonly blocks: number; readonly rest: number };
}

/** What was planned to be stored for each row, and what its packed folder takes. @param model of all rows. */
export async function storedRows(rows: readonly Row[], model: LanguageModel): Promise<StoredRow[]> {
  const folders = await packedFolders(rows.map((r) => r.recipe));
  return await Promise.all(rows.map(async ({ label, recipe }, i) => ({
    label,
    plan: planExperiment(recipe, model),
    bytes: await packedBytesOf(folders[i]),
  })));
}

/**
 * Bytes of a packed model's files by kind.
 *
 * @param folder of the packed model. @returns bytes of the quantized blocks, and of all that stayed as it was.
 */
export async function packedBytesOf(folder: string): Promise<{ blocks: number; rest: number }> {
  let blocks = 0;
  for await (const entry of Deno.readDir(`${folder}/blocks`)) {
    if (entry.isFile) blocks += (await Deno.stat(`${folder}/blocks/${entry.name}`)).size;
  }
  return { blocks, rest: (await Deno.stat(`${folder}/rest.safetensors`)).size };
}

/** All seconds of a layer. */
export function totalSeconds(l: LayerCost): number {
  return LAYER_STAGES.reduce((a, s) => a + l.seconds[s], 0);
}

/** Operations of a timed layer. */
export function operationsOf(l: LayerCost, bits: number) {
  return layerOperations(l.out, l.in, {
    bits,
    steps: OWQ_DEFAULTS.steps,
    sensitivitySteps: OWQ_DEFAULTS.sensitivitySteps,
  });
}
