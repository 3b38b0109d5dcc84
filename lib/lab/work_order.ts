// Notebook 09: the order of work. Act-order rounds the most important columns first; true-sequential lets each linear of a block
// see the ones before it quantized. OWQ, arXiv 2306.02272, appendix.
import type { Case } from "./compare.ts";
import { meanOf, perplexitiesOf, type Variant } from "./variants.ts";

/** The ways to work, as rows are named: what is added to the method's name. */
export const WORK_ORDERS = ["", ", act-order", ", true-sequential", ", both"] as const;

/**
 * A method with act-order, true-sequential and both.
 *
 * @param method "optq" or "owq". @param bits its target. @param orders which of {@link WORK_ORDERS}.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { workOrderCases } from "./work_order.ts";
 * const [plain, , , both] = workOrderCases("owq", 3.01);
 * assert.deepEqual([plain.label, both.label, both.trueSequential], ["OWQ", "OWQ, both", true]);
 * ```
 */
export function workOrderCases(
  method: string,
  bits: number,
  orders: readonly (typeof WORK_ORDERS)[number][] = WORK_ORDERS,
): Case[] {
  return orders.map((order) => ({
    label: `${method.toUpperCase()}${order}`,
    method,
    bits,
    options: { actOrder: order === ", act-order" || order === ", both" },
    trueSequential: order === ", true-sequential" || order === ", both",
  }));
}

/** Short names of the rows, for the axis of a figure. */
export function workOrderLabels(variants: readonly Variant[]): string[] {
  const short: Record<string, string> = { "act-order": "act", "true-sequential": "seq", both: "act seq" };
  return variants.map(({ label }) => {
    const [method, order] = label.split(", ");
    return order ? `${method} ${short[order]}` : method;
  });
}

/** What each way changes against the plain method, in a sentence. */
export function workOrderSentence(variants: readonly Variant[]): string {
  const p = (label: string) => {
    const v = variants.find((v) => v.label === label);
    return v ? meanOf(perplexitiesOf(v)) : NaN;
  };
  return variants.flatMap(({ label }) => {
    const [method, order] = label.split(", ");
    if (!order) return [];
    const d = 100 * (p(label) / p(method) - 1);
    return [`${method} with ${order === "both" ? "both" : order}: ${d < 0 ? "−" : "+"}${Math.abs(d).toPrecision(2)} %`];
  }).join("; ") + " in perplexity.";
}
