// Sweep problems with a feedback matrix of a real kind, and the sweep written as plainly as it can be.
import type { SweepProblem } from "../../lib/kernels/kernels.ts";
import { roundHalfEven } from "../../lib/kernels/round.ts";
import { minmaxGrid } from "../../lib/kernels/minmax.ts";
import { rng } from "../../lib/io/rng.ts";

/** A problem with min–max grids; columns feed their right neighbours about as strongly as a real Hessian's do. */
export function sweepProblem(rows: number, cols: number, weak: number, bits = 3): SweepProblem {
  const g = rng(3, `sweep ${rows} ${cols} ${weak}`);
  const weight = { data: Float32Array.from({ length: rows * cols }, () => 0.05 * g.normal()), rows, cols };
  const feedback = new Float32Array(cols * cols);
  for (let j = 0; j < cols; j++) {
    for (let k = j + 1; k < cols; k++) feedback[j * cols + k] = g.normal() / Math.sqrt(cols);
  }
  const quantized = cols - weak;
  const grid = quantized > 0
    ? minmaxGrid(weight, { bits, symmetric: false, columns: { start: 0, count: quantized } })
    : { scale: new Float32Array(rows).fill(1), zero: new Float32Array(rows) };
  return { weight, feedback, quantized, bits, grid, groupSize: 0, search: null, scaleBits: 32, blockSize: 128 };
}

/** Column by column, row by row, in double: values w' (rows, cols) and codes (rows, quantized) on grids by group. */
export function plainSweep(p: SweepProblem, scale: Float32Array, zero: Float32Array) {
  const { rows, cols, data } = p.weight, { quantized, groupSize } = p, groups = scale.length / rows;
  const values = new Float64Array(rows * cols), codes = new Uint8Array(rows * quantized);
  const residual = new Float64Array(quantized), e = new Float64Array(cols);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < cols; k++) {
      let w = data[r * cols + k];
      for (let j = 0; j < k; j++) w += e[j] * p.feedback[j * cols + k];
      values[r * cols + k] = w;
      const g = r * groups + (groupSize === 0 ? 0 : Math.floor(k / groupSize));
      if (k < quantized) {
        const q = Math.max(0, Math.min(2 ** p.bits - 1, roundHalfEven(w / scale[g]) + zero[g]));
        codes[r * quantized + k] = q;
        e[k] = data[r * cols + k] - scale[g] * (q - zero[g]);
        residual[k] += (w - scale[g] * (q - zero[g])) ** 2;
      } else e[k] = data[r * cols + k] - w;
    }
  }
  return { values, codes, residual };
}
