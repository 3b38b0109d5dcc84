// How long a run will take, from a few seconds of the real work: one block, two windows, a few rows of one layer.
import { type Matrix, matrix } from "../io/tensor.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { needsOf } from "../methods/method.ts";
import { findMethod } from "../methods/table.ts";
import { secondsSince } from "../quant/context.ts";
import type { LayerProblem } from "../quant/layer.ts";
import type { OpenedExperiment } from "./experiment.ts";
import { sampleInputs } from "./quantize.ts";

/** Seconds by stage, and their sum. */
export interface TimeEstimate {
  readonly calibrate: number;
  readonly quantize: number;
  readonly evaluate: number;
  readonly total: number;
}

/** Rows of the layer that is tried: enough to fill the threads, few enough to be quick. */
const TRIED_ROWS = 32;

/**
 * Estimates a run by doing a small part of it on this machine, now: with other work going on, it is that much longer.
 *
 * @returns seconds; the evaluation counts the float and the quantized model.
 */
export async function estimateTime(x: OpenedExperiment, kernels: Kernels): Promise<TimeEstimate> {
  const { model, calibration, evaluation, recipe } = x, text = calibration ?? evaluation;
  const take = Math.min(2, text.windows);
  const hidden = await model.embed(text.ids.subarray(0, take * text.length), take, text.length);
  const block = await model.openBlock(0);
  const timed = async (work: () => Promise<unknown>) => {
    await work(); // compiles
    const start = performance.now();
    await work();
    return secondsSince(start);
  };
  try {
    const method = findMethod(recipe.method), tokens = (w: { windows: number; length: number }) => w.windows * w.length;
    const perToken = await timed(() => block.forward(hidden)) / (take * text.length);
    let calibrate = 0, quantize = 0;
    if (calibration) {
      const gram = await timed(() => block.gram(hidden)) / (take * text.length);
      calibrate = model.blocks * tokens(calibration) * (gram + perToken);
    }
    const plan = x.plan.blocks[0].find((p) => p.quantize);
    if (plan) {
      const { name, input } = plan.linear;
      const needs = needsOf(method, recipe.options);
      const hessian = needs.hessian ? (await block.gram(hidden, [input])).get(input) ?? null : null;
      const inputs = needs.inputs ? sampleInputs(await block.capture(hidden, input)) : null;
      const problem = tried(block.weight(name), hessian, inputs);
      const seconds = await timed(() =>
        method.quantizeLayer(problem, plan.options, plan.bits, Math.min(plan.weakColumns, 2), { kernels })
      );
      const weights = x.plan.blocks.flat().filter((p) => p.quantize).reduce(
        (a, p) => a + p.linear.in * p.linear.out,
        0,
      );
      quantize = seconds * weights / (problem.weight.rows * problem.weight.cols);
    }
    const evaluate = 2 * (model.blocks + 1) * tokens(evaluation) * perToken;
    return { calibrate, quantize, evaluate, total: calibrate + quantize + evaluate };
  } finally {
    block.close();
  }
}

function tried(w: Matrix, hessian: Matrix | null, inputs: Matrix | null): LayerProblem {
  const weight = matrix(Math.min(TRIED_ROWS, w.rows), w.cols);
  weight.data.set(w.data.subarray(0, weight.data.length));
  // Any gradient does: it is the time that counts.
  return { name: "estimate", weight, hessian, inputs, gradient: weight, seed: 0 };
}
