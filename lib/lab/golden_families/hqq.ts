// HQQ by mobiusml/hqq: codes are equal to the last one, because the inputs lie away from ties.
import { LabError } from "../../io/errors.ts";
import { matrix } from "../../io/tensor.ts";
import { hqq } from "../../quant/hqq.ts";
import { applyGrid, gridStore } from "../../quant/stores/grid.ts";
import { Checks, type GoldenCase, type GoldenFamily, outputError } from "../golden_check.ts";

/** Codes, steps, zero points and the output's error. */
export const HQQ_GOLDEN: GoldenFamily = { names: ["hqq"], replay };

async function replay(golden: GoldenCase) {
  for (const [key, value] of [["axis", "1"], ["round_zero", "False"], ["optimize", "True"]] as const) {
    if (golden.text(key) !== value) {
      throw new LabError("input", golden.label, `${key} ${golden.text(key)} is unknown here`, `It knows ${value}.`);
    }
  }
  const checks = new Checks(), w = await golden.matrix("weight"), bits = golden.number("bits");
  const groupSize = golden.number("group_size");
  const found = hqq(w, {
    bits,
    groupSize,
    lp: golden.number("lp_norm"),
    beta: golden.number("beta"),
    rounds: golden.number("iters"),
    scaleBits: 32,
  });
  checks.share("codes", found.codes, golden.ints("codes"));
  checks.close("scale", found.scale, await golden.floats("scale"), 1e-5);
  checks.close("zero", found.zero, await golden.floats("zero"), 1e-5);
  checks.close("zero before the search", found.firstZero, await golden.floats("zero_initial"), 1e-5);
  const store = gridStore({ rows: w.rows, cols: w.cols, bits, groupSize, axis: "in", scale: 32, zero: 32 }, {
    ...found,
  });
  const ours = matrix(w.rows, w.cols);
  applyGrid(ours, store);
  checks.close("dequantized", ours.data, await golden.floats("dequantized"), 1e-5);
  checks.relative("objective", outputError(await golden.matrix("inputs"), w, ours), golden.number("objective"), 1e-4);
  return checks.list;
}
