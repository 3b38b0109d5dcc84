// The product of a matrix with few vectors on a GPU: a workgroup's lanes share the columns of 4 rows, one reduction ends it.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { gridOf } from "../gpu/dispatch.ts";
import { sharedScratch } from "../gpu/shared.ts";
import { LabError } from "../io/errors.ts";
import type { Matrix } from "../io/tensor.ts";
import { columnTable, type PackedOnDevice } from "./dequantize.ts";
import type { DeviceLinear } from "./linear.ts";
import { bindMatmul } from "./matmul.ts";
import { bindPackedMatmul, type BoundPackedMatmul, rowsOf } from "./matmul_packed.ts";
import { recordSteps, rememberSteps, type Step, stepOf } from "./steps.ts";
import { checkPackedMatrix, type PackedMatrix } from "./packed_matrix.ts";

const file = "matvec_split.wgsl";
/** Vectors up to which the product is this kernel's; rows of a workgroup; columns of a block. */
const FEW = 8, ROWS = 4, BLOCK = 32;

/**
 * Uploads a packed matrix for GPUs; with more than 8 vectors the product is matmul_packed.ts's, over the same codes.
 *
 * @param gpu an open device. @param m (out, in). @param o how wide weak columns lie on the device.
 * @returns the linear. Larger ones than a binding holds lie in several parts.
 * @throws LabError of kind "input" where the matrix is not whole, "device" where the device fails.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openPackedSplit } from "./matvec_split.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openPackedSplit(gpu, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) }, { weakBits: 16 });
 *   console.log(linear.variant);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openPackedSplit(
  gpu: Gpu,
  m: PackedMatrix,
  o: { readonly weakBits: 16 | 32 },
): Promise<DeviceLinear> {
  const groups = checkPackedMatrix(m), { rows, cols, bits } = m, k = m.weakIds.length, { weakBits } = o;
  const buffers = openBuffers(gpu), { blocks, grouped } = blockTable(m);
  const constants = { bits, grouped, weak_bits: weakBits };
  const shared = {
    blocks: buffers.upload(blocks, "blocks of columns"),
    columns: buffers.upload(columnTable(m), "groups of columns"),
    weakIds: buffers.upload(m.weakIds, "weak ids"),
  };
  const rowBytes = Math.max(4 * m.codes.length / rows, 8 * groups, 4 * k);
  const atOnce = Math.max(1, Math.floor(gpu.maxBytes / rowBytes)), parts: PackedPart[] = [];
  let bytes = Object.values(shared).reduce((n, b) => n + b.size, 0);
  const product = await openFew(gpu, buffers, "packed", { rows, cols }, constants);
  const widen = k > 0 && weakBits === 16 ? await loadKernel(gpu, { file, entry: "widen", constants }) : null;
  for (let first = 0; first < rows; first += atOnce) {
    const part = rowsOf(m, first, Math.min(atOnce, rows - first)), own = part.rows;
    const grids = new Float32Array(own * groups * 2);
    for (let i = 0; i < own * groups; i++) grids.set([part.scale[i], part.zero[i]], 2 * i);
    const held = {
      codes: buffers.upload(part.codes, "codes"),
      grids: buffers.upload(grids, "grids"),
      weak: buffers.upload(weakBits === 32 ? part.weak : halfPairs(part), "weak columns"),
    };
    const partBytes = Object.values(held).reduce((n, b) => n + b.size, 0);
    bytes += partBytes;
    const stride = part.codes.length / own;
    const lying: PackedOnDevice = {
      ...held,
      ...shared,
      rows: own,
      cols,
      bits,
      groups,
      weakCount: k,
      rowStride: stride,
      wordStride: 1,
      get weak() { // as float32, which products with many vectors read: made anew before each of them
        return widen ? sharedScratch(gpu, "weak columns as float32", own * k * 4) : held.weak;
      },
      weakRowStride: k,
      weakStride: 1,
      bytes: partBytes,
    };
    const many = await bindPackedMatmul(gpu, buffers, lying, { variant: "tiled", place: { rows, first } });
    const shape = [own, blocks.length / 2, stride, groups, k];
    const { blocks: table, columns, weakIds } = shared;
    const all = { 1: held.codes, 2: held.grids, 3: table, 4: columns, 5: weakIds, 6: held.weak };
    parts.push({ first, own, lying, many, held, shape, all });
  }
  return {
    rows,
    cols,
    bytes,
    variant: "split",
    record(pass, x, y, vectors) {
      gpu.check();
      if (vectors <= FEW) {
        const whole = product.quads(pass, x, vectors);
        for (const { first, shape, all } of parts) product.record(pass, whole, y, vectors, shape, first, all);
        return;
      }
      for (const { own, lying, many, held, shape, first } of parts) {
        if (widen) {
          const resources = { 0: product.uniform(shape, 0, first), 6: held.weak, 11: lying.weak };
          const grid = gridOf(Math.ceil(own * k / 64), gpu.device.limits.maxComputeWorkgroupsPerDimension);
          recordSteps(pass, [stepOf(gpu.device, widen, resources, grid)]);
        }
        many.record(pass, x, y, vectors);
      }
    },
    destroy: () => buffers.free(),
  };
}

/**
 * Uploads a dense matrix for GPUs: the baseline, reduced in the same way and as wide in its loads.
 *
 * @param gpu an open device. @param w (out, in). @param dtype how wide weights lie on the device.
 * @returns the linear. Larger ones than a binding holds lie in several parts.
 * @throws LabError of kind "device" where the device fails, "numeric" where a weight does not fit f16.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openDenseSplit } from "./matvec_split.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openDenseSplit(gpu, { data: Float32Array.of(1, 2), rows: 1, cols: 2 }, "f16");
 *   console.log(linear.variant);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openDenseSplit(gpu: Gpu, w: Matrix, dtype: "f32" | "f16"): Promise<DeviceLinear> {
  const { rows, cols } = w, buffers = openBuffers(gpu), half = dtype === "f16";
  const quads = Math.ceil(cols / 4), stride = half ? Math.ceil(cols / 8) : quads;
  const product = await openFew(gpu, buffers, half ? "dense16" : "dense32", { rows, cols }, {});
  const many = await bindMatmul(gpu, buffers, { rows, cols, dtype, variant: "tiled" });
  const atOnce = Math.max(1, Math.floor(gpu.maxBytes / (stride * 16))),
    parts: { first: number; own: number; buffer: GPUBuffer }[] = [];
  for (let first = 0; first < rows; first += atOnce) {
    const own = Math.min(atOnce, rows - first);
    const data = half ? halfQuads(w, first, own, stride) : wholeQuads(w, first, own, stride);
    parts.push({ first, own, buffer: buffers.upload(data, `weights in ${dtype}`) });
  }
  return {
    rows,
    cols,
    bytes: parts.reduce((n, p) => n + p.buffer.size, 0),
    variant: `${dtype}-split`,
    record(pass, x, y, vectors) {
      gpu.check();
      const few = vectors <= FEW ? product.quads(pass, x, vectors) : null;
      const whole = few ? null : many.quads(pass, x, vectors);
      for (const { first, own, buffer } of parts) {
        if (few) product.record(pass, few, y, vectors, [own, quads, stride, 0, 0], first, { [half ? 10 : 9]: buffer });
        else many.record(pass, whole!, y, vectors, { buffer, first, rows: own, rowStride: stride, quadStride: 1 });
      }
    },
    destroy: () => buffers.free(),
  };
}

/** Some rows of a packed matrix, ready for few vectors and for many. */
interface PackedPart {
  readonly first: number;
  readonly own: number;
  readonly lying: PackedOnDevice;
  readonly many: BoundPackedMatmul;
  readonly held: { readonly weak: GPUBuffer };
  readonly shape: readonly number[];
  readonly all: Readonly<Record<number, GPUBuffer>>;
}

/** Products with 1 to 8 vectors by one entry point of matvec_split.wgsl. */
async function openFew(
  gpu: Gpu,
  buffers: Buffers,
  entry: string,
  w: { readonly rows: number; readonly cols: number },
  constants: Readonly<Record<string, number>>,
) {
  const quads = Math.ceil(w.cols / 4), limit = gpu.device.limits.maxComputeWorkgroupsPerDimension;
  const pipelines = new Map<number, GPUComputePipeline>(), uniforms = new Map<string, GPUBuffer>();
  for (const vectors of [1, 2, 4, 8]) {
    pipelines.set(vectors, await loadKernel(gpu, { file, entry, constants: { ...constants, vectors } }));
  }
  const pad = w.cols % 4 === 0 ? null : await bindMatmul(gpu, buffers, { ...w, dtype: "f32", variant: "tiled" });
  const remember = rememberSteps();
  const uniform = (shape: readonly number[], vector: number, first: number) => {
    const key = `${vector} ${first}`;
    let buffer = uniforms.get(key);
    if (!buffer) {
      uniforms.set(key, buffer = buffers.uniform(12));
      gpu.device.queue.writeBuffer(buffer, 0, Uint32Array.of(...shape, quads, vector, w.rows, first));
    }
    return buffer;
  };
  return {
    uniform,
    /** x in whole quads. */
    quads(pass: GPUComputePassEncoder, x: GPUBuffer, vectors: number): GPUBuffer {
      const whole = pad ? pad.quads(pass, x, vectors) : x;
      if (!(whole instanceof GPUBuffer)) throw new RangeError("the tiled product takes its vectors in a buffer");
      return whole;
    },
    record(
      pass: GPUComputePassEncoder,
      x: GPUBuffer,
      y: GPUBuffer,
      vectors: number,
      shape: readonly number[],
      first: number,
      bound: Readonly<Record<number, GPUBuffer>>,
    ): void {
      recordSteps(
        pass,
        remember([x, y, vectors, first], () => {
          const steps: Step[] = [];
          for (let vector = 0; vector < vectors;) {
            const count = [8, 4, 2, 1].find((n) => n <= vectors - vector)!,
              all = { 0: uniform(shape, vector, first), 7: x, 8: y };
            const grid = gridOf(Math.ceil(shape[0] / ROWS), limit);
            steps.push(stepOf(gpu.device, pipelines.get(count)!, { ...bound, ...all }, grid));
            vector += count;
          }
          return steps;
        }),
      );
    },
  };
}

/** (blocks, 2): the columns of a block that are weak or none at all, by bit, and its group; and whether it has only one. */
function blockTable(m: PackedMatrix): { blocks: Uint32Array<ArrayBuffer>; grouped: 0 | 1 | 2 } {
  const count = Math.ceil(m.cols / BLOCK), blocks = new Uint32Array(count * 2), weak = new Set(m.weakIds);
  let mixed = false;
  for (let b = 0; b < count; b++) {
    let group = -1, mask = 0;
    for (let i = 0; i < BLOCK; i++) {
      const c = b * BLOCK + i;
      if (c >= m.cols || weak.has(c)) mask |= 1 << i;
      else if (m.groupOf) {
        mixed ||= group >= 0 && group !== m.groupOf[c];
        group = m.groupOf[c];
      }
    }
    blocks[2 * b] = mask >>> 0;
    blocks[2 * b + 1] = Math.max(0, group);
  }
  return { blocks, grouped: m.groupOf === null ? 0 : mixed ? 2 : 1 };
}

/** Weak columns as pairs of halves, row by row. */
function halfPairs(m: PackedMatrix): Uint32Array<ArrayBuffer> {
  const k = m.weakIds.length, even = k + k % 2, halves = new Float16Array(m.rows * even);
  for (let r = 0; r < m.rows; r++) halves.set(m.weak.subarray(r * k, (r + 1) * k), r * even);
  return new Uint32Array(checked(halves, "weak columns").buffer);
}

function wholeQuads(w: Matrix, first: number, rows: number, stride: number) {
  const out = new Float32Array(rows * stride * 4);
  for (let r = 0; r < rows; r++) {
    out.set(w.data.subarray((first + r) * w.cols, (first + r + 1) * w.cols), r * stride * 4);
  }
  return out;
}

/** Rows of halves, filled up to a multiple of 8. */
function halfQuads(w: Matrix, first: number, rows: number, stride: number) {
  const halves = new Float16Array(rows * stride * 8);
  for (let r = 0; r < rows; r++) {
    halves.set(w.data.subarray((first + r) * w.cols, (first + r + 1) * w.cols), r * stride * 8);
  }
  return new Uint32Array(checked(halves, "weights").buffer);
}

function checked(halves: Float16Array<ArrayBuffer>, what: string): Float16Array<ArrayBuffer> {
  const at = halves.findIndex((h) => !Number.isFinite(h));
  if (at < 0) return halves;
  throw new LabError("numeric", what, `value ${at} does not fit 16 bits`, "Keep them in 32 bits.");
}
