// The product of a matrix with few vectors on a software driver: a lane takes rows, everything read often lies in storage
// textures. What is quick there, and why, stands in wgsl/matvec_lane.wgsl.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { sharedScratch } from "../gpu/shared.ts";
import { LabError } from "../io/errors.ts";
import type { Matrix } from "../io/tensor.ts";
import { denseLaneMatrix, type LaneMatrix, packedLaneMatrix, UNIT } from "./lane_matrix.ts";
import type { DeviceLinear } from "./linear.ts";
import { bindMatmul } from "./matmul.ts";
import { recordSteps, rememberSteps, stepOf } from "./steps.ts";
import { FOLD } from "./texels.ts";
import type { PackedMatrix } from "./packed_matrix.ts";

type Words = Uint32Array<ArrayBuffer>;

/** Rows of a tile: 8 lanes, 4 rows each. */
const LANES = 8, TILE = 32;
/** Vectors up to which the product goes through the codes themselves; floats dequantized at a time for more of them. */
const FEW = 8, SLICE_FLOATS = 2 ** 18;

/**
 * Uploads a packed matrix for products with few vectors on a software driver.
 *
 * @param gpu an open device. @param m (out, in). @param o how wide weak columns lie on the device.
 * @returns the linear.
 * @throws LabError of kind "input" where the matrix is not whole, "device" where the device fails.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openPackedLane } from "./matvec_lane.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openPackedLane(gpu, {
 *     rows: 1, cols: 3, bits: 2, codes: Uint32Array.of(0b110111), groupOf: null, scale: Float32Array.of(0.5),
 *     zero: Float32Array.of(1), weakIds: Int32Array.of(1), weak: Float32Array.of(7) }, { weakBits: 16 });
 *   console.log(linear.variant);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openPackedLane(
  gpu: Gpu,
  m: PackedMatrix,
  o: { readonly weakBits: 16 | 32 },
): Promise<DeviceLinear> {
  return await openLane(gpu, "lane", packedLaneMatrix(m, o.weakBits));
}

/**
 * Uploads a dense matrix for products with few vectors on a software driver: the same kernel, floats for codes.
 *
 * @param gpu an open device. @param w (out, in). @param dtype how wide weights lie on the device.
 * @returns the linear.
 * @throws LabError of kind "device" where the device fails, "numeric" where a weight does not fit f16.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openDenseLane } from "./matvec_lane.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const linear = await openDenseLane(gpu, { data: Float32Array.of(1, 2), rows: 1, cols: 2 }, "f16");
 *   console.log(linear.variant);
 *   linear.destroy();
 *   gpu.close();
 * }
 * ```
 */
export async function openDenseLane(gpu: Gpu, w: Matrix, dtype: "f32" | "f16"): Promise<DeviceLinear> {
  return await openLane(gpu, `${dtype}-lane`, denseLaneMatrix(w, dtype === "f32" ? 32 : 16));
}

async function openLane(gpu: Gpu, variant: string, m: LaneMatrix): Promise<DeviceLinear> {
  const { rows, cols, bits } = m, { device } = gpu;
  const units = m.order.length / UNIT, weakUnits = m.weakIds.length / 8, weakTexels = m.weakBits / 16;
  const rowTexels = units * (bits + Math.ceil(m.slots / 2)) + weakUnits * weakTexels;
  const limit = Math.min(FOLD * device.limits.maxTextureDimension2D, Math.floor(gpu.maxBytes / 16 / FOLD) * FOLD);
  const tilesAtOnce = Math.floor(limit / (rowTexels * TILE));
  if (tilesAtOnce < 1) {
    throw new LabError(
      "device",
      `linear (${rows}, ${cols})`,
      `${TILE} rows take ${rowTexels * TILE * 16} bytes, a texture of ${gpu.description} at most ${limit * 16}`,
      "Try another variant.",
    );
  }
  const buffers = openBuffers(gpu), textures: GPUTexture[] = [];
  const file = "matvec_lane.wgsl", constants = { bits, slots: m.slots, weak_bits: m.weakBits };
  const prepare = await loadKernel(gpu, { file, entry: "prepare", constants: { bits } });
  const products = new Map<number, GPUComputePipeline>();
  for (const vectors of [1, 2, 4]) {
    products.set(vectors, await loadKernel(gpu, { file, entry: "main", constants: { ...constants, vectors } }));
  }
  const unpack = await loadKernel(gpu, { file, entry: "unpack", constants });
  const unpackWeak = await loadKernel(gpu, { file, entry: "unpack_weak", constants });
  const quads = (m.order.length + m.weakIds.length) / 4, columns = new Int32Array(quads * 4);
  columns.set(m.order);
  columns.set(m.weakIds, m.order.length);
  const order = buffers.upload(columns, "order of columns");
  const parts: Part[] = [];
  const rowsAtOnce = tilesAtOnce * TILE;
  for (let first = 0; first < rows; first += rowsAtOnce) {
    parts.push(uploadPart(gpu, buffers, textures, m, first, Math.min(rowsAtOnce, rows - first)));
  }
  const cores = navigator.hardwareConcurrency, uniforms = new Map<string, GPUBuffer>();
  let held = 0, xs: GPUTextureView | null = null;
  const remember = rememberSteps();
  const paramsOf = (part: Part, vector: number, firstTile = 0, outRows = 0): GPUBuffer => {
    const { tiles } = part, key = [part.first, vector, firstTile, outRows].join(" ");
    let uniform = uniforms.get(key);
    if (!uniform) {
      uniforms.set(key, uniform = buffers.uniform(13));
      const shape = [part.rows, tiles, perGroup(tiles), units, weakUnits, part.weakAt, quads, vector];
      device.queue.writeBuffer(uniform, 0, Uint32Array.of(...shape, rows, part.first, firstTile, outRows, cols));
    }
    return uniform;
  };
  /** Tiles of a workgroup: x is read once for all of them, and every core gets one of the same size. */
  const perGroup = (tiles: number) => Math.ceil(tiles / cores);
  const dense = await bindMatmul(gpu, buffers, { rows, cols, dtype: "f32", variant: "wide" });
  const outQuads = Math.ceil(cols / 4);
  /** Many vectors: some rows as floats, then their product, and so on. */
  const recordMany = (pass: GPUComputePassEncoder, x: GPUBuffer, y: GPUBuffer, vectors: number) => {
    const whole = dense.quads(pass, x, vectors);
    for (const part of parts) {
      const atOnce = Math.min(part.tiles, Math.max(1, Math.floor(SLICE_FLOATS / (outQuads * 4 * TILE))));
      const slice = sharedScratch(gpu, "dequantized rows", atOnce * TILE * outQuads * 16);
      for (let tile = 0; tile < part.tiles; tile += atOnce) {
        const tiles = Math.min(atOnce, part.tiles - tile), outRows = tiles * TILE;
        const uniform = paramsOf(part, 0, tile, outRows);
        const bound = { 0: uniform, 1: part.texels, 6: order, 7: slice };
        const steps = [stepOf(device, unpack, { ...bound, 3: part.grids }, [tiles * 4, units])];
        if (weakUnits > 0 || cols % 4 !== 0) steps.push(stepOf(device, unpackWeak, bound, [tiles * 4]));
        recordSteps(pass, steps);
        const some = Math.min(outRows, part.rows - tile * TILE), first = part.first + tile * TILE;
        dense.record(pass, whole, y, vectors, { buffer: slice, first, rows: some, rowStride: 1, quadStride: outRows });
      }
    }
  };
  return {
    rows,
    cols,
    variant,
    bytes: order.size + parts.reduce((n, p) => n + p.bytes, 0),
    record(pass, x, y, vectors) {
      gpu.check();
      if (vectors > FEW) return recordMany(pass, x, y, vectors);
      if (vectors > held) {
        const size = [FOLD, Math.ceil(vectors * quads / FOLD)], usage = GPUTextureUsage.STORAGE_BINDING;
        const made = device.createTexture({ label: `x of ${variant}`, size, format: "rgba32float", usage });
        textures.push(made);
        [xs, held] = [made.createView(), vectors];
      }
      const sums = sharedScratch(gpu, "sums of rows", Math.min(vectors, 4) * parts[0].tiles * TILE * 4);
      const places = xs!;
      recordSteps(
        pass,
        remember([x, y, vectors, sums, places], () => {
          const bound = { 0: paramsOf(parts[0], 0), 6: order, 8: x, 9: places };
          const steps = [stepOf(device, prepare, bound, [Math.ceil(quads / 16), vectors])];
          for (let vector = 0; vector < vectors;) {
            const count = vectors - vector >= 4 ? 4 : vectors - vector >= 2 ? 2 : 1, product = products.get(count)!;
            for (const part of parts) {
              const { tiles, texels, grids } = part;
              const bound = { 0: paramsOf(part, vector), 1: texels, 2: places, 3: grids, 4: sums, 5: y };
              steps.push(stepOf(device, product, bound, [Math.ceil(tiles / perGroup(tiles))]));
            }
            vector += count;
          }
          return steps;
        }),
      );
    },
    destroy() {
      buffers.free();
      for (const t of textures.splice(0)) t.destroy();
    },
  };
}

/** Some rows of a matrix on the device. */
interface Part {
  readonly first: number;
  readonly rows: number;
  readonly tiles: number;
  readonly weakAt: number;
  readonly texels: GPUTextureView;
  readonly grids: GPUBuffer;
  readonly bytes: number;
}

function uploadPart(
  gpu: Gpu,
  buffers: Buffers,
  textures: GPUTexture[],
  m: LaneMatrix,
  first: number,
  rows: number,
): Part {
  const tiles = Math.ceil(rows / TILE), units = m.order.length / UNIT, weakUnits = m.weakIds.length / 8;
  const unitTexels = m.bits + Math.ceil(m.slots / 2), weakTexels = m.weakBits / 16;
  const weakAt = units * unitTexels * tiles * TILE, total = weakAt + weakUnits * weakTexels * tiles * TILE;
  const height = Math.ceil(total / FOLD), words = new Uint32Array(height * FOLD * 4);
  const unit = new Uint32Array(unitTexels * 4), weak = new Uint32Array(weakTexels * 4);
  const grids = new Float32Array(tiles * TILE * 2);
  const scatter = (from: Words, at: number) => { // a row's texels lie 8 lanes apart
    for (let i = 0; i < from.length; i += 4, at += 4 * LANES) words.set(from.subarray(i, i + 4), at);
  };
  for (let r = 0; r < rows; r++) {
    const tile = Math.floor(r / TILE), lane = (r % TILE) >> 2, j = r & 3, [scale, zero] = m.grid(first + r);
    grids[((tile * LANES + lane) * 2) * 4 + j] = scale;
    grids[((tile * LANES + lane) * 2 + 1) * 4 + j] = zero;
    for (let u = 0; u < units; u++) {
      const four = u & ~3, ofFour = Math.min(4, units - four);
      m.unit(first + r, u, unit);
      const at = (four * tiles * 4 + (tile * 4 + j) * ofFour + (u & 3)) * unitTexels * LANES + lane;
      scatter(unit, at * 4);
    }
    for (let i = 0; i < weakUnits; i++) {
      m.weak(first + r, i, weak);
      scatter(weak, (weakAt + ((i * tiles + tile) * 4 + j) * weakTexels * LANES + lane) * 4);
    }
  }
  const texture = gpu.device.createTexture({
    label: "texels of a linear",
    size: [FOLD, height],
    format: "rgba32uint",
    usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
  });
  textures.push(texture);
  gpu.device.queue.writeTexture({ texture }, words, { bytesPerRow: FOLD * 16, rowsPerImage: height }, [FOLD, height]);
  const grid = buffers.upload(grids, "grids");
  const bytes = words.byteLength + grid.size;
  return { first, rows, tiles, weakAt, texels: texture.createView(), grids: grid, bytes };
}
