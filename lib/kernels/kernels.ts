// What the rooms above may ask of the kernels, and the choice between the GPU and the plain TypeScript twins.
import type { Floats, Matrix } from "../io/tensor.ts";
import { type Gpu, openGpu, requireGpu } from "../gpu/device.ts";
import { type GramMean, openGramGpu, openGramTwin } from "./gram.ts";
import { searchGridGpu, searchGridTwin } from "./grid_search.ts";
import { sweepGpu } from "./optq_sweep.ts";
import { factorGpu, type FeedbackResult, feedbackTwin } from "./reverse_cholesky.ts";
import { sweepTwin } from "./sweep_twin.ts";

/** How each row's grid is chosen. */
export interface SearchOptions {
  readonly bits: number;
  readonly symmetric: boolean;
  /** How many ranges are tried: 100 for a layer's final grid, 40 for its sensitivity and for groups. */
  readonly steps: number;
  /** The score is the mean of |w − ŵ|^2.4; the kernels know no other exponent. */
  readonly exponent: 2.4;
  /** The columns that count; all of them when absent. */
  readonly columns?: { readonly start: number; readonly count: number };
}

/** One grid a row: ŵ = scale · (q − zero) with q in 0 … 2^bits − 1; a symmetric grid has zero = 2^(bits−1). */
export interface RowGrid {
  /** (rows) */
  readonly scale: Floats;
  /** (rows), integers */
  readonly zero: Floats;
  /** (rows) mean |w − ŵ|^2.4 over the columns that counted */
  readonly loss: Floats;
}

/** One layer for OPTQ: columns are quantized from left to right, each error fed forward to the columns on its right. */
export interface SweepProblem {
  /** (rows, cols), columns already permuted, weak columns last, dead columns already zeroed. Never written to. */
  readonly weight: Matrix;
  /**
   * M (cols, cols), strictly upper: w_k' = w_k + Σ_{j<k} (w_j − ŵ_j) · M[j, k], with w_j the ORIGINAL weight, not w_j'
   * (M = R / diag(R) of H = R Rᵀ). A weak column's ŵ_k is w_k' itself, so its own change w_k − ŵ_k feeds those after it.
   */
  readonly feedback: Floats;
  /** The first `quantized` columns get codes; the rest are weak and only take up error. */
  readonly quantized: number;
  readonly bits: number;
  /** One grid a row; null when `groupSize` > 0. */
  readonly grid: { readonly scale: Floats; readonly zero: Floats } | null;
  /** 0: none. Otherwise a grid is chosen at each multiple of it, as `search` says. */
  readonly groupSize: number;
  readonly search: { readonly tuning: "mse" | "minmax"; readonly symmetric: boolean; readonly steps: number } | null;
  /** At 16, grids found inside the sweep (groups) have their scales rounded to f16 before use; 32: as found. */
  readonly scaleBits: 16 | 32;
  /** Group grids inside a block see the weights as they stood when the block began (128 in the reference). */
  readonly blockSize: number;
}

export interface SweepResult {
  /** (rows, quantized) */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (rows, cols − quantized), the weak columns with the others' errors taken up */
  readonly weak: Floats;
  /** (rows, groups), groups = ceil(quantized / groupSize), or 1 */
  readonly scale: Floats;
  readonly zero: Floats;
  /** (quantized) Σ over rows of (w_k' − ŵ_k)² */
  readonly residual: Float64Array<ArrayBuffer>;
}

/** The hand-written kernels of one device. Open with `openKernels`; call `close` when done. */
export interface Kernels {
  readonly device: "gpu" | "cpu";
  /** Such as "WebGPU: llvmpipe (LLVM 15.0.6, 256 bits)" or "CPU twins in TypeScript". */
  readonly description: string;
  searchGrid(w: Matrix, o: SearchOptions): Promise<RowGrid>;
  sweep(p: SweepProblem): Promise<SweepResult>;
  /**
   * M of H + λI = R Rᵀ for a sweep, or the pivot that is not positive (lib/kernels/reverse_cholesky.ts).
   *
   * @param h H (n, n). @param lambda λ, in H's unit. @param order (n) the order of work; null for H's own.
   */
  factor(h: Matrix, lambda: number, order: Int32Array | null): Promise<FeedbackResult>;
  /** An empty running mean of the second moment of inputs of `width` columns (lib/kernels/gram.ts). */
  gram(width: number, name: string): Promise<GramMean>;
  close(): void;
}

/**
 * Opens the kernels on a device: "gpu" insists on WebGPU, "cpu" takes the TypeScript twins, "auto" takes the GPU
 * where there is an adapter and the twins elsewhere; `description` says which it was.
 *
 * A software driver runs shaders on the CPU, where the twin of the grid search, which tries less, is faster than its
 * shader and gives the same grid bit for bit; there "auto" takes that twin, and for factorizations of fewer than 768
 * columns theirs. "gpu" always takes the shaders. A factorization whose pivots are too small for float32 is done again
 * in double, on every path.
 *
 * @throws LabError of kind "device" when "gpu" is asked for and there is no adapter.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openKernels } from "./kernels.ts";
 * const kernels = await openKernels("cpu");
 * const w = { data: Float32Array.of(-0.9, 0.1, 0.4, 1), rows: 1, cols: 4 };
 * const grid = await kernels.searchGrid(w, { bits: 3, symmetric: false, steps: 40, exponent: 2.4 });
 * assert.ok(grid.scale[0] > 0);
 * kernels.close();
 * ```
 */
export async function openKernels(device: "auto" | "gpu" | "cpu"): Promise<Kernels> {
  if (device === "cpu") return cpuKernels();
  const gpu = device === "gpu" ? await requireGpu() : await openGpu();
  return gpu ? gpuKernels(gpu, device === "auto" && gpu.software) : cpuKernels();
}

/** Below this a software driver is no faster than the twin of the factorization, which is exact. */
const FEW_COLUMNS = 768;

function gpuKernels(gpu: Gpu, twins: boolean): Kernels {
  return {
    device: "gpu",
    description: `WebGPU: ${gpu.description}${twins ? "; grid search on its TypeScript twin" : ""}`,
    searchGrid: (w, o) => twins ? searchGridTwin(w, o) : searchGridGpu(gpu, w, o),
    sweep: (p) => sweepGpu(gpu, p),
    factor: async (h, lambda, order) =>
      twins && h.rows < FEW_COLUMNS ? feedbackTwin(h, lambda, order) : await factorGpu(gpu, h, lambda, order),
    gram: (width, name) => openGramGpu(gpu, width, name),
    close: () => gpu.close(),
  };
}

function cpuKernels(): Kernels {
  return {
    device: "cpu",
    description: "CPU twins in TypeScript",
    searchGrid: searchGridTwin,
    sweep: sweepTwin,
    factor: (h, lambda, order) => Promise.resolve().then(() => feedbackTwin(h, lambda, order)),
    gram: (width, name) => Promise.resolve(openGramTwin(width, name)),
    close: () => {},
  };
}
