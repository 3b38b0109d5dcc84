// Plans and reports as lines for people.
import type { OpenedExperiment } from "./experiment.ts";
import type { Report } from "./report.ts";
import type { MemoryEstimate } from "../model/memory.ts";
import { formatSeconds } from "./format.ts";
import type { LinearPlan, Recipe } from "./recipe.ts";
import type { TimeEstimate } from "./time_estimate.ts";

/**
 * A dry run in lines: columns by linear, nominal and stored bits, memory, time.
 */
export function describePlan(x: OpenedExperiment, memory: MemoryEstimate, time: TimeEstimate): string {
  const { plan, recipe, files, calibration, evaluation } = x, { stored } = plan;
  const first = plan.blocks.find((b) => b.some((p) => p.quantize)) ?? [];
  const row = (p: LinearPlan) =>
    `  ${p.linear.name.padEnd(32)} ${`(${p.linear.out}, ${p.linear.in})`.padEnd(16)} ` +
    (p.quantize ? `${p.bits} bits, ${knobs(p, recipe)}` : "stays in float");
  const part = (bits: number) => (bits / stored.weights).toFixed(4);
  return [
    `${files.label}: ${x.model.blocks} blocks${files.note ? ` (${files.note})` : ""}`,
    `${recipe.method} at ${recipe.bits} bits${recipe.linearBits ? ", by linear" : ""}; block 0 of each kind:`,
    ...first.map(row),
    `bits a weight: nominal ${plan.nominal.toFixed(4)}, stored ${stored.perWeight.toFixed(4)} = codes ${
      part(stored.codes)
    }` +
    ` + scales ${part(stored.scales)} + zeros ${part(stored.zeros)} + weak columns ${part(stored.weak)}` +
    ` + indices ${part(stored.indices)}${stored.other > 0 ? ` + factors and tables ${part(stored.other)}` : ""}`,
    `calibration: ${
      calibration ? `${calibration.windows} windows of ${calibration.length} tokens, ${calibration.label}` : "none"
    }`,
    `evaluation: ${evaluation.windows} windows of ${evaluation.length} tokens, ${evaluation.label}`,
    `memory: ${memory.sentence}`,
    `time: about ${formatSeconds(time.total)} (calibration ${formatSeconds(time.calibrate)}, ` +
    `quantization ${formatSeconds(time.quantize)}, evaluation ${formatSeconds(time.evaluate)})`,
  ].join("\n");
}

/** What a target decided for one linear: weak columns, or the options that were solved. */
function knobs(p: LinearPlan, recipe: Recipe): string {
  const solved = Object.entries(p.options).filter(([key, v]) => key !== "codeBits" && v !== recipe.options[key]);
  return p.options === recipe.options
    ? `${p.weakColumns} weak columns`
    : [...solved.map(([key, v]) => `${key} ${v}`), `stored ${p.stored.perWeight.toFixed(4)}`].join(", ");
}

/** A finished report in lines. */
export function describeReport(r: Report): string {
  const fallbacks = r.layers.filter((l) => l.fallback !== null), damped = r.layers.filter((l) => l.damp > 0.011);
  const number = (v: number | null) => v === null ? "not measured" : v.toFixed(4);
  const ratio = r.layers.every((l) => l.objective !== null && l.objectiveRtn !== null)
    ? sum(r.layers.map((l) => l.objective!)) / sum(r.layers.map((l) => l.objectiveRtn!))
    : null;
  const evaluation = r.provenance.evaluation as { label: string; windows: number; seqLen: number };
  return [
    `${r.model}, ${r.method}: ${r.bits.stored.toFixed(4)} bits a weight stored (target ${r.bits.target}, nominal ${
      r.bits.nominal.toFixed(4)
    })`,
    `token perplexity on ${evaluation.label}, ${evaluation.windows} windows of ${evaluation.seqLen}: ` +
    `float ${number(r.ppl.fp)}, quantized ${number(r.ppl.quantized)}`,
    ...(ratio === null ? [] : [`layer error, summed: ${(100 * ratio).toFixed(1)} % of round-to-nearest's`]),
    ...damped.map((l) => `${l.name}: needed damping ${l.damp}`),
    ...fallbacks.map((l) => `${l.name}: ${l.fallback}`),
    `seconds: ${
      ["load", "calibrate", "quantize", "evaluate", "total"].map((k) => `${k} ${r.seconds[k].toFixed(1)}`).join(", ")
    }`,
  ].join("\n");
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
