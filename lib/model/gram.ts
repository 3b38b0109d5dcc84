// Σ XᵀX over batches of tokens, X (tokens, in), on jax: the heaviest sum of calibration.
import { blockUntilReady, jit, numpy as np, tree } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";

/** Rows of one strip of the upper triangle: two workers get 64 each, and little is computed below the diagonal. */
const stripRows = 128;

/** Xᵀ with tokens filled up by zeros to a multiple of 16, so that the product runs along rows four lanes at a time. */
const transposed = jit((x: np.Array) => {
  const tokens = x.shape[0], fill = Math.ceil(tokens / 16) * 16 - tokens;
  return np.transpose(fill === 0 ? x : np.pad(x, [[0, fill], [0, 0]]));
});

/** acc + Xᵀ[r, r+128) X[:, r…): a strip from the diagonal to the right end. */
const addStrips = jit((xt: np.Array, sums: np.Array[]) => {
  const n = xt.shape[0];
  const out = sums.map((sum, i) => {
    const from = i * stripRows, to = Math.min(n, from + stripRows);
    return np.matmul(xt.ref.slice([from, to]), np.transpose(xt.ref.slice([from, n]))).add(sum);
  });
  xt.dispose();
  return out;
});

/** A running Σ XᵀX (size, size), upper triangle only until it is closed. */
export class GramSum {
  #strips: np.Array[] = [];
  constructor(readonly size: number) {
    for (let r = 0; r < size; r += stripRows) this.#strips.push(np.zeros([Math.min(stripRows, size - r), size - r]));
  }

  /** Adds the tokens of x (…, size); consumes x. */
  add(x: np.Array): void {
    const tokens = x.size / this.size;
    this.#strips = addStrips(transposed(x.reshape([tokens, this.size])), this.#strips);
  }

  /** Waits until what was added so far is computed. */
  async settle(): Promise<void> {
    await blockUntilReady(this.#strips);
  }

  /**
   * factor · Σ XᵀX, whole; frees the sum.
   *
   * @throws LabError when a column holds NaN or infinity, by its index.
   */
  async close(factor: number, name: string): Promise<Matrix> {
    const n = this.size, h = matrix(n, n);
    for (const [i, strip] of this.#strips.entries()) {
      const from = i * stripRows, width = n - from, values = await strip.data() as Floats;
      for (let r = 0; r < values.length / width; r++) {
        for (let j = r; j < width; j++) {
          const value = factor * values[r * width + j];
          h.data[(from + r) * n + from + j] = value;
          h.data[(from + j) * n + from + r] = value;
        }
      }
    }
    this.#strips = [];
    for (let j = 0; j < n; j++) {
      const diagonal = h.data[j * n + j];
      if (!Number.isFinite(diagonal)) {
        throw new LabError(
          "numeric",
          name,
          `calibration gives ${diagonal} at column ${j}`,
          "Some input is not finite.",
        );
      }
    }
    return h;
  }

  /** Frees the sum unused. */
  dispose(): void {
    tree.dispose(this.#strips);
    this.#strips = [];
  }
}
