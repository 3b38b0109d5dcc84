// What the two sweeps share: room for the result, blocks, and the grids of groups.
import type { Matrix } from "../io/tensor.ts";
import type { RowGrid, SearchOptions, SweepProblem, SweepResult } from "./kernels.ts";
import { minmaxGrid } from "./minmax.ts";

/** Room for the result, with the grids of a problem without groups already in place. */
export function emptySweep(p: SweepProblem): SweepResult {
  const { rows, cols } = p.weight, groups = groupCount(p);
  const out: SweepResult = {
    codes: new Uint8Array(rows * p.quantized),
    weak: new Float32Array(rows * (cols - p.quantized)),
    scale: new Float32Array(rows * groups),
    zero: new Float32Array(rows * groups),
    residual: new Float64Array(p.quantized),
  };
  if (p.grid && p.groupSize === 0) {
    out.scale.set(p.grid.scale);
    out.zero.set(p.grid.zero);
  }
  return out;
}

/** Columns of a block: only the grids of groups depend on it, so without them it is whatever is fastest. */
export function blockOf(p: SweepProblem): number {
  return p.groupSize === 0 ? 32 : p.blockSize;
}

/** Grids a row. */
export function groupCount(p: SweepProblem): number {
  return p.groupSize === 0 ? 1 : Math.ceil(p.quantized / p.groupSize);
}

/** The end of the last group that begins in columns from … to − 1; 0 when none does. */
export function groupReach(p: SweepProblem, from: number, to: number): number {
  if (p.groupSize === 0 || from >= p.quantized) return 0;
  const lastStart = Math.floor((to - 1) / p.groupSize) * p.groupSize;
  return lastStart >= from ? Math.min(lastStart + p.groupSize, p.quantized) : 0;
}

/**
 * Chooses the grids of the groups that begin in columns from … to − 1 on the weights as they stand.
 * `standing` holds the columns from `from` on of rows `first` on; the grids go to `out`.
 */
export async function chooseGroupGrids(
  p: SweepProblem,
  standing: Matrix,
  from: number,
  to: number,
  out: SweepResult,
  search: (w: Matrix, o: SearchOptions) => Promise<RowGrid>,
  first = 0,
): Promise<void> {
  const { bits, groupSize } = p, { tuning, symmetric, steps } = p.search!;
  const groups = groupCount(p);
  for (let g = Math.ceil(from / groupSize); g * groupSize < to; g++) {
    const start = g * groupSize - from;
    const columns = { start, count: Math.min(groupSize, standing.cols - start) };
    const grid = tuning === "minmax"
      ? minmaxGrid(standing, { bits, symmetric, columns })
      : await search(standing, { bits, symmetric, steps, exponent: 2.4, columns });
    for (let r = 0; r < standing.rows; r++) {
      out.scale[(first + r) * groups + g] = p.scaleBits === 16 ? toHalf(grid.scale[r]) : grid.scale[r];
      out.zero[(first + r) * groups + g] = grid.zero[r];
    }
  }
}

/** The nearest f16 that is a scale: neither 0 nor infinite. */
function toHalf(scale: number): number {
  return Math.min(Math.max(Math.f16round(scale), 2 ** -24), 65504);
}
