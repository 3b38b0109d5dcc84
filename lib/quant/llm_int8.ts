// LLM.int8(): one scale a token and one a row, and the few input channels with large values taken out of the product.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { roundHalfEven } from "../kernels/round.ts";

/** A matrix in signed bytes with one scale a row: value = scale/127 · code. */
export interface RowBytes {
  /** (rows, cols), −127 … 127. */
  readonly codes: Int8Array<ArrayBuffer>;
  /** (rows) max|v|. */
  readonly scale: Floats;
}

/** What the product goes through. */
export interface Int8Product {
  /** Channels with a value of at least the threshold, ascending. */
  readonly outliers: Int32Array<ArrayBuffer>;
  /** The inputs without them. */
  readonly inputs: RowBytes;
  /** Y (tokens, out). */
  readonly output: Matrix;
}

const f32 = Math.fround;

/**
 * Each row in bytes by its largest magnitude: code = round(127 v / max|v|).
 *
 * @param m (rows, cols). @param below values of at least this size count as 0 for both scale and codes; Infinity: none.
 */
export function rowBytes(m: Matrix, below = Infinity): RowBytes {
  const codes = new Int8Array(m.data.length), scale = new Float32Array(m.rows);
  for (let r = 0; r < m.rows; r++) {
    const row = m.data.subarray(r * m.cols, (r + 1) * m.cols);
    for (const v of row) if (Math.abs(v) < below) scale[r] = Math.max(scale[r], Math.abs(v));
    const f = scale[r] > 0 ? f32(127 * f32(1 / scale[r])) : 0;
    for (let j = 0; j < m.cols; j++) {
      codes[r * m.cols + j] = Math.abs(row[j]) < below ? roundHalfEven(f32(row[j] * f)) : 0;
    }
  }
  return { codes, scale };
}

/** The values of row bytes, (rows, cols). */
export function fromRowBytes(b: RowBytes): Matrix {
  const rows = b.scale.length, cols = b.codes.length / rows, out = matrix(rows, cols);
  for (let i = 0; i < out.data.length; i++) out.data[i] = b.scale[Math.floor(i / cols)] / 127 * b.codes[i];
  return out;
}

/**
 * Y = X Wᵀ in bytes with the outlier channels apart: those multiply the weight's bytes as floats.
 *
 * A channel is an outlier when any token has |x| ≥ threshold. The scale of a token leaves such values out, but counts the
 * small values of outlier channels.
 *
 * @param x X (tokens, in). @param w W (out, in) in bytes. @param threshold 6 in the paper; 0: no channel is taken out.
 * @returns Y (tokens, out), and what it was made of.
 * Source: Dettmers et al., NeurIPS 2022, arXiv 2208.07339; bitsandbytes 0.50.2, whose outlier columns are the weight's bytes
 * too (the paper keeps them in 16 bits).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { int8Product, rowBytes } from "./llm_int8.ts";
 * const w = rowBytes({ data: Float32Array.of(1, 1), rows: 1, cols: 2 });
 * const { outliers, output } = int8Product({ data: Float32Array.of(0.1, 100), rows: 1, cols: 2 }, w, 6);
 * assert.deepEqual([...outliers], [1]);
 * assert.ok(Math.abs(output.data[0] - 100.1) < 1e-4); // without the threshold the 0.1 would be lost
 * ```
 */
export function int8Product(x: Matrix, w: RowBytes, threshold: number): Int8Product {
  const below = threshold > 0 ? threshold : Infinity, cols = x.cols, rows = w.scale.length;
  const apart = new Set<number>();
  for (let i = 0; i < x.data.length; i++) if (Math.abs(x.data[i]) >= below) apart.add(i % cols);
  const outliers = Int32Array.from(apart).sort(), inputs = rowBytes(x, below), output = matrix(x.rows, rows);
  for (let i = 0; i < inputs.codes.length; i++) if (apart.has(i % cols)) inputs.codes[i] = 0;
  for (let t = 0; t < x.rows; t++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0, exact = 0;
      for (let j = 0; j < cols; j++) sum += inputs.codes[t * cols + j] * w.codes[r * cols + j];
      for (const j of outliers) exact += x.data[t * cols + j] * w.codes[r * cols + j];
      output.data[t * rows + r] = (sum * inputs.scale[t] / 127 + exact) * w.scale[r] / 127;
    }
  }
  return { outliers, inputs, output };
}
