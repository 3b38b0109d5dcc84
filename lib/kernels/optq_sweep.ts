// The OPTQ sweep: columns are quantized from left to right and each one's error is fed forward to those on its right.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf, runWork, wordsOf } from "../gpu/dispatch.ts";
import { openRecorder } from "../gpu/recorder.ts";
import { maxTexels, sharedTexels, TEXELS_A_ROW } from "../gpu/shared.ts";
import { checkSweep } from "./checks.ts";
import { roundHalfEven } from "./round.ts";
import { searchGridTwin } from "./grid_search.ts";
import type { SweepProblem, SweepResult } from "./kernels.ts";
import { openPause } from "./pause.ts";
import { blockOf, chooseGroupGrids, emptySweep, groupCount, groupReach } from "./sweep_groups.ts";

const f32 = Math.fround;
type Pause = ReturnType<typeof openPause>;

/**
 * One OPTQ pass over a layer, in plain TypeScript: the specification of wgsl/optq_sweep.wgsl and the CPU path.
 *
 * For k = 0, 1, …: w_k' = w_k + Σ_{j<k} e_j M[j, k]; code_k = clamp(round(w_k' / scale) + zero, 0, 2^b − 1),
 * ŵ_k = scale · (code_k − zero), e_k = w_k − ŵ_k. For the weak columns, which come last, ŵ_k = w_k'.
 *
 * Done in blocks from the left: first what the blocks before feed into this one (a matrix product), then, row by row,
 * what its columns feed into each other. Sums are in double, w' is rounded to float32.
 * A group that begins in a block has its grid chosen on the weights as they stood when the block began, that is with
 * none of the block's columns rounded; it may reach into the columns of later blocks, never into weak ones.
 *
 * @param p W (rows, cols), M (cols, cols) strictly upper, and the grids or the way to choose them.
 * @returns codes (rows, quantized), weak (rows, cols − quantized), scale and zero (rows, groups), residual (quantized).
 * @throws LabError on NaN or infinity and on shapes that do not fit.
 * @see GPTQ (arXiv 2210.17323); the feedback form with M = R / diag(R) of H = R Rᵀ is LDLQ (QuIP, arXiv 2307.13304)
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { sweepTwin } from "./optq_sweep.ts";
 * const result = await sweepTwin({
 *   weight: { data: Float32Array.of(0.75, 0.5, 2), rows: 1, cols: 3 },
 *   feedback: Float32Array.of(0, 1, 0, 0, 0, 1, 0, 0, 0),
 *   quantized: 2,
 *   bits: 3,
 *   grid: { scale: Float32Array.of(1), zero: Float32Array.of(3) },
 *   groupSize: 0,
 *   search: null,
 *   scaleBits: 32,
 *   blockSize: 128,
 * });
 * assert.deepEqual([...result.codes], [4, 3]); // 0.75 → 1; its error −0.25 makes the 0.5 a 0.25 → 0
 * assert.deepEqual([...result.weak], [2.5]);
 * ```
 */
export async function sweepTwin(p: SweepProblem): Promise<SweepResult> {
  checkSweep(p);
  const { rows, cols, data } = p.weight, out = emptySweep(p), groups = groupCount(p);
  const pause = openPause();
  const tile = Math.max(2, Math.floor(TWIN_TILE / cols));
  for (let first = 0; first < rows; first += tile) {
    const end = Math.min(first + tile, rows);
    const weight = { data: data.subarray(first * cols, end * cols), rows: end - first, cols };
    const grid = p.grid && { scale: p.grid.scale.subarray(first, end), zero: p.grid.zero.subarray(first, end) };
    const part = await sweepRows({ ...p, weight, grid }, pause);
    out.codes.set(part.codes, first * p.quantized);
    out.weak.set(part.weak, first * (cols - p.quantized));
    out.scale.set(part.scale, first * groups);
    out.zero.set(part.zero, first * groups);
    for (let k = 0; k < p.quantized; k++) out.residual[k] += part.residual[k];
  }
  return out;
}

/** Weights the twin takes at a time: rows are independent, and their errors in double must not fill the memory. */
const TWIN_TILE = 2 ** 21;

async function sweepRows(p: SweepProblem, pause: Pause): Promise<SweepResult> {
  const { cols } = p.weight, { quantized } = p, blockSize = blockOf(p);
  const out = emptySweep(p);
  const errors = new Float64Array(p.weight.rows * cols); // e (rows, cols)
  for (let from = 0; from < cols;) {
    const to = Math.min(from + blockSize, from < quantized ? quantized : cols);
    const reach = Math.max(to, groupReach(p, from, to));
    const fed = await feedForward(p, errors, from, reach, pause);
    if (groupReach(p, from, to) > 0) {
      const standing = matrix(fed.rows, fed.cols);
      sweepBlock(p, fed, from, reach, errors, null, { data: standing.data, stride: fed.cols, at: 0 });
      await chooseGroupGrids(p, standing, from, to, out, searchGridTwin);
    }
    if (from < quantized) sweepBlock(p, fed, from, to, errors, out, null);
    else sweepBlock(p, fed, from, to, errors, null, { data: out.weak, stride: cols - quantized, at: from - quantized });
    from = to;
  }
  return out;
}

/** A tile's largest buffer: small enough for any device, large enough to keep one busy. */
const TILE_BYTES = 64 * 2 ** 20;
/** Rows and columns of a layer are padded to what one lane takes. */
const PAD = 16, SWEEP_LANES = 16;
/** A uniform's place in the buffer of all blocks'. */
const SLOT = 256;

/**
 * One OPTQ pass on the GPU, as `sweepTwin` defines it, with sums in float32: codes differ from the twin's only where w'
 * lies within float32 rounding of a boundary between two codes (and, in that row, to the right of it).
 *
 * @param p W (rows, cols), M (cols, cols) strictly upper. Any size: rows are tiled; M travels block by block where it does not fit a binding.
 * @returns codes (rows, quantized), weak (rows, cols − quantized), scale and zero (rows, groups), residual (quantized).
 * @throws LabError on NaN or infinity, on shapes that do not fit, and when the device fails.
 * @see `sweepTwin`
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { sweepGpu } from "./optq_sweep.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const weight = { data: Float32Array.of(0.75, 0.5, 2), rows: 1, cols: 3 };
 *   const feedback = Float32Array.of(0, 1, 0, 0, 0, 1, 0, 0, 0);
 *   const grid = { scale: Float32Array.of(1), zero: Float32Array.of(3) };
 *   const options = { quantized: 2, bits: 3, groupSize: 0, search: null, scaleBits: 32, blockSize: 128 } as const;
 *   const result = await sweepGpu(gpu, { weight, feedback, grid, ...options });
 *   assert.deepEqual([...result.codes], [4, 3]);
 *   gpu.close();
 * }
 * ```
 */
export async function sweepGpu(gpu: Gpu, p: SweepProblem): Promise<SweepResult> {
  checkSweep(p);
  const { rows, cols } = p.weight, { quantized } = p;
  const blockSize = blockOf(p);
  const out = emptySweep(p);
  const fit = Math.floor(Math.min(TILE_BYTES, gpu.maxBytes, maxTexels(gpu) * 16) / (cols * 4) / PAD) * PAD;
  const tile = Math.min(Math.max(PAD, fit), Math.ceil(rows / PAD) * PAD);
  await gpu.run(`OPTQ sweep of (${rows}, ${cols})`, async () => {
    for (let first = 0; first < rows; first += tile) {
      const buffers = openBuffers(gpu);
      try {
        const rowTile = await openRowTile(gpu, buffers, { ...p, blockSize }, first, Math.min(tile, rows - first), out);
        for (let from = await rowTile.roundAll(); from < cols;) {
          const to = Math.min(from + blockSize, from < quantized ? quantized : cols);
          if (groupReach(p, from, to) > 0) {
            const reach = Math.max(to, groupReach(p, from, to));
            const standing = await rowTile.keep(from, reach);
            await chooseGroupGrids(p, standing, from, to, out, searchGridTwin, first);
          }
          if (from < quantized) await rowTile.round(from, to);
          else {
            const kept = await rowTile.keep(from, to);
            for (let r = 0; r < kept.rows; r++) {
              const row = kept.data.subarray(r * kept.cols, (r + 1) * kept.cols);
              out.weak.set(row, (first + r) * (cols - quantized) + from - quantized);
            }
          }
          from = to;
        }
        await rowTile.collect();
      } finally {
        buffers.free();
      }
    }
  });
  return out;
}

/** Some rows of a problem on the device. */
async function openRowTile(gpu: Gpu, buffers: Buffers, p: SweepProblem, first: number, rows: number, out: SweepResult) {
  const { cols, data } = p.weight, { quantized, blockSize, groupSize } = p;
  const padded = Math.ceil(rows / PAD) * PAD, rowQuads = padded / 4, groups = groupCount(p);
  const widest = Math.ceil(Math.min(Math.max(blockSize, groupSize) + groupSize, cols) / PAD) * PAD;
  const bytes = padded * 4;
  const weights = buffers.upload(transposed(data, first, rows, padded, cols, 0), "weights");
  const errors = buffers.scratch(cols * bytes, "errors");
  const fed = buffers.scratch(widest * bytes, "fed columns");
  const values = buffers.scratch(widest * bytes, "kept columns");
  const results = buffers.scratch(quantized * rowQuads * 8, "codes");
  const scales = buffers.scratch(groups * bytes, "scales"), zeros = buffers.scratch(groups * bytes, "zeros");
  const panel = buffers.scratch(cols * widest * 4, "feedback panel");
  // Software drivers multiply from textures (wgsl/optq_sweep.wgsl).
  const textures = gpu.software
    ? {
      errors: sharedTexels(gpu, "errors of a sweep", cols * rowQuads),
      panel: sharedTexels(gpu, "feedback panel of a sweep", cols * widest / 4),
    }
    : null;
  const uniform = buffers.uniform(12);
  // What a lane of the product takes: rows and columns; lanes of a workgroup.
  const shape = textures
    ? { entry: "feed_wide", rows: 16, columns: 8, lanes: 8 }
    : { entry: "feed", rows: 8, columns: 8, lanes: 32 };
  const feed = await loadKernel(gpu, { file: "optq_sweep.wgsl", entry: shape.entry });
  const sweep = await loadKernel(gpu, { file: "optq_sweep.wgsl", entry: "sweep" });
  const keepErrors = textures && await loadKernel(gpu, { file: "optq_sweep.wgsl", entry: "keep_errors" });

  const block = async (from: number, to: number, keep: boolean) => {
    const width = Math.ceil((to - from) / PAD) * PAD;
    const texelRows = Math.ceil(to * width / 4 / TEXELS_A_ROW);
    const own = new Float32Array(textures ? texelRows * TEXELS_A_ROW * 4 : to * width);
    for (let j = 0; j < to; j++) own.set(p.feedback.subarray(j * cols + from, j * cols + to), j * width);
    gpu.device.queue.writeBuffer(panel, 0, own, 0, to * width);
    if (textures) {
      const layout = { bytesPerRow: TEXELS_A_ROW * 16 };
      gpu.device.queue.writeTexture({ texture: textures.panel }, own, layout, [TEXELS_A_ROW, texelRows]);
    }
    const top = { f32: 2 ** p.bits - 1 };
    const words = wordsOf(rowQuads, from, to, width / 4, groupSize, keep ? 1 : 0, top, 0, width / 4);
    await runWork(gpu, {
      pipeline: feed,
      buffers: textures
        ? { 1: weights, 2: textures.panel, 3: textures.errors, 4: fed }
        : { 1: weights, 2: panel, 3: errors, 4: fed },
      uniform,
      words,
      groups: Math.ceil(padded / shape.rows * (width / shape.columns) / shape.lanes),
      operations: shape.lanes * 2 * shape.rows * shape.columns * (from + 8),
    });
    await runWork(gpu, {
      pipeline: sweep,
      buffers: { 1: weights, 2: panel, 3: errors, 4: fed, 5: scales, 6: zeros, 7: values, 8: results },
      uniform,
      words,
      groups: Math.ceil(rowQuads / SWEEP_LANES),
      operations: SWEEP_LANES * 4 * width * (width + 32),
    });
    if (!textures) return;
    await runWork(gpu, {
      pipeline: keepErrors!,
      buffers: { 3: errors, 5: textures.errors },
      uniform,
      words,
      groups: Math.ceil((to - from) * rowQuads / 64),
      operations: 64 * 16,
    });
  };
  const writeGrids = () => {
    gpu.device.queue.writeBuffer(scales, 0, transposed(out.scale, first, rows, padded, groups, 1));
    gpu.device.queue.writeBuffer(zeros, 0, transposed(out.zero, first, rows, padded, groups, 0));
  };
  return {
    /**
     * Rounds all columns where nothing has to be asked of the host in between: M goes to the device whole, and blocks
     * follow each other in a few submissions (each costs as much as a block of a small layer).
     *
     * @returns the first column that is left.
     */
    async roundAll(): Promise<number> {
      // No multiple of 1024 bytes: the rows of a block's part must not fall into the same places of a cache.
      const even = Math.ceil(quantized / PAD) * PAD, stride = even % 256 === 0 ? even + PAD : even;
      const texels = quantized * stride / 4;
      if (groupSize > 0 || quantized === 0 || texels * 16 > gpu.maxBytes || texels > maxTexels(gpu)) return 0;
      writeGrids();
      const all = openFeedback(gpu, buffers, p.feedback, cols, quantized, stride, textures !== null);
      const blocks = Math.ceil(quantized / blockSize), slots = buffers.uniform(blocks * SLOT / 4);
      const words = new Uint32Array(blocks * SLOT / 4);
      const recorder = openRecorder(gpu);
      for (let b = 0; b < blocks; b++) {
        const from = b * blockSize, to = Math.min(from + blockSize, quantized);
        const width = Math.ceil((to - from) / PAD) * PAD, top = { f32: 2 ** p.bits - 1 };
        const own = wordsOf(0, 2 ** 31, rowQuads, from, to, stride / 4, 0, 0, top, from / 4, width / 4);
        words.set(own, b * SLOT / 4);
      }
      gpu.device.queue.writeBuffer(slots, 0, words);
      for (let b = 0; b < blocks; b++) {
        const from = b * blockSize, to = Math.min(from + blockSize, quantized);
        const width = Math.ceil((to - from) / PAD) * PAD;
        const pass = await recorder.pass(padded * width * (2 * from + 2 * width + 32));
        const step = (
          pipeline: GPUComputePipeline,
          bound: Readonly<Record<number, GPUBuffer | GPUTexture>>,
          count: number,
        ) => {
          const entries: GPUBindGroupEntry[] = Object.entries(bound).map(([binding, r]) => ({
            binding: Number(binding),
            resource: r instanceof GPUTexture ? r.createView() : { buffer: r },
          }));
          entries.push({ binding: 0, resource: { buffer: slots, offset: b * SLOT, size: 48 } });
          pass.setPipeline(pipeline);
          pass.setBindGroup(0, gpu.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
          pass.dispatchWorkgroups(...gridOf(count, gpu.device.limits.maxComputeWorkgroupsPerDimension));
        };
        const m = textures ? { 2: all.texture!, 3: textures.errors } : { 2: all.buffer, 3: errors };
        const lanes = padded / shape.rows * (width / shape.columns);
        step(feed, { 1: weights, ...m, 4: fed }, Math.ceil(lanes / shape.lanes));
        const grids = { 5: scales, 6: zeros, 7: values, 8: results };
        step(sweep, { 1: weights, 2: all.buffer, 3: errors, 4: fed, ...grids }, Math.ceil(rowQuads / SWEEP_LANES));
        if (textures) step(keepErrors!, { 3: errors, 5: textures.errors }, Math.ceil((to - from) * rowQuads / 64));
      }
      recorder.finish();
      return quantized;
    },
    /** Rounds columns from … to − 1 on the grids in `out`. */
    async round(from: number, to: number): Promise<void> {
      writeGrids();
      await block(from, to, false);
    },
    /** Columns from … to − 1 with nothing of them rounded, (rows, to − from). */
    async keep(from: number, to: number): Promise<Matrix> {
      await block(from, to, true);
      const kept = new Float32Array(await buffers.read(values, (to - from) * bytes)), back = matrix(rows, to - from);
      for (let r = 0, i = 0; r < rows; r++) for (let k = 0; k < back.cols; k++) back.data[i++] = kept[k * padded + r];
      return back;
    },
    /** Codes and residuals, into `out`. */
    async collect(): Promise<void> {
      const back = await buffers.read(results, quantized * rowQuads * 8);
      const bytes = new Uint8Array(back), sums = new Float32Array(back);
      for (let tile = 0; tile < rows; tile += 64) { // some rows at a time, so that what is written stays in the cache
        for (let k = 0; k < quantized; k++) {
          for (let r = tile; r < Math.min(tile + 64, rows); r++) {
            const at = (k * rowQuads + (r >> 2)) * 8;
            out.codes[(first + r) * quantized + k] = bytes[at + (r & 3)];
            if ((r & 3) === 0) out.residual[k] += sums[at / 4 + 1];
          }
        }
      }
    },
  };
}

/** M's columns 0 … quantized − 1, whole on the device: (quantized, stride), in a buffer and where asked in a texture. */
function openFeedback(
  gpu: Gpu,
  buffers: Buffers,
  feedback: Floats,
  cols: number,
  quantized: number,
  stride: number,
  textured: boolean,
): { readonly buffer: GPUBuffer; readonly texture: GPUTexture | null } {
  let all = feedback;
  if (stride !== cols || quantized !== cols) {
    all = new Float32Array(quantized * stride);
    for (let j = 0; j < quantized; j++) all.set(feedback.subarray(j * cols, j * cols + quantized), j * stride);
  }
  const buffer = buffers.upload(all, "feedback");
  if (!textured) return { buffer, texture: null };
  const texture = sharedTexels(gpu, "feedback of a sweep", all.length / 4);
  const row = TEXELS_A_ROW * 4, height = Math.floor(all.length / row), layout = { bytesPerRow: row * 4 };
  if (height > 0) {
    gpu.device.queue.writeTexture({ texture }, all.subarray(0, height * row), layout, [TEXELS_A_ROW, height]);
  }
  const rest = all.subarray(height * row);
  if (rest.length > 0) {
    gpu.device.queue.writeTexture({ texture, origin: [0, height] }, rest, layout, [rest.length / 4, 1]);
  }
  return { buffer, texture };
}

/** Rows first … of a row-major (…, cols) as (cols, padded), the rows beyond filled with `filler`. */
function transposed(data: Floats, first: number, rows: number, padded: number, cols: number, filler: number): Floats {
  const out = new Float32Array(cols * padded).fill(filler);
  for (let tile = 0; tile < rows; tile += 16) { // 16 rows of a column fill a cache line
    for (let k = 0; k < cols; k++) {
      for (let r = tile, at = (first + tile) * cols + k; r < Math.min(tile + 16, rows); r++, at += cols) {
        out[k * padded + r] = data[at];
      }
    }
  }
  return out;
}

/** What the columns before `from` feed into columns from … to − 1: E M (rows, to − from), in double. */
async function feedForward(p: SweepProblem, errors: Float64Array, from: number, to: number, pause: Pause) {
  const { rows, cols } = p.weight, width = to - from;
  const data = new Float64Array(rows * width);
  const quads = Math.ceil(width / 4), packed = new Float64Array(quads * from * 4); // M as [k / 4][j][k % 4]
  for (let j = 0; j < from; j++) {
    for (let k = 0; k < width; k++) packed[((k >> 2) * from + j) * 4 + (k & 3)] = p.feedback[j * cols + from + k];
  }
  const product = new Float64Array(8);
  for (let r = 0; r < rows; r += 2) {
    const pair = r + 1 < rows;
    for (let quad = 0; quad < quads; quad++) {
      productOf2x4(errors, r * cols, (pair ? r + 1 : r) * cols, packed, quad * from * 4, from, product);
      for (let i = 0, k = quad * 4; i < 4 && k < width; i++, k++) {
        data[r * width + k] = product[i];
        if (pair) data[(r + 1) * width + k] = product[4 + i];
      }
    }
    if ((r & 14) === 0) await pause();
  }
  return { data, rows, cols: width };
}

/** Two rows of `a` times four packed columns of `b`: product = Σ_j a[row + j] · b[4j + …]. */
function productOf2x4(
  a: Float64Array,
  row0: number,
  row1: number,
  b: Float64Array,
  at: number,
  n: number,
  product: Float64Array,
): void {
  let x0 = 0, x1 = 0, x2 = 0, x3 = 0, y0 = 0, y1 = 0, y2 = 0, y3 = 0;
  for (let j = 0; j < n; j++, at += 4) {
    const x = a[row0 + j], y = a[row1 + j];
    const b0 = b[at], b1 = b[at + 1], b2 = b[at + 2], b3 = b[at + 3];
    x0 += x * b0;
    x1 += x * b1;
    x2 += x * b2;
    x3 += x * b3;
    y0 += y * b0;
    y1 += y * b1;
    y2 += y * b2;
    y3 += y * b3;
  }
  product[0] = x0;
  product[1] = x1;
  product[2] = x2;
  product[3] = x3;
  product[4] = y0;
  product[5] = y1;
  product[6] = y2;
  product[7] = y3;
}

/** Where the values of columns that are not rounded go: w' of column `from + k` of row r to `data[r · stride + at + k]`. */
interface Kept {
  readonly data: Floats;
  readonly stride: number;
  readonly at: number;
}

/** Goes through columns from … to − 1, each row by itself: rounds them into `out`, or leaves them as they are in `kept`. */
function sweepBlock(
  p: SweepProblem,
  fed: { readonly data: Float64Array; readonly cols: number },
  from: number,
  to: number,
  errors: Float64Array,
  out: SweepResult | null,
  kept: Kept | null,
): void {
  const { rows, cols, data } = p.weight, { quantized, groupSize } = p;
  const width = to - from, top = 2 ** p.bits - 1, groups = groupCount(p);
  const own = new Float64Array(width * width); // the block's own part of M, transposed: what feeds one column lies together
  for (let k = 0; k < width; k++) {
    for (let j = 0; j < k; j++) own[k * width + j] = p.feedback[(from + j) * cols + from + k];
  }
  const e = new Float64Array(width);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < width; k++) {
      const original = data[r * cols + from + k];
      const w = f32(original + fed.data[r * fed.cols + k] + dot(e, own, k * width, k));
      let value = w;
      if (out) {
        const g = r * groups + (groupSize === 0 ? 0 : Math.floor((from + k) / groupSize));
        const scale = out.scale[g], zero = out.zero[g];
        const code = roundHalfEven(f32(w / scale)) + zero;
        const q = code < 0 ? 0 : code > top ? top : code;
        value = f32(scale * (q - zero));
        out.codes[r * quantized + from + k] = q;
        out.residual[from + k] += (w - value) ** 2;
      } else kept!.data[r * kept!.stride + kept!.at + k] = w;
      e[k] = original - value;
    }
    errors.set(e, r * cols + from);
  }
}

function dot(a: Float64Array, b: Float64Array, at: number, n: number): number {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, j = 0;
  for (; j + 3 < n; j += 4) {
    s0 += a[j] * b[at + j];
    s1 += a[j + 1] * b[at + j + 1];
    s2 += a[j + 2] * b[at + j + 2];
    s3 += a[j + 3] * b[at + j + 3];
  }
  for (; j < n; j++) s0 += a[j] * b[at + j];
  return (s0 + s1) + (s2 + s3);
}
