// OPTQ (GPTQ). Columns are rounded one after another; each rounding error is fed back into the columns to come, weighted
// by the inputs' second moment, so that the layer's output changes least.
//   minimise tr(D H Dᵀ), D = Ŵ − W: q_k from w_k + Σ_{j<k} (w_j − ŵ_j) M[j, k]
import { optq, OPTQ_DEFAULTS, type OptqOptions } from "../quant/optq.ts";
import { gridCandidates } from "./fit.ts";
import { gridStorage, type Method, type Options } from "./method.ts";

const { bits: _bits, ...defaults } = OPTQ_DEFAULTS;

/** OPTQ's options out of a recipe's. */
export function optqOptions(o: Options, bits: number): OptqOptions {
  return {
    bits,
    tuning: o.tuning === "mse" ? "mse" : "minmax",
    symmetric: o.symmetric === true,
    groupSize: Number(o.groupSize),
    steps: Number(o.steps),
    groupSteps: Number(o.groupSteps),
    scaleBits: o.scaleBits === 16 ? 16 : 32,
    actOrder: o.actOrder === true,
    staticGroups: o.staticGroups === true,
    damp: Number(o.damp),
    blockSize: Number(o.blockSize),
    deadColumns: o.deadColumns === "zero" ? "zero" : "round",
  };
}

/** Few-valued options that OPTQ and OWQ share. */
export const OPTQ_CHOICES = { tuning: ["mse", "minmax"], scaleBits: [16, 32], deadColumns: ["round", "zero"] } as const;

/** OPTQ with the min–max grid, as its authors run it (the OWQ paper finds that the searched grid hurts plain OPTQ). */
export const OPTQ: Method = {
  name: "optq",
  title: "OPTQ (GPTQ): second-order rounding",
  storage: "b + (s + b)/g; with actOrder and groups 32/out more for the map of groups",
  source: "Frantar et al., ICLR 2023, arXiv 2210.17323",
  needs: { hessian: true },
  weakColumns: false,
  defaults: { ...defaults, tuning: "minmax" },
  choices: OPTQ_CHOICES,
  nominal: true,
  stored: gridStorage,
  candidates: (shape, o, target) => gridCandidates(shape.cols, { ...o, scaleBits: 16 }, target),
  quantizeLayer: (problem, o, bits, _weak, context) =>
    optq(problem, optqOptions(o, bits), context, new Int32Array(0), null),
};
