// Notebook 05: which rule chooses the weak columns. OWQ, arXiv 2306.02272, table 7.
import type { SensitivityRule } from "../quant/sensitivity.ts";
import type { Case } from "./compare.ts";
import { RULE_NAMES } from "./outlier_figures.ts";

/**
 * One case a rule, all with the same number of columns.
 *
 * @param rules who may choose. @param bits target of OWQ. @param injected factor of outliers put in; its label says so.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ruleCases } from "./column_choice.ts";
 * assert.equal(ruleCases(["hessian"], 3.01, 16)[0].label, "large inputs only, injected");
 * ```
 */
export function ruleCases(rules: readonly SensitivityRule[], bits: number, injected = 1): Case[] {
  return rules.map((rule) => ({
    label: `${RULE_NAMES[rule]}${injected === 1 ? "" : ", injected"}`,
    method: "owq",
    bits,
    injected,
    options: { rule },
  }));
}

/** Short names of the rules, for the axis of a figure. */
export function ruleLabels(rules: readonly SensitivityRule[]): string[] {
  const short: Record<SensitivityRule, string> = {
    "hessian-error": "H × error",
    hessian: "H only",
    error: "error only",
    magnitude: "weights",
    random: "random",
  };
  return rules.map((r) => short[r]);
}
