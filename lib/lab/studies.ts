// What notebooks 00, 01 and 02 import, through mod.ts.
export * from "./concentration.ts";
export { during } from "./during.ts";
export * from "./grid_cost.ts";
export * from "./grid_figures.ts";
export * from "./grid_study.ts";
export * from "./injection_study.ts";
export * from "./layer_study.ts";
export * from "./layer_trial.ts";
export * from "./outlier_figures.ts";
export * from "./outlier_study.ts";
export * from "./outlier_tables.ts";
export * from "./study_records.ts";
export * from "./tour.ts";
export { openKernels } from "../kernels/kernels.ts";
export { generate } from "../model/generate.ts";
export { perplexity } from "../model/perplexity.ts";
export { OWQ_DEFAULTS } from "../quant/owq.ts";
export { SENSITIVITY_RULES } from "../quant/sensitivity.ts";
