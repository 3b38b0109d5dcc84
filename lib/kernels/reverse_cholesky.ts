// The factorization of OPTQ on the device: H + λI = R Rᵀ from the bottom right corner upwards, and M = R / diag(R).
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";
import { openRecorder } from "../gpu/recorder.ts";
import { maxTexels, sharedTexels, TEXELS_A_ROW } from "../gpu/shared.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { feedbackOf, reverseCholesky, upperAt } from "./upper_factor.ts";

/** The feedback matrix of a Hessian, or the place where it stopped being positive definite. */
export type FeedbackResult =
  | {
    readonly ok: true;
    /** M (n, n), strictly upper, row-major: M[j, k] = R[j, k] / R[k, k]. */
    readonly feedback: Floats;
    /** The least pivot, as a share of the diagonal entry it came from: how much of that column the others explain. */
    readonly smallest: { readonly pivot: number; readonly share: number };
  }
  | { readonly ok: false; readonly pivot: number; readonly value: number };

/**
 * M of H + λI = R Rᵀ, in double: the specification of wgsl/reverse_cholesky.wgsl and the CPU path.
 *
 * @param h H (n, n), symmetric. @param lambda λ, in H's unit. @param order (n) the order in which H's rows and columns are
 * taken; null for their own.
 * @returns M, or the pivot (an index into `order`) whose value was not positive and finite.
 * @throws RangeError when H is not square or `order` has another length.
 * Source: LDLQ, QuIP (arXiv 2307.13304); research/performance.md, section 3.2.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { feedbackTwin } from "./reverse_cholesky.ts";
 * const result = feedbackTwin({ data: Float32Array.of(5, 2, 2, 4), rows: 2, cols: 2 }, 0);
 * assert.deepEqual(result, { ok: true, feedback: Float32Array.of(0, 0.5, 0, 0), smallest: { pivot: 0, share: 0.8 } });
 * ```
 */
export function feedbackTwin(h: Matrix, lambda: number, order: Int32Array | null = null): FeedbackResult {
  const r = reverseCholesky(h, lambda, order), n = h.rows;
  if (!r.ok) return r;
  const pivots = Float64Array.from({ length: n }, (_, k) => upperAt(r.factor, k, k) ** 2);
  return { ok: true, feedback: feedbackOf(r.factor), smallest: smallestOf(pivots, h, lambda, order) };
}

function smallestOf(pivots: ArrayLike<number>, h: Matrix, lambda: number, order: Int32Array | null) {
  let pivot = 0, share = Infinity;
  for (let k = 0; k < h.rows; k++) {
    const j = order ? order[k] : k, own = pivots[k] / (h.data[j * h.cols + j] + lambda);
    if (own < share) [pivot, share] = [k, own];
  }
  return { pivot, share };
}

/** Columns of a block; strips of the factor hold whole blocks. */
const BLOCK = 32, STEP = 8, SOLVE_LANES = 16, FINISH_LANES = 64;
/** A uniform's place in the buffer of all of them. */
const SLOT = 256;
/** A strip's buffer: small enough for any device, large enough to keep one busy. */
const STRIP_BYTES = 128 * 2 ** 20;

/**
 * M of H + λI = R Rᵀ on the GPU, in float32: blocks of 32 columns, left-looking, so that nearly all of it is a matrix
 * product.
 *
 * A factor that does not fit a binding lies in several strips of columns. `smallest` says how far float32 can be trusted:
 * a pivot is off by about √n · 2⁻²⁴ of the diagonal entry it came from.
 *
 * @param h H (n, n), symmetric, finite. @param lambda λ, in H's unit.
 * @param order (n) the order in which H's rows and columns are taken; null for their own.
 * @returns M, or the pivot (an index into `order`) whose value was not positive and finite.
 * @throws RangeError when H is not square or `order` has another length; LabError when the device fails.
 * @see `feedbackTwin`
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { feedbackGpu } from "./reverse_cholesky.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const result = await feedbackGpu(gpu, { data: Float32Array.of(5, 2, 2, 4), rows: 2, cols: 2 }, 0);
 *   assert.deepEqual(result.ok && [...result.feedback], [0, 0.5, 0, 0]);
 *   gpu.close();
 * }
 * ```
 */
export async function feedbackGpu(
  gpu: Gpu,
  h: Matrix,
  lambda: number,
  order: Int32Array | null = null,
): Promise<FeedbackResult> {
  const n = h.rows;
  if (h.cols !== n) throw new RangeError(`H must be square, got (${h.rows}, ${h.cols})`);
  if (order && order.length !== n) throw new RangeError(`order has ${order.length} entries for ${n} columns`);
  const buffers = openBuffers(gpu);
  try {
    return await gpu.run(`factorization of (${n}, ${n})`, async () => {
      const factor = openFactor(gpu, buffers, h, lambda, order);
      const pivots = buffers.scratch(factor.size * 4, "pivots");
      await record(gpu, buffers, factor, pivots);
      // Pivot k of L is pivot n − 1 − k of R.
      const [feedback, values] = await Promise.all([ // both at once: waiting for one costs 10 ms of Deno's own (fence.ts)
        finish(gpu, buffers, factor, n),
        buffers.read(pivots, n * 4).then((b) => new Float32Array(b)),
      ]);
      const bad = values.findIndex((v) => !(v > 0 && v < Infinity));
      if (bad >= 0) return { ok: false, pivot: n - 1 - bad, value: values[bad] };
      return { ok: true, feedback, smallest: smallestOf(values.reverse(), h, lambda, order) };
    });
  } finally {
    buffers.free();
  }
}

/**
 * As `feedbackGpu`, but in double where float32 would not do: where a pivot is not positive, or so small a share of its
 * diagonal entry that rounding may have moved it by more than a 256th.
 *
 * @param h H (n, n), symmetric, finite. @param lambda λ, in H's unit. @param order (n) the order of work; null for H's own.
 * @returns M, or the pivot whose value was not positive in double either.
 * @throws as `feedbackGpu`.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGpu } from "../gpu/device.ts";
 * import { factorGpu, feedbackTwin } from "./reverse_cholesky.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const h = { data: Float32Array.of(1, 0.99999994, 0.99999994, 1), rows: 2, cols: 2 };
 *   assert.deepEqual(await factorGpu(gpu, h, 1e-9), feedbackTwin(h, 1e-9));
 *   gpu.close();
 * }
 * ```
 */
export async function factorGpu(
  gpu: Gpu,
  h: Matrix,
  lambda: number,
  order: Int32Array | null = null,
): Promise<FeedbackResult> {
  const quick = await feedbackGpu(gpu, h, lambda, order);
  if (quick.ok && quick.smallest.share > 256 * Math.sqrt(h.rows) * 2 ** -24) return quick;
  return feedbackTwin(h, lambda, order);
}

/** Columns first … first + columns − 1 of the flipped matrix, and later of L. */
interface Strip {
  readonly buffer: GPUBuffer;
  /** For software drivers, a copy of what is finished. */
  readonly texels: GPUTexture | null;
  readonly first: number;
  readonly columns: number;
}

interface Factor {
  /** Rows and columns, padded by those of a unit matrix to whole blocks. */
  readonly size: number;
  readonly strips: readonly Strip[];
}

/** Uploads A[i, j] = (H + λI)[n − 1 − i, n − 1 − j] column by column; of each what lies from its block's first row on. */
function openFactor(gpu: Gpu, buffers: Buffers, h: Matrix, lambda: number, order: Int32Array | null): Factor {
  const n = h.rows, size = Math.ceil(n / BLOCK) * BLOCK, quads = size / 4;
  const most = Math.min(STRIP_BYTES, gpu.maxBytes, gpu.software ? maxTexels(gpu) * 16 : Infinity);
  const fit = Math.floor(most / (size * 4) / BLOCK) * BLOCK;
  const width = Math.max(BLOCK, Math.min(fit, size)), strips: Strip[] = [];
  const source = Int32Array.from({ length: n }, (_, row) => order ? order[n - 1 - row] : n - 1 - row);
  const part = new Float32Array(BLOCK * size);
  for (let first = 0; first < size; first += width) {
    const columns = Math.min(width, size - first), texels = columns * quads;
    const texture = gpu.software ? sharedTexels(gpu, `factor from ${first}`, texels) : null;
    // Rows of texels are copied whole.
    const bytes = texture ? Math.ceil(texels / TEXELS_A_ROW) * TEXELS_A_ROW * 16 : texels * 16;
    const buffer = buffers.scratch(bytes, "factor");
    for (let block = first; block < first + columns; block += BLOCK) { // a little at a time: memory that is new is slow
      for (let c = 0; c < BLOCK; c++) {
        const column = block + c, to = c * size;
        if (column >= n) {
          part[to + column] = 1;
          continue;
        }
        const all = h.data.subarray(source[column] * n, (source[column] + 1) * n); // H's row is its column
        for (let row = block; row < n; row++) part[to + row] = all[source[row]];
        part[to + column] += lambda;
      }
      gpu.device.queue.writeBuffer(buffer, (block - first) * size * 4, part);
    }
    strips.push({ buffer, texels: texture, first, columns });
  }
  return { size, strips };
}

/** Factors block after block, in submissions of about 100 ms. */
async function record(gpu: Gpu, buffers: Buffers, { size, strips }: Factor, pivots: GPUBuffer): Promise<void> {
  const { device } = gpu, file = "reverse_cholesky.wgsl", quads = size / 4;
  const shape = gpu.software
    ? { entry: "update_texels", reads: "texels", side: 16, lanes: 8 } as const
    : { entry: "update", reads: "read-only-storage", side: 8, lanes: 32 } as const;
  const update = await loadKernel(gpu, {
    file,
    entry: shape.entry,
    moving: { 1: shape.reads, 2: "read-only-storage", 3: "storage" },
  });
  const solve = await loadKernel(gpu, {
    file,
    entry: "solve",
    moving: { 2: "storage", 3: "read-only-storage", 4: "storage" },
  });
  const block = buffers.scratch(BLOCK * size * 4, "block");
  const slots = size / BLOCK * (BLOCK / STEP) + strips.reduce((sum, s) => sum + (size - s.first) / BLOCK, 0);
  const uniform = buffers.uniform(slots * SLOT / 4), words = new Uint32Array(slots * SLOT / 4);
  const bind = (pipeline: GPUComputePipeline, bound: Readonly<Record<number, GPUBuffer | GPUTexture>>) => {
    const entries: GPUBindGroupEntry[] = Object.entries(bound).map(([binding, r]) => ({
      binding: Number(binding),
      resource: r instanceof GPUTexture ? r.createView() : { buffer: r },
    }));
    entries.push({ binding: 0, resource: { buffer: uniform, size: 32 } });
    return device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  };
  const steps: {
    pipeline: GPUComputePipeline;
    bound: GPUBindGroup;
    groups: number;
    operations: number;
    /** The columns of the strip that are finished after it. */
    finished?: { readonly strip: Strip; readonly from: number; readonly to: number };
  }[] = [];
  const add = (values: number[], step: typeof steps[number]) => {
    words.set(values, steps.length * SLOT / 4);
    steps.push(step);
  };
  for (const target of strips) {
    const solving = bind(solve, { 2: target.buffer, 3: block, 4: pivots });
    const before = strips.filter((s) => s.first <= target.first).map((strip) => ({
      strip,
      bound: bind(update, { 1: strip.texels ?? strip.buffer, 2: target.buffer, 3: block }),
    }));
    for (let own = 0; own < target.columns; own += BLOCK) {
      const start = target.first + own, rows = size - start;
      for (const { strip, bound } of before) {
        const count = Math.min(strip.columns, start - strip.first), fresh = strip.first === 0 ? 1 : 0;
        if (count === 0 && !fresh) continue;
        const groups = Math.ceil(rows / shape.side * (BLOCK / shape.side) / shape.lanes);
        const operations = 2 * rows * BLOCK * (count + 8);
        add([quads, start, count, own, 0, fresh], { pipeline: update, bound, groups, operations });
      }
      for (let done = 0; done < BLOCK; done += STEP) {
        const groups = Math.ceil((quads - (start + done) / 4) / SOLVE_LANES), operations = 8 * rows * STEP * (done + 8);
        add([quads, start, 0, own, done, 0], { pipeline: solve, bound: solving, groups, operations });
      }
      steps.at(-1)!.finished = { strip: target, from: own, to: own + BLOCK };
    }
  }
  device.queue.writeBuffer(uniform, 0, words);
  const recorder = openRecorder(gpu);
  for (const [i, { pipeline, bound, groups, operations, finished }] of steps.entries()) {
    const pass = await recorder.pass(operations);
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bound, [i * SLOT]);
    pass.dispatchWorkgroups(...gridOf(groups, device.limits.maxComputeWorkgroupsPerDimension));
    if (!finished?.strip.texels) continue;
    const { strip, from, to } = finished, row = Math.floor(from * quads / TEXELS_A_ROW);
    recorder.copyTexels(strip.buffer, strip.texels!, row, Math.ceil(to * quads / TEXELS_A_ROW) - row);
  }
  recorder.finish();
}

/** M (n, n) from the finished strips. */
async function finish(gpu: Gpu, buffers: Buffers, { size, strips }: Factor, n: number): Promise<Floats> {
  const pipeline = await loadKernel(gpu, { file: "reverse_cholesky.wgsl", entry: "finish" });
  let feedback: Floats | null = null;
  for (const { buffer, first, columns } of strips) {
    const width = Math.min(columns, n - first);
    if (width <= 0) continue;
    const out = buffers.scratch(n * width * 4, "feedback"), uniform = buffers.uniform(4);
    gpu.device.queue.writeBuffer(uniform, 0, Uint32Array.of(n, size / 4, first, width));
    const entries = [uniform, buffer, out].map((b, binding) => ({ binding, resource: { buffer: b } }));
    const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, gpu.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    const groups = Math.ceil(Math.ceil(n / 16) * width / FINISH_LANES);
    pass.dispatchWorkgroups(...gridOf(groups, gpu.device.limits.maxComputeWorkgroupsPerDimension));
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    const part = new Float32Array(await buffers.read(out, n * width * 4));
    if (width === n) return part;
    feedback ??= new Float32Array(n * n); // only where there are several parts: new memory costs
    for (let j = 0; j < n; j++) feedback.set(part.subarray(j * width, (j + 1) * width), j * n + n - first - width);
  }
  return feedback!;
}
