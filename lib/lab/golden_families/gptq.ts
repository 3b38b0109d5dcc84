// GPTQ by IST-DASLab/gptq: the lab's OPTQ on the min–max grid, natural or act-order, rows, groups or static groups.
import { LabError } from "../../io/errors.ts";
import type { Kernels } from "../../kernels/kernels.ts";
import { dequantize } from "../../quant/dequantize.ts";
import { diagonal, objective } from "../../quant/hessian.ts";
import { optq, OPTQ_DEFAULTS } from "../../quant/optq.ts";
import { byScore } from "../../quant/sensitivity.ts";
import { Checks, difference, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";

/** Grid, codes, order of work, loss and output error. */
export const GPTQ_GOLDEN: GoldenFamily = { names: ["gptq"], replay };

async function replay(golden: GoldenCase, kernels: Kernels) {
  for (const key of ["sym", "mse"]) {
    if (golden.flag(key)) throw new LabError("input", golden.label, `${key} is another rule in the lab's OPTQ`);
  }
  const checks = new Checks(), weight = await golden.matrix("weight"), inputs = await golden.matrix("inputs");
  const hessian = hessianOf(inputs, golden.number("batches"), golden.label), size = golden.number("group_size");
  if (golden.has("hessian")) checks.close("Hessian", hessian.data, await golden.floats("hessian"), 1e-5);
  const o = {
    ...OPTQ_DEFAULTS,
    bits: golden.number("bits"),
    tuning: "minmax" as const,
    groupSize: size > 0 ? size : 0,
    actOrder: golden.flag("act_order"),
    staticGroups: golden.flag("static_groups"),
    damp: golden.number("percdamp"),
    blockSize: golden.number("block_size"),
    deadColumns: "zero" as const,
  };
  const problem = { name: golden.label, weight, hessian, seed: 0 };
  const layer = await optq(problem, o, { kernels }, new Int32Array(0), null), ours = dequantize(layer);
  const order = o.actOrder ? byScore(diagonal(hessian)) : Int32Array.from({ length: weight.cols }, (_, j) => j);
  checks.share("order of work", order, golden.ints("perm"));
  checks.close("scale", layer.scale, await golden.floats("scale"), 1e-5);
  checks.share("zero", layer.zero, await golden.floats("zero"));
  checks.share("codes", layer.codes, golden.ints("codes"), 0.995);
  checks.relative("objective", outputError(inputs, weight, ours), golden.number("objective"), 1e-3);
  // The reference's loss Σ (w − q)² / (2 U_jj²) is half the damped quadratic error.
  const d = difference(ours, weight), squares = d.data.reduce((a, v) => a + v * v, 0);
  const mean = diagonal(hessian).reduce((a, v) => a + v, 0) / weight.cols;
  const loss = (objective(d, hessian) + o.damp * mean * squares) / 2;
  checks.relative("loss", loss, golden.number("loss"), 1e-3);
  return checks.list;
}
