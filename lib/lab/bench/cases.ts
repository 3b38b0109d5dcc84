// The matrices of the table: seeded, of the sizes that real layers have.
import { rng } from "../../io/rng.ts";
import { type Floats, type Matrix, matrix } from "../../io/tensor.ts";
import { packRows, unpackRows } from "../../kernels/pack.ts";
import type { PackedBits, PackedMatrix } from "../../kernels/packed_matrix.ts";
import { columnsForTarget } from "../../quant/budget.ts";

/** A normal matrix (rows, cols) of standard deviation `scale`. */
export function normalMatrix(rows: number, cols: number, seed: number, name: string, scale = 1): Matrix {
  const stream = rng(seed, name), m = matrix(rows, cols);
  for (let i = 0; i < m.data.length; i++) m.data[i] = scale * stream.normal();
  return m;
}

/**
 * Weak columns that a layer of that width gets at a target of nominal bits, in a block of six equal linears (OPT's
 * count; at 4096 columns 6 at 3.01 bits and 64 at 3.1).
 *
 * @param width of the model, where the layer reads a wider input: such layers get their share (see `BudgetLinear.ratio`).
 */
export function weakColumnsOf(cols: number, bits: number, target: number, width = cols): number {
  const linear = { out: width, in: cols, ratio: Math.min(1, width / cols) };
  const block = Array.from({ length: 6 }, (_, i) => ({ ...linear, name: `${i}` }));
  return columnsForTarget(block, bits, target).get("0")!;
}

/**
 * A packed matrix with random codes, one grid a row and `weak` weak columns at random places.
 *
 * @returns as {@link PackedMatrix} says: at a weak column the code is the zero point.
 */
export function packedMatrix(
  rows: number,
  cols: number,
  bits: PackedBits,
  weak: number,
  seed: number,
): PackedMatrix {
  const stream = rng(seed, `packed ${rows} × ${cols}`), top = 2 ** bits - 1;
  const scale = new Float32Array(rows), zero = new Float32Array(rows), codes = new Uint8Array(rows * cols);
  for (let r = 0; r < rows; r++) [scale[r], zero[r]] = [0.01 * (1 + stream.float()), stream.int(top + 1)];
  for (let i = 0; i < codes.length; i++) codes[i] = stream.uint32() >>> (32 - bits);
  const weakIds = rng(seed, `weak columns of ${cols}`).permutation(cols).slice(0, weak).sort();
  const values = new Float32Array(rows * weak);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < weak; i++) {
      codes[r * cols + weakIds[i]] = zero[r];
      values[r * weak + i] = Math.f16round(0.05 * stream.normal());
    }
  }
  return {
    rows,
    cols,
    bits,
    codes: packRows(codes, rows, cols, bits),
    scale,
    zero,
    groupOf: null,
    weakIds,
    weak: values,
  };
}

/** Ŵ (rows, cols) of a packed matrix with one grid a row. */
export function unpacked(m: PackedMatrix): Matrix {
  const codes = unpackRows(m.codes, m.rows, m.cols, m.bits), out = matrix(m.rows, m.cols), k = m.weakIds.length;
  for (let r = 0, i = 0; r < m.rows; r++) {
    for (let c = 0; c < m.cols; c++, i++) out.data[i] = m.scale[r] * (codes[i] - m.zero[r]);
    for (let j = 0; j < k; j++) out.data[r * m.cols + m.weakIds[j]] = m.weak[r * k + j];
  }
  return out;
}

/** Bytes a packed matrix holds by its definition: codes, grids, weak columns in 16 bits and their ids. */
export function packedBytes(m: PackedMatrix): number {
  return m.codes.byteLength + m.rows * 8 + m.weak.length * 2 + m.weakIds.length * 4;
}

/**
 * The share of y = x·Wᵀ that is within the rounding of float32 sums, on some rows: |y − y₆₄| ≤ (n + 2) · 2⁻²⁴ · Σ|wx|.
 *
 * @param y (vectors, rows). @param x (vectors, cols). @param unit relative rounding: 2⁻²⁴, or 2⁻¹¹ for 16-bit weights.
 */
export function agreement(y: Floats | Float32Array, x: Matrix, w: Matrix, unit = 2 ** -24): number {
  const step = Math.max(1, Math.floor(w.rows / 64));
  let right = 0, all = 0;
  for (let v = 0; v < x.rows; v += Math.max(1, Math.floor(x.rows / 4))) {
    for (let r = 0; r < w.rows; r += step) {
      let sum = 0, size = 0;
      for (let c = 0; c < w.cols; c++) {
        const term = x.data[v * x.cols + c] * w.data[r * w.cols + c];
        sum += term;
        size += Math.abs(term);
      }
      all++;
      if (Math.abs(y[v * w.rows + r] - sum) <= (w.cols + 2) * unit * size) right++;
    }
  }
  return right / all;
}

/**
 * A layer for OPTQ: normal weights with heavier tails, and a positive definite Hessian with correlated neighbours, a few
 * loud inputs and a few directions that all share. Made from a formula, not from data: 2048 columns take a second.
 *
 * H[i, j] = s_i s_j (ρ^|i−j| + Σ_k u_k[i] u_k[j]), ρ = 0.6.
 */
export function layerCase(rows: number, cols: number, seed: number): { weight: Matrix; hessian: Matrix } {
  const weight = normalMatrix(rows, cols, seed, "weight", 0.05);
  for (let i = 0; i < weight.data.length; i++) weight.data[i] *= 1 + 5 * weight.data[i] ** 2 / 0.05;
  const stream = rng(seed, "hessian"), hessian = matrix(cols, cols), shared = 6;
  const s = Float64Array.from({ length: cols }, () => (stream.float() < 0.01 ? 8 : 1) * (0.5 + stream.float()));
  const u = Array.from({ length: shared }, () => Float64Array.from({ length: cols }, () => 0.4 * stream.normal()));
  const powers = Float64Array.from({ length: cols }, (_, d) => 0.6 ** d);
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j <= i; j++) {
      let value = powers[i - j];
      for (const v of u) value += v[i] * v[j];
      hessian.data[i * cols + j] = hessian.data[j * cols + i] = s[i] * s[j] * value;
    }
  }
  return { weight, hessian };
}
