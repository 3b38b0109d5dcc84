// NF4, FP4 and double quantization by bitsandbytes: codes and values are equal.
import { matrix } from "../../io/tensor.ts";
import { blockCodes, codeScales, dynamicMap, fp4Levels, normalFloat } from "../../quant/levels.ts";
import { applyLevels, levelsStore } from "../../quant/stores/levels.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Levels, codes, scales and weights. */
export const BNB_GOLDEN: GoldenFamily = { names: ["bnb-nf4", "bnb-fp4", "bnb-nf4-double"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), w = await golden.matrix("weight"), block = golden.number("blocksize");
  const table = golden.text("quant_type") === "fp4" ? "fp4" : "nf",
    levels = table === "fp4" ? fp4Levels() : normalFloat(4);
  const { codes, absmax } = blockCodes(w.data, levels, block), theirs = golden.ints("codes");
  checks.close("levels", levels, await golden.floats("levels"), 1e-6);
  // FP4 has two codes for 0: values are compared, not codes.
  checks.share("codes", [...codes].map((c) => levels[c]), [...theirs].map((c) => levels[c]));
  checks.close("absmax", absmax, await golden.floats("absmax"), 1e-6);
  const common = { rows: w.rows, cols: w.cols, bits: 4, block, table } as const, ours = matrix(w.rows, w.cols);
  if (golden.flag("double_quantization")) {
    const second = golden.number("second_blocksize"), s = codeScales(absmax, second);
    checks.close("dynamic map", dynamicMap(), await golden.floats("absmax_levels"), 1e-6);
    checks.share("codes of the scales", s.codes, golden.ints("absmax_codes"));
    checks.close("scale of the scales", s.top, await golden.floats("absmax_scale"), 1e-6);
    checks.close("offset of the scales", [s.offset], await golden.floats("absmax_offset"), 1e-6);
    checks.close("scales", s.values, await golden.floats("absmax_dequantized"), 1e-6);
    const values = { codes, scale_codes: s.codes, scale_top: s.top, scale_offset: [s.offset] };
    applyLevels(ours, levelsStore({ ...common, scale: "double", second }, values));
  } else applyLevels(ours, levelsStore({ ...common, scale: 32 }, { codes, scale: absmax }));
  checks.close("dequantized", ours.data, await golden.floats("dequantized"), 1e-6);
  return checks.list;
}
