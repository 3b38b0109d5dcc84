// The grid search of OWQ ("truncation"): for each row, the range and zero point with the least mean |w − ŵ|^2.4.
// `searchGridReference` is the definition; `searchGridTwin` and `searchGridGpu` find the same grid without trying them all.
import type { Floats, Matrix } from "../io/tensor.ts";
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { runWork, wordsOf } from "../gpu/dispatch.ts";
import { checkSearch } from "./checks.ts";
import { type Candidates, NEAR_BOUND } from "./grid_moments.ts";
import { type Choice, levelsOf, openRowSearch, rangeOf, type RowRange, searchRowReference } from "./grid_row.ts";
import type { RowGrid, SearchOptions } from "./kernels.ts";
import { openPause } from "./pause.ts";

/**
 * The grid search as it is defined: every range and every zero point of every row, in float32.
 * Slow; it is what `searchGridTwin` and wgsl/grid_search.wgsl are held against.
 *
 * R = max(row, 0) − min(row, 0); for i = 1 … steps: t = R·i/steps, s = t / (2^b − 1), r = round(w / s);
 * for z = 0 … 2^b − 1: ŵ = s · (clamp(r + z, 0, 2^b − 1) − z). The first least mean |w − ŵ|^2.4 wins.
 * Symmetric: R = max|w|, s = t / 2^(b−1), z = 2^(b−1) only.
 *
 * @param w W (rows, cols); only `o.columns` of it count.
 * @returns scale, zero and loss, each (rows).
 * @throws LabError on NaN or infinity and on options outside their bounds.
 * @see OWQ (arXiv 2306.02272) section 3.3, as computed by its reference implementation
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { searchGridReference } from "./grid_search.ts";
 * const w = { data: Float32Array.of(-3, -2, 0, 1, 4), rows: 1, cols: 5 };
 * const grid = searchGridReference(w, { bits: 3, symmetric: false, steps: 100, exponent: 2.4 });
 * assert.deepEqual([grid.scale[0], grid.zero[0], grid.loss[0]], [1, 3, 0]);
 * ```
 */
export function searchGridReference(w: Matrix, o: SearchOptions): RowGrid {
  const { start, count } = checkSearch(w, o);
  const out = emptyGrid(w.rows);
  for (let r = 0; r < w.rows; r++) {
    const row = w.data.subarray(r * w.cols + start, r * w.cols + start + count);
    store(out, r, searchRowReference(row, rangeOf(row, o), o));
  }
  return out;
}

/**
 * The grid search of every row, as `searchGridReference` defines it, in a small part of its time.
 *
 * Each candidate's score is first bounded from both sides in a number of operations that does not depend on the length
 * of the row (lib/kernels/grid_moments.ts); only the candidates whose bounds overlap the best one's are computed in full.
 * Yields to the event loop about every 50 ms.
 *
 * @param w W (rows, cols); only `o.columns` of it count.
 * @returns scale, zero and loss, each (rows).
 * @throws LabError on NaN or infinity and on options outside their bounds.
 * @see OWQ (arXiv 2306.02272) section 3.3
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { searchGridTwin } from "./grid_search.ts";
 * const w = { data: Float32Array.of(-3, -2, 0, 1, 4), rows: 1, cols: 5 };
 * const grid = await searchGridTwin(w, { bits: 3, symmetric: false, steps: 100, exponent: 2.4 });
 * assert.deepEqual([grid.scale[0], grid.zero[0], grid.loss[0]], [1, 3, 0]);
 * ```
 */
export async function searchGridTwin(w: Matrix, o: SearchOptions): Promise<RowGrid> {
  const { start, count } = checkSearch(w, o);
  const out = emptyGrid(w.rows);
  const { search } = openRowSearch(o, count);
  const pause = openPause();
  for (let r = 0; r < w.rows; r++) {
    store(out, r, search(w.data.subarray(r * w.cols + start, r * w.cols + start + count)));
    if ((r & 15) === 15) await pause();
  }
  return out;
}

/** Scores per step in wgsl/grid_search.wgsl: four zero points, then the first of them and the bounds beyond them. */
const PER_STEP = 8, STEPS_PER_GROUP = 32, LANES_PER_GROUP = 8, WORKGROUP = 64;
/** A tile's largest buffer: small enough for any device, large enough to keep one busy. */
const TILE_BYTES = 64 * 2 ** 20;

/**
 * The grid search of every row on the GPU: bit for bit the grid of `searchGridTwin`.
 *
 * The shader bounds the score of each step at the four zero points near the best one, and of all others together; the
 * host scores the one or two candidates that are left in full. Rows that the four zero points do not settle (hardly any
 * at 3 bits, a tenth at 4), and bit widths above 4, go the twin's way.
 *
 * @param w W (rows, cols); only `o.columns` of it count. Any size: rows are tiled by the device's limits.
 * @returns scale, zero and loss, each (rows).
 * @throws LabError on NaN or infinity, on options outside their bounds, and when the device fails.
 * @see OWQ (arXiv 2306.02272) section 3.3
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { searchGridGpu } from "./grid_search.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const w = { data: Float32Array.of(-3, -2, 0, 1, 4), rows: 1, cols: 5 };
 *   const grid = await searchGridGpu(gpu, w, { bits: 3, symmetric: false, steps: 100, exponent: 2.4 });
 *   assert.deepEqual([grid.scale[0], grid.zero[0], grid.loss[0]], [1, 3, 0]);
 *   gpu.close();
 * }
 * ```
 */
export async function searchGridGpu(gpu: Gpu, w: Matrix, o: SearchOptions): Promise<RowGrid> {
  return (await searchAndCount(gpu, w, o)).grid;
}

/** How many rows the shader settles by itself, without the twin's bounds: what a change of the shader may not lower. */
export async function settledRows(gpu: Gpu, w: Matrix, o: SearchOptions): Promise<number> {
  return (await searchAndCount(gpu, w, o)).settled;
}

async function searchAndCount(gpu: Gpu, w: Matrix, o: SearchOptions): Promise<{ grid: RowGrid; settled: number }> {
  if (o.bits < 2 || o.bits > 4) return { grid: await searchGridTwin(w, o), settled: 0 };
  const { start, count } = checkSearch(w, o);
  const grid = emptyGrid(w.rows), rowSearch = openRowSearch(o, count);
  const quads = Math.ceil(count / 4);
  const rowBytes = Math.max(quads * 16, o.steps * PER_STEP * 4);
  const tile = Math.max(1, Math.floor(Math.min(TILE_BYTES, gpu.maxBytes) / rowBytes));
  let settled = 0;
  await gpu.run(`grid search of (${w.rows}, ${count})`, async () => {
    for (let first = 0; first < w.rows; first += tile) {
      const rows = Math.min(tile, w.rows - first);
      const buffers = openBuffers(gpu);
      try {
        const { scores, ranges } = await boundTile(gpu, buffers, w, first, rows, o);
        for (let r = 0; r < rows; r++) {
          const row = rowOf(w, first + r, start, count);
          const left = rowSearch.isPlain(ranges[r]) ? candidatesOf(scores, r, quads, o) : null;
          if (left) settled++;
          store(grid, first + r, left ? rowSearch.decide(row, ranges[r], left) : rowSearch.search(row));
        }
      } finally {
        buffers.free();
      }
    }
  });
  return { grid, settled };
}

/** Copies a row to `out` by falling size, as far as 64 equal bins up to the largest can tell (a counting sort). */
function sortBySize(row: Floats, { min, max }: RowRange, out: Floats): void {
  const perUnit = 63.99 / Math.max(-min, max, 1e-30), places = new Int32Array(66);
  for (let j = 0; j < row.length; j++) places[65 - (Math.abs(row[j] * perUnit) | 0)]++;
  for (let bin = 1; bin < 66; bin++) places[bin] += places[bin - 1];
  for (let j = 0; j < row.length; j++) out[places[64 - (Math.abs(row[j] * perUnit) | 0)]++] = row[j];
}

/**
 * Runs the shader on rows first … first + rows − 1: scores (rows, steps, 8) in half units, as wgsl/grid_search.wgsl has
 * them, and the ranges that the units go by.
 */
export async function boundTile(
  gpu: Gpu,
  buffers: Buffers,
  w: Matrix,
  first: number,
  rows: number,
  o: SearchOptions,
): Promise<{ scores: Floats; ranges: RowRange[] }> {
  const { start, count } = o.columns ?? { start: 0, count: w.cols }, { steps } = o, quads = Math.ceil(count / 4);
  const { guess } = openRowSearch(o, count), ranges: RowRange[] = [];
  const weights = new Float32Array(rows * quads * 4), table = new Float32Array(rows * 4);
  for (let r = 0; r < rows; r++) {
    const row = rowOf(w, first + r, start, count), range = rangeOf(row, o);
    ranges.push(range);
    sortBySize(row, range, weights.subarray(r * quads * 4));
    const reached = Math.min(guess(row, range) * (1 + relativeBound(quads)), 3e38); // a score that some candidate has
    table.set([range.step, -range.min, range.max, reached], r * 4);
  }
  const weightBuffer = buffers.upload(weights, "weights");
  const rangeBuffer = buffers.upload(table, "ranges");
  const scoreBuffer = buffers.scratch(rows * steps * PER_STEP * 4, "scores");
  const lanes = Math.ceil(steps / STEPS_PER_GROUP) * LANES_PER_GROUP;
  await runWork(gpu, {
    pipeline: await loadKernel(gpu, { file: "grid_search.wgsl", entry: "bound" }),
    buffers: { 1: weightBuffer, 2: rangeBuffer, 3: scoreBuffer },
    uniform: buffers.uniform(12),
    words: wordsOf(
      rows,
      quads,
      steps,
      lanes,
      { f32: 2 ** o.bits - 1 },
      { f32: levelsOf(o) },
      { f32: o.symmetric ? levelsOf(o) : -1 },
      { f32: NEAR_BOUND * quads * 4 },
      { f32: relativeBound(quads) },
    ),
    groups: Math.ceil(rows * lanes / WORKGROUP),
    operations: WORKGROUP * quads * 4 * 100,
  });
  return { scores: new Float32Array(await buffers.read(scoreBuffer, rows * steps * PER_STEP * 4)), ranges };
}

/** What float32 sums over a row, float32 powers and float32 scales may be off by, relative to a score. */
function relativeBound(quads: number): number {
  return 8e-5 + 4 * quads * 2 ** -23;
}

/** The candidates of row r whose bounds overlap the best one's; null when the four zero points do not settle it. */
function candidatesOf(scores: Floats, r: number, quads: number, o: SearchOptions): Candidates | null {
  const { steps } = o, top = 2 ** o.bits - 1, relative = relativeBound(quads);
  const only = o.symmetric ? levelsOf(o) : -1;
  const low = (score: number, slack: number) => score * (1 - relative) - slack;
  const slacks = Array.from({ length: steps }, (_, i) => NEAR_BOUND * quads * 4 * (i + 1) ** 2.4);
  let best = Infinity;
  for (let i = 0, at = r * steps * PER_STEP; i < steps; i++, at += PER_STEP) {
    for (let j = 0; j < 4; j++) {
      if (only >= 0 && scores[at + 4] + j !== only) continue;
      best = Math.min(best, scores[at + j] * (1 + relative) + slacks[i]);
    }
  }
  const out: Candidates = { steps: [], zeros: [], low: [] };
  for (let i = 0, at = r * steps * PER_STEP; i < steps; i++, at += PER_STEP) {
    const z0 = scores[at + 4];
    const missed = (z0 > 0 && low(scores[at + 5], slacks[i]) <= best) ||
      (z0 + 3 < top && low(scores[at + 6], slacks[i]) <= best);
    if (missed && only < 0) return null;
    for (let j = 0; j < 4; j++) {
      const bound = low(scores[at + j], slacks[i]);
      if (bound > best || (only >= 0 && z0 + j !== only)) continue;
      out.steps.push(i + 1);
      out.zeros.push(z0 + j);
      out.low.push(bound);
    }
  }
  return out.steps.length > 0 ? out : null;
}

function rowOf(w: Matrix, r: number, start: number, count: number): Floats {
  return w.data.subarray(r * w.cols + start, r * w.cols + start + count);
}

function emptyGrid(rows: number): RowGrid {
  return { scale: new Float32Array(rows), zero: new Float32Array(rows), loss: new Float32Array(rows) };
}

function store(out: RowGrid, row: number, choice: Choice): void {
  out.scale[row] = choice.scale;
  out.zero[row] = choice.zero;
  out.loss[row] = choice.loss;
}
