// SpQR by Vahe1994/SpQR: groups with coded statistics, single weights kept, natural or act-order.
import { LabError } from "../../io/errors.ts";
import { matrix } from "../../io/tensor.ts";
import { spqr } from "../../quant/spqr.ts";
import { Checks, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";

/** Order, bound, mask, statistics and their codes, weights, output error. */
export const SPQR_GOLDEN: GoldenFamily = { names: ["spqr"], replay };

async function replay(golden: GoldenCase) {
  const known = (key: string, values: readonly string[]) => {
    if (values.includes(golden.text(key))) return;
    throw new LabError("input", golden.label, `${key} ${golden.text(key)} is unknown here`, `It knows ${values}.`);
  };
  known("permutation_order", ["act_order", "identity"]);
  known("sym", ["False"]);
  known("round_zero", ["False"]);
  known("perchannel", ["True"]);
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const h = hessianOf(x, golden.number("batches"), golden.label),
    threshold = golden.number("outlier_relative_threshold");
  if (golden.has("hessian")) checks.close("Hessian", h.data, await golden.floats("hessian"), 1e-5);
  const found = spqr(w, h, {
    bits: golden.number("bits"),
    groupSize: golden.number("group_size"),
    scaleCodeBits: golden.number("qq_scale_bits"),
    zeroCodeBits: golden.number("qq_zero_bits"),
    run: golden.number("qq_groupsize"),
    threshold: Number.isNaN(threshold) ? Infinity : threshold, // Python writes "inf"
    simplified: golden.flag("simplified_outliers"),
    actOrder: golden.text("permutation_order") === "act_order",
    damp: golden.number("percdamp"),
    blockSize: golden.number("block_size"),
    storeBits: 32,
  });
  checks.share("order of work", found.order, golden.ints("perm"));
  if (threshold < Infinity) checks.relative("bound", found.bound, golden.number("outlier_threshold"), 1e-5);
  checks.share("mask", found.mask, golden.ints("mask"));
  for (const [what, s] of [["scale", found.scale], ["zero", found.zero]] as const) {
    checks.close(what, s.values, await golden.floats(what), 1e-5);
    checks.share(`codes of ${what}`, s.codes, golden.ints(`${what}_codes`));
    checks.close(`second-level scale of ${what}`, s.qqScale, await golden.floats(`${what}_qq_scale`), 1e-5);
    checks.close(`second-level zero of ${what}`, s.qqZero, await golden.floats(`${what}_qq_zero`), 1e-5);
  }
  checks.share("codes", found.codes, golden.ints("codes"), 0.995);
  checks.close("kept weights", found.kept.data, await golden.floats("outliers"), 1e-4);
  const ours = matrix(w.rows, w.cols), groups = found.scale.values.length / w.rows;
  const size = golden.number("group_size");
  for (let r = 0; r < w.rows; r++) {
    for (let k = 0; k < w.cols; k++) {
      const at = r * w.cols + k, g = r * groups + Math.floor(k / size);
      const rounded = found.scale.values[g] * (found.codes[at] - found.zero.values[g]);
      ours.data[r * w.cols + found.order[k]] = found.mask[at] ? found.kept.data[at] : rounded;
    }
  }
  checks.weights("dequantized", ours, await golden.matrix("dequantized"), 0.995);
  checks.relative("objective", outputError(x, w, ours), golden.number("objective"), 1e-3);
  return checks.list;
}
