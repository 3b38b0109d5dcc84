// Does a model have outlier channels? Statistics of what each linear of a block reads.
import type { Floats } from "../io/tensor.ts";
import type { LanguageModel } from "./language_model.ts";

/** How far some channels of an input stand out. */
export interface ChannelOutliers {
  /** max over channels of the largest |x|, over the median channel's largest |x|. */
  readonly maxToMedian: number;
  /** The same with the root mean square of a channel: a few loud tokens count less. */
  readonly rmsToMedian: number;
  /** E x⁴ / (E x²)² over all values; 3 for a normal distribution. */
  readonly kurtosis: number;
  /** Channels whose root mean square is above six times the median one. */
  readonly outliers: number;
}

function median(values: Float64Array): number {
  const sorted = values.toSorted(), half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/**
 * Statistics of channels.
 *
 * @param x (rows, channels), row by row.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { channelOutliers } from "./outlier_report.ts";
 * assert.equal(channelOutliers(Float32Array.of(1, -1, 8, -1, 1, 8), 3).maxToMedian, 8);
 * ```
 */
export function channelOutliers(x: Floats, channels: number): ChannelOutliers {
  const largest = new Float64Array(channels), squares = new Float64Array(channels);
  let fourth = 0;
  for (let i = 0; i < x.length; i++) {
    const c = i % channels, square = x[i] * x[i];
    largest[c] = Math.max(largest[c], Math.abs(x[i]));
    squares[c] += square;
    fourth += square * square;
  }
  const rms = squares.map((s) => Math.sqrt(s * channels / x.length)), middle = median(rms);
  const second = squares.reduce((a, b) => a + b) / x.length;
  return {
    maxToMedian: Math.max(...largest) / median(largest),
    rmsToMedian: Math.max(...rms) / middle,
    kurtosis: fourth / x.length / (second * second),
    outliers: rms.filter((r) => r > 6 * middle).length,
  };
}

/** The statistics of one input of linears of one block. */
export interface InputOutliers extends ChannelOutliers {
  readonly block: number;
  /** LinearInfo.input: "attention", "output", "mlp" or "down". */
  readonly input: string;
}

/**
 * Statistics of all that the linears of a model read on some text.
 *
 * @param ids (windows·length) token ids.
 * @returns a row for each block and input, in the order of the pass.
 * @throws LabError for ids or a length that do not fit the model.
 */
export async function outlierReport(
  model: LanguageModel,
  ids: Int32Array,
  windows: number,
  length: number,
): Promise<InputOutliers[]> {
  const rows: InputOutliers[] = [];
  let hidden = await model.embed(ids, windows, length);
  for (let index = 0; index < model.blocks; index++) {
    const block = await model.openBlock(index);
    for (const input of new Set(model.linears(index).map((l) => l.input))) {
      const x = await block.capture(hidden, input);
      rows.push({ block: index, input, ...channelOutliers(x.data, x.cols) });
    }
    hidden = await block.forward(hidden);
    block.close();
  }
  return rows;
}
