// PTQ1.61 by zjq0455/PTQ1.61: the mask, the two kinds of weights, and the block loop on one linear.
import { LabError } from "../../io/errors.ts";
import { matrix } from "../../io/tensor.ts";
import { composePtq161, ptq161 } from "../../quant/ptq161.ts";
import { channelSize } from "../../quant/smooth.ts";
import { Checks, type GoldenCase, type GoldenFamily, outputError } from "../golden_check.ts";

/** Activations, mask, means, trained scales, losses, weights, output error. */
export const PTQ161_GOLDEN: GoldenFamily = { names: ["ptq1.61"], replay };

async function replay(golden: GoldenCase) {
  const kind = golden.text("quant_type");
  if (kind !== "mix" && kind !== "low") throw new LabError("input", golden.label, `quant_type ${kind} is unknown here`);
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const tokens = x.rows / golden.number("sequences");
  const sequences = Array.from({ length: golden.number("sequences") }, (_, s) => {
    return { ...x, data: x.data.slice(s * tokens * x.cols, (s + 1) * tokens * x.cols), rows: tokens };
  });
  const found = ptq161(w, sequences, {
    bits: golden.number("wbits"),
    share: kind === "low" ? NaN : golden.number("salient_share"),
    epochs: golden.number("epochs"),
    rateScale: golden.number("lr_alpha"),
    rateFactor: golden.number("lr_r"),
  });
  checks.close("largest activations", channelSize(x, "max"), await golden.floats("act_scales"), 1e-6);
  checks.share("mask", found.mask, golden.ints("mask"));
  const high = matrix(w.rows, w.cols), { codes, scale, zero } = found.high;
  for (let i = 0; i < codes.length; i++) {
    const r = Math.floor(i / w.cols);
    high.data[i] = scale[r] * (codes[i] - zero[r]);
  }
  if (golden.has("dequantized_high")) {
    checks.close("salient weights", high.data, await golden.floats("dequantized_high"), 1e-5);
  }
  for (const name of ["mean", "alpha", "r1", "r2"] as const) {
    checks.close(name, found[name], await golden.floats(name), 1e-4);
  }
  const losses: number[] = JSON.parse(golden.text("losses"));
  if (losses.length > 0) checks.close("losses", found.losses, losses, 1e-4);
  const ours = composePtq161(w, found);
  checks.weights("dequantized", ours, await golden.matrix("dequantized"), 0.999);
  checks.relative("objective", outputError(x, w, ours), golden.number("objective"), 1e-3);
  return checks.list;
}
