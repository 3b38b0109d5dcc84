// Q-Palette's scalar and plane quantizers: rows rotated until they look normal, one scale a row, a fixed codebook, and, with
// data, feedback of each column's error into the columns before it.
import type { Floats, Matrix } from "../io/tensor.ts";
import { LabError } from "../io/errors.ts";
import { reverseCholesky } from "./cholesky.ts";
import { type Codebook, nearestEntry } from "./codebook.ts";
import { hadamardBlock, rotateHessian, rotateRows, rotateRowsBack } from "./hadamard.ts";
import { diagonal } from "./hessian.ts";

/** Which codebook the columns from `from` on use. */
export interface BookSpan {
  readonly from: number;
  readonly book: Pick<Codebook, "dim" | "entries">;
}

/** What Q-Palette needs beside W. */
export interface PaletteOptions {
  /** (in) ±1. */
  readonly signs: ArrayLike<number>;
  /** Codebooks by column, the first from 0; a span is a whole number of its book's vectors. */
  readonly books: readonly BookSpan[];
  /** H (in, in) for feedback, or null: none. */
  readonly hessian: Matrix | null;
  /** Share of the mean diagonal that is added to H. */
  readonly damp: number;
  /** 16: rows' scales are rounded to f16 before anything is rounded on them. */
  readonly scaleBits: 16 | 32;
}

/** What Q-Palette gives. */
export interface PaletteLayer {
  /** (out) root mean square of the rotated row. */
  readonly scale: Floats;
  /** (out, in) the rotated weight by its scale. */
  readonly rotated: Float64Array;
  /** (out, vectors) entries of the codebooks, span after span. */
  readonly codes: Int32Array<ArrayBuffer>;
  /** (out, in) scale · entry, still rotated. */
  readonly rotatedApproximation: Float64Array;
  /** Ŵ (out, in). */
  readonly approximation: Matrix;
}

/**
 * Rotation, scale, rounding and the way back.
 *
 * R = W diag(σ) Had / √block, c_i = rms(R_i,:), R̂_i,: = c_i · nearest entries of R_i,: / c_i. With H: vectors from the last
 * to the first, each rounded at w + (w − ŵ of later ones) L, with H' = L D Lᵀ by blocks of a vector, H' the rotated and
 * damped H.
 *
 * @param w W (out, in). @param o signs, codebooks, H.
 * @throws LabError where the damped H is not positive definite.
 * Source: Q-Palette, arXiv 2509.20214; snu-mllab/Q-Palette c53f473; feedback as in QuIP, arXiv 2307.13304.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { qPalette } from "./q_palette.ts";
 * const w = { data: Float32Array.of(4, 0, 0, 0), rows: 1, cols: 4 }; // rotated: 2, 2, 2, 2
 * const books = [{ from: 0, book: { dim: 1, entries: Float32Array.of(-1, 1) } }];
 * const o = { signs: [1, 1, 1, 1], books, hessian: null, damp: 0.01, scaleBits: 32 } as const;
 * assert.deepEqual([...qPalette(w, o).approximation.data].map(Math.abs), [4, 0, 0, 0]);
 * ```
 */
export function qPalette(w: Matrix, o: PaletteOptions): PaletteLayer {
  const { rows, cols } = w, block = hadamardBlock(cols), rotated = rotateRows(w, o.signs, block);
  const scale = new Float32Array(rows), stored = o.scaleBits === 16 ? Math.f16round : Math.fround;
  for (let r = 0; r < rows; r++) {
    let squares = 0;
    for (let i = r * cols; i < (r + 1) * cols; i++) squares += rotated[i] ** 2;
    scale[r] = stored(Math.sqrt(squares / cols)) || 2 ** -24;
    for (let i = r * cols; i < (r + 1) * cols; i++) rotated[i] = Math.fround(rotated[i] / scale[r]);
  }
  const vectors = vectorsOf(o.books, cols), feedback = o.hessian ? feedbackOf(o.hessian, o, vectors, block) : null;
  const codes = new Int32Array(rows * vectors.length), out = new Float64Array(rows * cols);
  const target = new Float64Array(cols), lost = new Float64Array(cols);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++) target[j] = rotated[r * cols + j];
    for (let v = vectors.length - 1; v >= 0; v--) {
      const { from, book } = vectors[v], to = from + book.dim, code = nearestEntry(book, target.subarray(from, to));
      codes[r * vectors.length + v] = code;
      for (let j = from; j < to; j++) {
        const value = book.entries[code * book.dim + j - from];
        out[r * cols + j] = scale[r] * value;
        lost[j] = rotated[r * cols + j] - value;
      }
      // (w − ŵ) L, row by row of L: what this vector lost moves all columns before it.
      for (let j = from; feedback && j < to; j++) {
        for (let k = 0, at = j * cols, e = lost[j]; k < from; k++) target[k] += e * feedback[at + k];
      }
    }
  }
  const approximation = { data: Float32Array.from(rotateRowsBack(out, cols, o.signs, block)), rows, cols };
  return { scale, rotated, codes, rotatedApproximation: out, approximation };
}

/** Where each vector begins and which book it uses. */
export function vectorsOf(books: readonly BookSpan[], cols: number): BookSpan[] {
  const out: BookSpan[] = [];
  books.forEach(({ from, book }, i) => {
    const to = i + 1 < books.length ? books[i + 1].from : cols;
    if ((to - from) % book.dim !== 0) {
      throw new LabError("input", "codebook", `columns ${from} to ${to} are no whole vectors of ${book.dim}`);
    }
    for (let j = from; j < to; j += book.dim) out.push({ from: j, book });
  });
  return out;
}

/** L (in, in) below its diagonal blocks, H' = L D Lᵀ with unit blocks on the diagonal. */
function feedbackOf(h: Matrix, o: PaletteOptions, vectors: readonly BookSpan[], block: number): Float64Array {
  const n = h.cols, turned = rotateHessian(h, o.signs, block), d = diagonal(h);
  const mean = d.reduce((a, b) => a + b, 0) / n, reversed = Int32Array.from({ length: n }, (_, j) => n - 1 - j);
  const found = reverseCholesky(turned, o.damp * mean, reversed);
  if (!found.ok) {
    throw new LabError("numeric", "rotated Hessian", `pivot ${found.pivot} is ${found.value}`, "Damp more.");
  }
  const l = found.factor.flipped; // of the reversed order: the ordinary lower factor
  for (const { from, book: { dim } } of vectors) {
    // Columns from … from + dim times the inverse of the diagonal block, from the last one to the first.
    for (let i = from + dim; i < n; i++) {
      for (let c = dim - 1; c >= 0; c--) {
        let v = l[i * n + from + c];
        for (let k = c + 1; k < dim; k++) v -= l[i * n + from + k] * l[(from + k) * n + from + c];
        l[i * n + from + c] = v / l[(from + c) * n + from + c];
      }
    }
  }
  return l;
}
