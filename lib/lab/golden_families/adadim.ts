// AdaDim by johnheo/adadim-llm: rounding and OPTQ in both dimensions, and the choice between them.
import { LabError } from "../../io/errors.ts";
import type { Kernels } from "../../kernels/kernels.ts";
import {
  type AdaDimOptions,
  chooseDimension,
  roundDimension,
  sweepColumnsGroups,
  sweepRowGroups,
} from "../../quant/adadim.ts";
import { Checks, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";

/** Choices, weights of all four ways, output errors. */
export const ADADIM_GOLDEN: GoldenFamily = { names: ["adadim"], replay };

async function replay(golden: GoldenCase, kernels: Kernels) {
  if (!golden.flag("zero_point")) {
    throw new LabError("input", golden.label, "a grid without zero points is unknown here");
  }
  const checks = new Checks(), weight = await golden.matrix("weight"), inputs = await golden.matrix("inputs");
  const hessian = hessianOf(inputs, golden.number("batches"), golden.label);
  const problem = { name: golden.label, weight, hessian, seed: 0 };
  const o: AdaDimOptions = {
    bits: golden.number("bits"),
    groupSize: golden.number("group_size"),
    damp: golden.number("percdamp"),
    actOrder: golden.flag("act_order"),
    scaleBits: 32,
  };
  const { dimension } = chooseDimension(weight, hessian, o);
  checks.min("equal dimension", dimension === golden.text("dim_rtn") ? 1 : 0, 1);
  checks.min("equal dimension of GPTQ", dimension === golden.text("dim_gptq") ? 1 : 0, 1);
  const found = {
    rtn_oc: roundDimension(weight, o, "oc"),
    rtn_ic: roundDimension(weight, o, "ic"),
    gptq_oc: (await sweepRowGroups(problem, o, { kernels })).approximation,
    gptq_ic: sweepColumnsGroups(weight, hessian, o).approximation,
  };
  for (const [name, ours] of Object.entries(found)) {
    checks.weights(name, ours, await golden.matrix(name), name.startsWith("rtn") ? 1 : 0.995);
    checks.relative(
      `objective of ${name}`,
      outputError(inputs, weight, ours),
      golden.number(`objective_${name}`),
      1e-3,
    );
  }
  checks.weights("rounded", found[`rtn_${dimension}`], await golden.matrix("dequantized_rtn"), 1);
  checks.weights("dequantized", found[`gptq_${dimension}`], await golden.matrix("dequantized"), 0.995);
  return checks.list;
}
