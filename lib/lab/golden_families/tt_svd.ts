// Tensor trains by tensorly: the matrix that the chain stands for is compared, never the cores, whose signs are free.
import { firstUnfolding, fromTrain, toTrain, trainParameters } from "../../quant/tensor_train.ts";
import { topSvd } from "../../quant/svd.ts";
import { Checks, difference, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Bonds, size, singular values of the first cut, the matrix. */
export const TT_SVD_GOLDEN: GoldenFamily = { names: ["tt-svd"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(),
    w = await golden.matrix("weight"),
    list = (key: string) => JSON.parse(golden.text(key)) as number[];
  const sites = { out: list("out_factors"), in: list("in_factors") }, train = toTrain(w, sites, golden.number("chi"));
  checks.share("ranks", train.ranks, golden.ints("ranks"));
  checks.share("parameters", [trainParameters(sites, train.ranks)], golden.ints("parameters"));
  const first = firstUnfolding(w, sites), values = new Float64Array(Math.min(first.rows, first.cols));
  values.set(topSvd(first, values.length, true).s);
  checks.close("singular values of the first cut", values, await golden.floats("first_singular_values"), 1e-5);
  const ours = fromTrain(train);
  checks.close("dequantized", ours.data, await golden.floats("dequantized"), 1e-5);
  const squares = (v: Float32Array) => v.reduce((s, x) => s + x * x, 0);
  const error = squares(difference(ours, w).data) / squares(w.data), theirs = await golden.floats("relative_error");
  checks.max("relative error, difference", Math.abs(error - theirs[0]), 1e-5);
  return checks.list;
}
