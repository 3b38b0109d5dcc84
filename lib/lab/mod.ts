// What notebooks import: one line gives a cell everything it calls.
export { markdown, show } from "./display.ts";
export { barFigure, type Figure, heatmapFigure, histogramFigure, lineFigure, scatterFigure } from "./figure.ts";
export { formatNumber, formatSeconds } from "./format.ts";
export { progress } from "./progress.ts";
export { exact, relative, timing } from "./record.ts";
export { type NotebookSession, startNotebook } from "./session.ts";
export { type Table, table } from "./table.ts";
export { windowCache } from "./experiment.ts";
export { compare, comparisonCases, comparisonRecipe } from "./compare.ts";
export {
  comparisonNumbers,
  comparisonProvenance,
  comparisonTable,
  floatPerplexityOf,
  kindErrorFigure,
  layerErrorFigure,
  orderSentence,
  perplexityFigure,
  weakColumnTable,
} from "./compare_figures.ts";
export * from "./studies.ts";
export * from "./amq/amq_figures.ts";
export * from "./amq/amq_study.ts";
export { fidelityTable, finalTable, proxyFidelity } from "./amq/models.ts";
export * from "./prune/choose_blocks.ts";
export * from "./prune/decoding_figures.ts";
export * from "./prune/decoding_study.ts";
export { predictionProfiles } from "../model/exit_profile.ts";
export * from "./tune_figures.ts";
export * from "./tune_study.ts";
export * from "./tune_sweep.ts";
