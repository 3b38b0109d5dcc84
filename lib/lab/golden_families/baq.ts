// BAQ by CSU-ModelCompression/BAQ: both passes, the columns' losses and levels.
// The reference clamps to 2^log2(levels) − 1 in float32, which may miss the top code by 1e-6; whole codes are the bound here.
import { Checks, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";
import { baq, BAQ_DEFAULTS, levelsGrid, lossGain } from "../../quant/baq.ts";

/** Losses, levels, grids, codes and weights of both passes, output errors. */
export const BAQ_GOLDEN: GoldenFamily = { names: ["baq"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const h = hessianOf(x, golden.number("batches"), golden.label);
  if (golden.has("hessian")) checks.close("Hessian", h.data, await golden.floats("hessian"), 1e-5);
  const found = baq(w, h, {
    ...BAQ_DEFAULTS,
    bits: golden.number("bits"),
    theta: golden.number("theta"),
    damp: golden.number("percdamp"),
  });
  checks.weights("first pass", found.first.approximation, await golden.matrix("dequantized_pass1"), 0.995);
  checks.close("column losses", found.first.loss, await golden.floats("column_loss"), 1e-4);
  checks.relative("gain", lossGain(found.first.loss), golden.number("gain_pass1"), 1e-4);
  checks.share("levels", found.levels, golden.ints("levels"));
  const rate = found.levels.reduce((a, l) => a + Math.log2(l), 0) / w.cols;
  checks.relative("average rate", rate, golden.number("average_rate"), 1e-5);
  const { scale, zero } = grids(found.levels, found.range, w.rows);
  const theirScale = await golden.floats("scale"), theirZero = await golden.floats("zero");
  const live = (a: ArrayLike<number>) => Float64Array.from(a, (v, i) => found.levels[i % w.cols] > 1 ? v : 0);
  checks.close("scale", live(scale), live(theirScale), 1e-5);
  checks.share("zero", live(zero), live(theirZero));
  checks.share("codes", live(found.codes), live(golden.ints("codes")), 0.995);
  checks.weights("dequantized", found.approximation, await golden.matrix("dequantized"), 0.995);
  checks.relative("gain after the second pass", lossGain(found.loss), golden.number("gain_pass2"), 1e-3);
  const error = (m: typeof w) => outputError(x, w, m);
  checks.relative("objective", error(found.approximation), golden.number("objective"), 1e-3);
  checks.relative(
    "objective of the first pass",
    error(found.first.approximation),
    golden.number("objective_pass1"),
    1e-3,
  );
  return checks.list;
}

function grids(levels: Int32Array, range: { min: Float32Array; max: Float32Array }, rows: number) {
  const cols = levels.length, scale = new Float32Array(rows * cols), zero = new Float32Array(rows * cols);
  for (let i = 0; i < scale.length; i++) {
    const r = Math.floor(i / cols);
    [scale[i], zero[i]] = levelsGrid(range.min[r], range.max[r], levels[i % cols]);
  }
  return { scale, zero };
}
