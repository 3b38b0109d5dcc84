// AWQ. A few input channels meet large activations; scaling their weights up before rounding, and the inputs down, makes
// the relative error of just those weights smaller. Then each group is clipped where that helps its part of the output.
//   s = a^r / √(max · min), a_j = mean|x_j|;  r of 20 with the least ‖X(Q(W diag s) diag(1/s) − W)ᵀ‖²;  then |w| ≤ c by group
// Stored a weight: b + (16 + b)/g + 16/out, the last for 1/s.
// Source: Lin et al., MLSys 2024, arXiv 2306.00978; rules as in mit-han-lab/llm-awq d6e797a.
// Ours: s is searched for each linear by itself on its own output and stored with it, where the paper folds one s for all
// linears of a norm into that norm; scales in 16 bits; all linears are clipped, q and k too.
import { clipGroups, roundScaled, searchAwqScale, searchClip } from "../quant/awq.ts";
import { layerObjective } from "../quant/context.ts";
import { f16round } from "../quant/f16.ts";
import { groupGrid, groupGridPlan } from "../quant/group_grid.ts";
import { scaledHessian } from "../quant/hessian.ts";
import { channelSize, scaleColumns } from "../quant/smooth.ts";
import { columnScaleStore } from "../quant/stores/columns.ts";
import { gridStore } from "../quant/stores/grid.ts";
import { gridCandidates } from "./fit.ts";
import { groupOptions, scaledGridBits } from "./group_options.ts";
import type { Method, Options } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

const gridOptions = (o: Options, bits: number) => groupOptions(o, bits, o.symmetric === true ? "absmax" : "range");

/** Activation-aware weight quantization. */
export const AWQ: Method = {
  name: "awq",
  title: "AWQ: channels scaled by their activations, groups clipped",
  storage: "b + (s + b)/g + 16/out, s bits a scale, g columns a group",
  source: "Lin et al., MLSys 2024, arXiv 2306.00978",
  needs: { hessian: true, inputs: true },
  weakColumns: false,
  defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, symmetric: false, steps: 20, clip: true, shrink: 0.5 },
  choices: { scaleBits: [16, 32] },
  stored: (shape, o, bits) => scaledGridBits(shape, gridOptions(o, bits)),
  candidates: (shape, o, target) => gridCandidates(shape.cols, o, target),
  async quantizeLayer(problem, o, bits, _weak, context) {
    const { weight } = problem, h = required(problem, "hessian"), x = required(problem, "inputs");
    const grid = gridOptions(o, bits), steps = Number(o.steps);
    const { scale } = await searchAwqScale(
      channelSize(x, "mean"),
      steps,
      (s) => layerObjective(context, roundScaled(weight, s, grid), weight, h),
    );
    const stored = scale.map((s) => f16round(1 / s)), exact = stored.map((v) => 1 / v);
    let scaled = scaleColumns(weight, exact);
    if (o.clip === true) {
      const clip = { ...grid, steps, shrink: Number(o.shrink) };
      scaled = clipGroups(scaled, searchClip(scaled, scaledHessian(h, stored), clip), grid.groupSize);
    }
    const values = { ...groupGrid(scaled, grid) };
    const stores = [gridStore(groupGridPlan(weight, grid), values), columnScaleStore(stored)];
    return await storedLayer(problem, "awq", bits, stores, context);
  },
};
