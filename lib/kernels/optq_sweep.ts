// The OPTQ sweep on the device: columns are quantized from left to right and each one's error is fed forward to those on its right.
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf, runWork, wordsOf } from "../gpu/dispatch.ts";
import { openRecorder, type Recorder } from "../gpu/recorder.ts";
import { maxTexels, sharedTexels, TEXELS_A_ROW } from "../gpu/shared.ts";
import { checkSweep } from "./checks.ts";
import { searchGridTwin } from "./grid_search.ts";
import type { SweepProblem, SweepResult } from "./kernels.ts";
import { blockOf, chooseGroupGrids, emptySweep, groupCount, groupReach } from "./sweep_groups.ts";

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
  const weights = buffers.scratch(cols * bytes, "weights");
  uploadTransposed(gpu, weights, data, first, rows, padded, cols);
  const errors = buffers.scratch(wholeRows(cols * rowQuads) * 16, "errors");
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
    ? { entry: "feed_wide", rows: 16, columns: 16, lanes: 8 }
    : { entry: "feed", rows: 8, columns: 8, lanes: 32 };
  const feed = await loadKernel(gpu, { file: "optq_sweep.wgsl", entry: shape.entry });
  const sweep = await loadKernel(gpu, { file: "optq_sweep.wgsl", entry: "sweep" });
  /** The errors of columns from … to − 1, once they are known, into their texture. */
  const keepErrors = (recorder: Recorder, from: number, to: number) => {
    const row = Math.floor(from * rowQuads / TEXELS_A_ROW), end = Math.ceil(to * rowQuads / TEXELS_A_ROW);
    recorder.copyTexels(errors, textures!.errors, row, end - row);
  };

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
    const recorder = openRecorder(gpu);
    keepErrors(recorder, from, to);
    recorder.finish();
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
        if (textures && to < cols) keepErrors(recorder, from, to);
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
  const texels = quantized * stride / 4, buffer = buffers.scratch(wholeRows(texels) * 16, "feedback");
  if (stride === cols && quantized === cols) gpu.device.queue.writeBuffer(buffer, 0, feedback);
  else {
    const part = new Float32Array(Math.min(ROWS_AT_ONCE, quantized) * stride);
    for (let from = 0; from < quantized; from += ROWS_AT_ONCE) {
      const to = Math.min(from + ROWS_AT_ONCE, quantized);
      for (let j = from; j < to; j++) part.set(feedback.subarray(j * cols, j * cols + quantized), (j - from) * stride);
      gpu.device.queue.writeBuffer(buffer, from * stride * 4, part, 0, (to - from) * stride);
    }
  }
  if (!textured) return { buffer, texture: null };
  const texture = sharedTexels(gpu, "feedback of a sweep", texels), recorder = openRecorder(gpu);
  recorder.copyTexels(buffer, texture, 0, wholeRows(texels) / TEXELS_A_ROW);
  recorder.finish();
  return { buffer, texture };
}

/** Rows that are packed for the device together: memory that is new is slow to write, so a little of it serves for all. */
const ROWS_AT_ONCE = 32;

/** So many texels rounded up to whole rows of a texture. */
function wholeRows(texels: number): number {
  return Math.ceil(texels / TEXELS_A_ROW) * TEXELS_A_ROW;
}

/** Rows first … of W, row-major (…, cols), into `buffer` as (cols, padded), zeros in the rows beyond. */
function uploadTransposed(
  gpu: Gpu,
  buffer: GPUBuffer,
  w: Floats,
  first: number,
  rows: number,
  padded: number,
  cols: number,
): void {
  const part = new Float32Array(Math.min(ROWS_AT_ONCE, cols) * padded);
  for (let from = 0; from < cols; from += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, cols - from);
    for (let tile = 0; tile < rows; tile += 16) { // 16 rows of a column fill a cache line
      const end = Math.min(tile + 16, rows);
      for (let k = 0; k < count; k++) {
        for (let r = tile, at = (first + r) * cols + from + k; r < end; r++, at += cols) part[k * padded + r] = w[at];
      }
    }
    gpu.device.queue.writeBuffer(buffer, from * padded * 4, part, 0, count * padded);
  }
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
