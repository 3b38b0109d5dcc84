// What notebooks 00, 01 and 02 leave in their records: each number with the closeness in which it has to come again.
import type { TextWindows } from "../io/windows.ts";
import type { Kernels } from "../kernels/kernels.ts";
import type { Perplexity } from "../model/perplexity.ts";
import { columnsCarrying, gini, topShare } from "./concentration.ts";
import type { GroupError, WidthError, WidthPerplexity } from "./grid_cost.ts";
import { bestPoint, type RangePoint, surfaceMinimum } from "./grid_study.ts";
import type { Matrix } from "../io/tensor.ts";
import type { LayerStudy } from "./layer_study.ts";
import type { Trial } from "./layer_trial.ts";
import { type ColumnProfile, factorShares, inputSpread, type KeptError } from "./outlier_study.ts";
import { exact, type RecordedNumber, relative } from "./record.ts";
import type { Replacement } from "./tour.ts";

type Numbers = Record<string, RecordedNumber>;

/** The numbers of the tour. */
export function tourNumbers(
  float: Perplexity,
  trials: readonly Trial[],
  replaced: readonly Replacement[],
): Numbers {
  const numbers: Numbers = {
    "float/perplexity": relative(float.perplexity, 1e-3),
    "float/tokens": exact(float.tokens, "tokens"),
  };
  for (const t of trials) {
    numbers[`${t.label}/stored bits`] = relative(t.stored, 1e-9, "bit");
    numbers[`${t.label}/weak columns`] = exact(t.weak.length);
    // A tie that falls the other way on another device moves these by far less than methods differ.
    numbers[`${t.label}/error of the weights`] = relative(t.weightError, 1e-2);
    numbers[`${t.label}/error of the output`] = relative(t.outputError, 2e-2);
  }
  for (const r of replaced.slice(1)) numbers[`${r.label}/perplexity, one layer`] = relative(r.perplexity, 1e-3);
  return numbers;
}

/** Where the numbers of a study come from: hashes of model and texts, device, and what was done to the model. */
export async function studyProvenance(
  study: LayerStudy,
  evaluation: TextWindows | null,
  kernels: Kernels,
): Promise<Record<string, unknown>> {
  const text = (w: TextWindows) => ({ label: w.label, windows: w.windows, length: w.length, sha256: w.sha256 });
  return {
    model: study.label,
    note: study.files.note,
    modelSha256: await study.files.source.sha256(),
    calibration: text(study.windows),
    ...(evaluation ? { evaluation: text(evaluation) } : {}),
    kernels: kernels.description,
  };
}

/** The numbers of notebook 01. */
export function gridNumbers(x: {
  readonly row: number;
  readonly curves: ReadonlyMap<number, readonly RangePoint[]>;
  readonly surface: Matrix;
  readonly errors: readonly WidthError[];
  readonly groups: readonly GroupError[];
  readonly float: number;
  readonly perplexities: readonly WidthPerplexity[];
}): Numbers {
  const least = surfaceMinimum(x.surface);
  const numbers: Numbers = {
    row: exact(x.row),
    "search/zero point": exact(least.zero),
    "search/share of the range": relative(least.share, 1e-6),
    "search/loss": relative(least.loss, 1e-4),
    "float/perplexity": relative(x.float, 1e-3),
  };
  for (const [bits, points] of x.curves) {
    const best = bestPoint(points);
    numbers[`row, ${bits} bits/best share of the range`] = relative(best.share, 1e-6);
    numbers[`row, ${bits} bits/least error`] = relative(best.total, 1e-4);
    numbers[`row, ${bits} bits/error of the whole range`] = relative(points.at(-1)!.total, 1e-4);
  }
  for (const e of x.errors) {
    numbers[`${e.bits} bits/error min–max`] = relative(e.minmax, 1e-4);
    numbers[`${e.bits} bits/error searched`] = relative(e.searched, 1e-3);
  }
  for (const g of x.groups) {
    if (g.groupSize === 0) continue; // the same as min–max
    numbers[`${g.bits} bits, groups of ${g.groupSize}/error`] = relative(g.error, 1e-4);
  }
  // Two bits break a model: what is left of it amplifies the last digit of every sum.
  for (const p of x.perplexities) {
    numbers[`RTN ${p.bits}/perplexity`] = relative(p.perplexity, p.bits < 3 ? 2e-2 : 2e-3);
  }
  return numbers;
}

/** The numbers of notebook 02. */
export function outlierNumbers(x: {
  readonly profiles: readonly ColumnProfile[];
  readonly overlap: Matrix;
  readonly points: readonly KeptError[];
}): Numbers {
  const numbers: Numbers = {};
  for (const p of x.profiles) {
    numbers[`${p.name}/Gini`] = relative(gini(p.score), 2e-3);
    numbers[`${p.name}/carried by the top 1 %`] = relative(topShare(p.score, 0.01), 5e-3);
    numbers[`${p.name}/columns that carry half`] = relative(columnsCarrying(p.score, 0.5), 0.05);
    numbers[`${p.name}/loudest input over median`] = relative(inputSpread(p.inputRms).largestToMedian, 1e-3);
    numbers[`${p.name}/decided by the input`] = relative(factorShares(p).input, 5e-3);
  }
  numbers["overlap of rules"] = relative([...x.overlap.data], 0.1);
  for (const p of x.points) {
    numbers[`${p.rule}, ${p.count} kept/error, rounded`] = relative(p.plain, 5e-3);
    numbers[`${p.rule}, ${p.count} kept/error, OPTQ`] = relative(p.compensated, 5e-2);
  }
  return numbers;
}
