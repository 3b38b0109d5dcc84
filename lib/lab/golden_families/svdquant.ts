// SVDQuant by mit-han-lab/deepcompressor: 4-bit weights and activations on signed grids of groups.
import { LabError } from "../../io/errors.ts";
import type { Matrix } from "../../io/tensor.ts";
import { groupGrid, type GroupGridOptions, onGroupGrid } from "../../quant/group_grid.ts";
import { linearOutput, scaleColumns } from "../../quant/smooth.ts";
import { branchOutput, iterateBranch, searchSmoothing, smoothCandidates } from "../../quant/svdquant.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Smoothing search, iterations, branch, residual and outputs. */
export const SVDQUANT_GOLDEN: GoldenFamily = { names: ["svdquant"], replay };

async function replay(golden: GoldenCase) {
  if (!golden.flag("early_stop")) {
    throw new LabError("input", golden.label, "iterations without an early stop are unknown");
  }
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const grid: GroupGridOptions = {
    bits: golden.number("bits"),
    groupSize: golden.number("group_size"),
    axis: "in",
    rule: "absmax",
  };
  const activations = { ...grid, bits: golden.number("activation_bits") }, rank = golden.number("rank");
  const round = (m: Matrix) => onGroupGrid(m, grid), exact = linearOutput(x, w), grids = golden.number("num_grids");
  const error = (y: Matrix) => Promise.resolve(y.data.reduce((s, v, i) => s + (v - exact.data[i]) ** 2, 0));
  checks.close("exponents", smoothCandidates(grids).flat(), await golden.floats("alpha_beta"), 1e-6);
  const { smooth, chosen, errors } = await searchSmoothing(
    w,
    x,
    grids,
    rank,
    round,
    (branch, s) => error(branchOutput(branch, scaleColumns(x, s, true), activations)),
  );
  checks.close("errors of the smoothing search", errors, await golden.floats("smooth_errors"), 1e-4);
  checks.share("choice", [chosen], [golden.number("chosen")]);
  checks.close("smoothing", smooth, await golden.floats("smooth_scale"), 1e-5);
  const smoothed = scaleColumns(w, smooth), inputs = scaleColumns(x, smooth, true);
  checks.close("smoothed weight", smoothed.data, await golden.floats("smoothed_weight"), 1e-5);
  const first = await iterateBranch(smoothed, rank, 1, round, () => Promise.resolve(1));
  checks.close("first branch", first.branch.lowRank.data, await golden.floats("low_rank_first"), 1e-4);
  checks.weights("first residual", first.branch.residual, await golden.matrix("residual_first"), 0.995);
  const found = await iterateBranch(
    smoothed,
    rank,
    golden.number("max_iterations"),
    round,
    (branch) => error(branchOutput(branch, inputs, activations)),
  );
  const theirs = await golden.floats("iteration_errors");
  checks.share("number of iterations", [found.errors.length], [theirs.length]);
  checks.close("errors of the iterations", found.errors, theirs, 1e-4);
  const { branch } = found, sum = { ...w, data: branch.residual.data.map((v, i) => v + branch.lowRank.data[i]) };
  checks.close("branch", branch.lowRank.data, await golden.floats("low_rank"), 1e-4);
  const rounded = groupGrid({ ...w, data: smoothed.data.map((v, i) => v - branch.lowRank.data[i]) }, grid),
    half = 2 ** (grid.bits - 1);
  checks.share("codes of the residual", [...rounded.codes].map((c) => c - half), golden.ints("residual_codes"), 0.995);
  checks.close("scale of the residual", rounded.scale, await golden.floats("residual_scale"), 1e-4);
  checks.weights("dequantized", scaleColumns(sum, smooth, true), await golden.matrix("dequantized"), 0.995);
  checks.close(
    "rounded inputs",
    onGroupGrid(inputs, activations).data,
    await golden.floats("inputs_dequantized"),
    1e-5,
  );
  checks.close("output", branchOutput(branch, inputs, activations).data, await golden.floats("output"), 1e-3);
  checks.close("plain rounding", round(w).data, await golden.floats("dequantized_plain"), 1e-5);
  const plain = linearOutput(onGroupGrid(x, activations), round(w));
  checks.close("output of plain rounding", plain.data, await golden.floats("output_plain"), 1e-4);
  return checks.list;
}
