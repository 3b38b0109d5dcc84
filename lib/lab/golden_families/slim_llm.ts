// SliM-LLM by Aaronhuang-778/SliM-LLM: salience, search of the trades, bits, grids, weights.
import { LabError } from "../../io/errors.ts";
import { bestTrade, searchSalience, searchTrades, SLIM_DEFAULTS, slimLlm } from "../../quant/slim_llm.ts";
import { Checks, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";

/** Salience, scores, bits, which groups are symmetric, grids, weights, loss, output error. */
export const SLIM_LLM_GOLDEN: GoldenFamily = { names: ["slim-llm"], replay };

async function replay(golden: GoldenCase) {
  const metric = golden.text("metric");
  if (metric !== "mse") throw new LabError("input", golden.label, `metric ${metric} is unknown here`, "It knows mse.");
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const sequences = golden.number("sequences"), h = hessianOf(x, sequences, golden.label);
  if (golden.has("hessian")) checks.close("Hessian", h.data, await golden.floats("hessian"), 1e-5);
  const o = {
    ...SLIM_DEFAULTS,
    bits: golden.number("bits"),
    groupSize: golden.number("group_size"),
    damp: golden.number("percdamp"),
    lambda: golden.number("lambda_salience"),
    norm: golden.number("norm"),
    tau: golden.number("tau_range"),
    steps: golden.number("tau_n"),
  };
  const salience = searchSalience(w, h, o.groupSize), tokens = x.rows / sequences;
  checks.close("salience", salience, await golden.floats("salience"), 1e-4);
  const errors = Array.from({ length: sequences }, (_, s) => {
    const part = { ...x, data: x.data.slice(s * tokens * x.cols, (s + 1) * tokens * x.cols), rows: tokens };
    return [...searchTrades(w, part, salience, o)];
  });
  checks.close("search errors", errors.flat(), await golden.floats("search_errors"), 1e-4);
  const mean = errors[0].map((_, t) => errors.reduce((a, e) => a + e[t], 0) / sequences);
  const found = slimLlm(w, h, bestTrade(mean), o);
  checks.share("bits", found.bits, golden.ints("bits_per_group"));
  checks.share("symmetric groups", found.symmetric, golden.ints("sym_groups"));
  // One near tie of the range search in a thousand groups moves a scale by a step of the search: shares, not the largest gap.
  for (const name of ["scale", "zero"] as const) {
    const theirs = await golden.floats(name), ours = found[name];
    const same = ours.map((v, i) => Math.abs(v - theirs[i]) <= 1e-4 * Math.abs(theirs[i]) ? 1 : 0);
    checks.min(`${name} equal to 1e-4`, same.reduce((a, b) => a + b, 0) / theirs.length, 0.995);
  }
  checks.weights("dequantized", found.approximation, await golden.matrix("dequantized"), 0.995);
  checks.relative("loss", found.loss, golden.number("loss"), 1e-3);
  checks.relative("objective", outputError(x, w, found.approximation), golden.number("objective"), 1e-3);
  return checks.list;
}
