// The report of an experiment: the figures, what each layer went through, and where all of it came from.
import type { TextWindows } from "../io/windows.ts";
import type { Kernels } from "../kernels/kernels.ts";
import type { OpenedExperiment } from "./experiment.ts";
import type { Fingerprint } from "./journal.ts";
import { type QuantizeResult, tensorName } from "./quantize.ts";

/** One line of a report's table. */
export interface ReportLayer {
  readonly name: string;
  /** Ids of the weak columns, ascending. */
  readonly weak: readonly number[];
  readonly objective: number | null;
  readonly objectiveRtn: number | null;
  readonly damp: number;
  readonly fallback: string | null;
  readonly deadColumns: number;
  readonly storedBits: number;
}

/** DIR/report.json. */
export interface Report {
  readonly model: string;
  readonly note: string;
  readonly method: string;
  readonly bits: { readonly target: number; readonly nominal: number; readonly stored: number };
  /** Token perplexity over windows of evaluation.seqLen; null where it was not measured. */
  readonly ppl: { readonly fp: number | null; readonly quantized: number | null };
  readonly seconds: Readonly<Record<string, number>>;
  readonly layers: readonly ReportLayer[];
  readonly provenance: Readonly<Record<string, unknown>>;
}

/**
 * Puts a report together.
 *
 * @param ppl token perplexities; null where one was not measured. @param seconds of the stages outside the blocks.
 * @param result what quantizing left; its `seconds` are those inside the blocks.
 */
export function makeReport(
  x: OpenedExperiment,
  kernels: Kernels,
  ppl: { fp: number | null; quantized: number },
  seconds: Record<string, number>,
  result: QuantizeResult,
  fingerprint: Fingerprint,
): Report {
  const { recipe, model, plan } = x, finite = (v: number | null) => v === null || Number.isNaN(v) ? null : v;
  const { calibrate = 0, propagate = 0, load: blockLoad = 0, save: blockSave = 0, ...stages } = result.seconds;
  const layers = plan.blocks.flatMap((block, b) =>
    block.filter((p) => p.quantize).map((p) => {
      const e = result.layers[tensorName(model, b, p.linear.name)], r = e.report;
      return {
        name: p.name,
        weak: e.weakIds,
        objective: finite(r.objective),
        objectiveRtn: finite(r.objectiveRtn),
        damp: r.damp,
        fallback: r.fallback,
        deadColumns: r.deadColumns,
        storedBits: e.storedBits,
      };
    })
  );
  const total = (f: (s: string) => boolean) =>
    Object.entries(stages).filter(([s]) => f(s)).reduce((a, [, v]) => a + v, 0);
  return {
    model: x.files.label,
    note: x.files.note,
    method: recipe.method,
    bits: { target: recipe.bits, nominal: plan.nominal, stored: plan.stored.perWeight },
    ppl,
    seconds: {
      load: seconds.load,
      calibrate: calibrate + propagate,
      quantize: total(() => true),
      evaluate: (seconds.evaluate ?? 0) + (seconds.evaluateFloat ?? 0),
      total: seconds.total,
      quantizationWall: seconds.quantizeAndCalibrate,
      ...Object.fromEntries(Object.entries({ ...stages, calibrateGram: calibrate, propagate, blockLoad, blockSave })),
    },
    layers,
    provenance: {
      recipe,
      ...fingerprint,
      date: new Date().toISOString(),
      deno: Deno.version.deno,
      kernels: kernels.description,
      device: kernels.device,
      evaluation: evaluationProvenance(x.evaluation),
      calibration: x.calibration
        ? { label: x.calibration.label, windows: x.calibration.windows, seqLen: x.calibration.length }
        : null,
      resumedBlocks: result.resumedBlocks,
    },
  };
}

/** What a perplexity was measured on. */
export function evaluationProvenance(w: TextWindows): Record<string, unknown> {
  return { label: w.label, sha256: w.sha256, windows: w.windows, seqLen: w.length, unit: "token" };
}
