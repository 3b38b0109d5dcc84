// LLM.int8() by bitsandbytes: codes are equal; outputs to 5e-5, because the reference's 1/127² is 6.200124e-05.
import { fromRowBytes, int8Product, rowBytes } from "../../quant/llm_int8.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Codes, scales, outlier channels and outputs, with the threshold and without. */
export const LLM_INT8_GOLDEN: GoldenFamily = { names: ["llm-int8"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), x = await golden.matrix("inputs"), w = rowBytes(await golden.matrix("weight"));
  checks.share("codes of the weight", w.codes, golden.ints("weight_codes"));
  checks.close("scale of the weight", w.scale, await golden.floats("weight_scale"), 1e-6);
  checks.close("dequantized", fromRowBytes(w).data, await golden.floats("dequantized"), 1e-6);
  for (const [suffix, threshold] of [["", golden.number("threshold")], ["_without_decomposition", 0]] as const) {
    const y = int8Product(x, w, threshold);
    if (suffix === "") checks.share("outlier channels", y.outliers, golden.ints("outlier_columns"));
    checks.share(`codes of the inputs${suffix}`, y.inputs.codes, golden.ints(`input_codes${suffix}`));
    checks.close(`scale of the inputs${suffix}`, y.inputs.scale, await golden.floats(`input_scale${suffix}`), 1e-6);
    checks.close(`output${suffix}`, y.output.data, await golden.floats(`output${suffix}`), 5e-5);
  }
  return checks.list;
}
