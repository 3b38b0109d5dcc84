// The second moment of a layer's inputs, H = 2/n · Σ X_sᵀ X_s over n samples: in double, and on the device.
import { openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { runWork, wordsOf } from "../gpu/dispatch.ts";
import { LabError } from "../io/errors.ts";
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";

/**
 * The running mean of the second moment: after n samples H (in, in) = 2/n · Σ_s X_sᵀ X_s.
 *
 * Linears with the same input share one. Source: GPTQ, arXiv 2210.17323, equation 3.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { HessianMean } from "./gram.ts";
 * const h = new HessianMean(2, "doc");
 * h.add({ data: new Float32Array([1, 2]), rows: 1, cols: 2 });
 * h.add({ data: new Float32Array([1, 0]), rows: 1, cols: 2 });
 * assert.deepEqual([...h.value().data], [2, 2, 2, 4]);
 * ```
 */
export class HessianMean {
  private readonly sum: Float64Array;
  private samples = 0;

  /** @param width in, the number of input columns. @param name for messages. */
  constructor(readonly width: number, readonly name: string) {
    this.sum = new Float64Array(width * width);
  }

  /**
   * Adds one sample.
   * @param x X (tokens, in).
   * @throws LabError when the width differs or a value is NaN or infinite (with its place).
   */
  add(x: Matrix): void {
    const n = this.width;
    checkSample(x, n, this.name, this.samples);
    for (let t = 0; t < x.rows; t++) {
      const row = x.data.subarray(t * n, t * n + n);
      for (let i = 0; i < n; i++) {
        const v = row[i];
        if (v !== 0) { for (let j = i; j < n; j++) this.sum[i * n + j] += v * row[j]; }
      }
    }
    this.samples++;
  }

  /** H (in, in) of what was added so far; zeros before the first sample. */
  value(): Matrix {
    const n = this.width, h = matrix(n, n), f = this.samples ? 2 / this.samples : 0;
    for (let i = 0; i < n; i++) {
      for (let j = i; j < n; j++) h.data[i * n + j] = h.data[j * n + i] = f * this.sum[i * n + j];
    }
    return h;
  }
}

/** A running mean of the second moment, wherever it is kept. */
export interface GramMean {
  /** in, the number of input columns. */
  readonly width: number;
  /**
   * Adds one sample.
   * @param x X (tokens, in).
   * @throws LabError when the width differs or a value is NaN or infinite (with its place), or when the device fails.
   */
  add(x: Matrix): Promise<void>;
  /** H (in, in) of what was added so far; zeros before the first sample. */
  value(): Promise<Matrix>;
  /** Gives its memory back. */
  close(): void;
}

/**
 * The running mean in double, behind the interface of both paths: the specification of wgsl/gram.wgsl and the CPU path.
 *
 * @param width in, the number of input columns. @param name for messages.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGramTwin } from "./gram.ts";
 * const mean = openGramTwin(2, "doc");
 * await mean.add({ data: Float32Array.of(1, 2, 1, 0), rows: 2, cols: 2 });
 * assert.deepEqual([...(await mean.value()).data], [4, 4, 4, 8]);
 * ```
 */
export function openGramTwin(width: number, name: string): GramMean {
  const mean = new HessianMean(width, name);
  return {
    width,
    add: (x) => Promise.resolve().then(() => mean.add(x)),
    value: () => Promise.resolve(mean.value()),
    close: () => {},
  };
}

/** Columns are padded to whole tiles, tokens to whole rounds. */
const SIDE = 64, ROUND = 16;
/** A buffer of tokens, or of rows of H: small enough for any device, large enough to keep one busy. */
const TILE_BYTES = 64 * 2 ** 20;

/**
 * The running mean on the GPU, accumulated in place in float32; half of the products, since H is symmetric.
 *
 * An H that does not fit a binding lies in several strips of rows, and a sample of many tokens comes in parts.
 *
 * @param gpu an open device. @param width in, the number of input columns. @param name for messages.
 * @throws LabError when the device fails.
 * @see `openGramTwin`
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { openGramGpu } from "./gram.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const mean = await openGramGpu(gpu, 2, "doc");
 *   await mean.add({ data: Float32Array.of(1, 2, 1, 0), rows: 2, cols: 2 });
 *   assert.deepEqual([...(await mean.value()).data], [4, 4, 4, 8]);
 *   mean.close();
 *   gpu.close();
 * }
 * ```
 */
export async function openGramGpu(gpu: Gpu, width: number, name: string): Promise<GramMean> {
  const padded = Math.ceil(width / SIDE) * SIDE, rowBytes = padded * 4, limit = Math.min(TILE_BYTES, gpu.maxBytes);
  const buffers = openBuffers(gpu), uniform = buffers.uniform(8);
  const shape = gpu.software ? { entry: "gram_wide", side: 16, lanes: 8 } : { entry: "gram", side: SIDE, lanes: 1 };
  const pipeline = await loadKernel(gpu, { file: "gram.wgsl", entry: shape.entry });
  const tall = Math.max(SIDE, Math.floor(gpu.maxBytes / rowBytes / SIDE) * SIDE);
  const strips: { readonly buffer: GPUBuffer; readonly top: number; readonly rows: number }[] = [];
  for (let top = 0; top < padded; top += tall) {
    const rows = Math.min(tall, padded - top);
    strips.push({ buffer: buffers.scratch(rows * rowBytes, "second moment"), top, rows });
  }
  const atOnce = Math.max(ROUND, Math.floor(limit / rowBytes / ROUND) * ROUND);
  let samples = 0, tokens: GPUBuffer | null = null;
  const addTokens = async (data: Floats, count: number, keep: number, weight: number) => {
    if (!tokens || tokens.size < data.byteLength) {
      tokens?.destroy(); // it is no longer read: each sample is waited for
      tokens = buffers.scratch(data.byteLength, "tokens");
    }
    gpu.device.queue.writeBuffer(tokens, 0, data);
    for (const { buffer, top, rows } of strips) {
      await runWork(gpu, {
        pipeline,
        buffers: { 1: tokens, 2: buffer },
        uniform,
        words: wordsOf(padded / 4, count, top, rows, { f32: keep }, { f32: weight }),
        groups: Math.ceil(rows / shape.side * (padded / shape.side) / shape.lanes),
        operations: shape.lanes * shape.side ** 2 * count, // half of the tiles cost next to nothing
      });
    }
    await gpu.device.queue.onSubmittedWorkDone();
  };
  return {
    width,
    async add(x) {
      checkSample(x, width, name, samples);
      await gpu.run(`second moment of (${x.rows}, ${width})`, async () => {
        for (let first = 0; first < Math.max(1, x.rows); first += atOnce) {
          const own = Math.min(atOnce, x.rows - first), count = Math.max(ROUND, Math.ceil(own / ROUND) * ROUND);
          const data = paddedTokens(x, first, own, count, padded);
          await addTokens(data, count, first === 0 ? samples / (samples + 1) : 1, 2 / (samples + 1));
        }
      });
      samples++;
    },
    value: () =>
      gpu.run(`second moment of ${name}`, async () => {
        const h = matrix(width, width);
        for (const { buffer, top, rows } of samples === 0 ? [] : strips) {
          const values = new Float32Array(await buffers.read(buffer, rows * rowBytes));
          for (let i = top; i < Math.min(top + rows, width); i++) {
            const row = values.subarray((i - top) * padded, (i - top) * padded + width);
            h.data.set(row.subarray(i), i * width + i);
          }
        }
        mirror(h);
        return h;
      }),
    close: () => buffers.free(),
  };
}

/** Tokens first … first + own − 1 with zeros beside and behind them; the data itself where none are needed. */
function paddedTokens(x: Matrix, first: number, own: number, count: number, padded: number): Floats {
  if (x.cols === padded && own === count) return x.data.subarray(first * padded, (first + count) * padded);
  const out = new Float32Array(count * padded);
  for (let t = 0; t < own; t++) {
    out.set(x.data.subarray((first + t) * x.cols, (first + t + 1) * x.cols), t * padded);
  }
  return out;
}

/** Copies what lies above the diagonal below it, 16 × 16 at a time so that both sides stay in the cache. */
function mirror(h: Matrix): void {
  const n = h.rows;
  for (let i0 = 0; i0 < n; i0 += 16) {
    for (let j0 = i0; j0 < n; j0 += 16) {
      for (let i = i0; i < Math.min(i0 + 16, n); i++) {
        for (let j = Math.max(i + 1, j0); j < Math.min(j0 + 16, n); j++) h.data[j * n + i] = h.data[i * n + j];
      }
    }
  }
}

/** Refuses a sample of another width, or with NaN or infinity in it. */
function checkSample(x: Matrix, width: number, name: string, sample: number): void {
  if (x.cols !== width) throw new LabError("input", name, `calibration input has ${x.cols} columns, not ${width}`);
  for (let i = 0; i < x.data.length; i++) {
    if (Number.isFinite(x.data[i])) continue;
    const where = `token ${Math.floor(i / width)}, column ${i % width} of sample ${sample}`;
    throw new LabError("numeric", name, `${x.data[i]} in the calibration input at ${where}`);
  }
}
