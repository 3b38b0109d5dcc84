// The product of a matrix with few vectors on a software driver: a lane takes rows, everything read often lies in storage
// textures. What is quick there, and why, stands in wgsl/matvec_lane.wgsl.
import { type Buffers, openBuffers } from "../gpu/buffers.ts";
import { loadKernel } from "../gpu/compile.ts";
import type { Gpu } from "../gpu/device.ts";
import { sharedScratch } from "../gpu/shared.ts";
import { LabError } from "../io/errors.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import type { DeviceLinear } from "./linear.ts";
import { bindMatmul } from "./matmul.ts";
import { packDense, unpackDense } from "./pack.ts";
import { checkPackedMatrix, type PackedMatrix } from "./packed_matrix.ts";

type Words = Uint32Array<ArrayBuffer>;

/** Rows of a tile: 8 lanes, 4 rows each. Columns of a unit. Texels of a row of a texture. */
const TILE = 32, UNIT = 128, WIDTH = 1024, LANES = 8;
/** Vectors up to which the product goes through the codes themselves; floats dequantized at a time for more of them. */
const FEW = 8, SLICE_FLOATS = 2 ** 18;

/** A matrix in the form the lane kernel reads, before it is uploaded. */
interface LaneMatrix {
  readonly rows: number;
  readonly cols: number;
  /** Of a code; 16 and 32 are floats. */
  readonly bits: 2 | 3 | 4 | 8 | 16 | 32;
  /** Grids in a unit of columns; 0: one grid a row. */
  readonly slots: 0 | 1 | 2 | 4;
  readonly weakBits: 16 | 32;
  /** (units · 128) the column at each place, −1 at none. */
  readonly order: Int32Array<ArrayBuffer>;
  /** Ids of weak columns, filled up with −1 to a multiple of 8. */
  readonly weakIds: Int32Array<ArrayBuffer>;
  /** Words of unit u of row r into `out`: 4 · bits of codes, then its grids. */
  unit(r: number, u: number, out: Words): void;
  /** Weak columns 8 i … 8 i + 7 of row r into `out`: weakBits / 4 words. */
  weak(r: number, i: number, out: Words): void;
  /** Scale and zero of row r where there is one grid. */
  grid(r: number): readonly [number, number];
}

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
export function openPackedLane(
  gpu: Gpu,
  m: PackedMatrix,
  o: { readonly weakBits: 16 | 32 },
): Promise<DeviceLinear> {
  const groups = checkPackedMatrix(m), { rows, cols, bits } = m, k = m.weakIds.length;
  const { order, slots, groupAt } = groups === 1 ? plainOrder(m) : groupedOrder(m, groups);
  const width = m.codes.length / rows, unitWords = 4 * bits, inPlace = groups === 1;
  const codes = new Uint8Array(UNIT);
  let unpacked = -1, row: Uint8Array = codes; // the row that was unpacked last: units come row by row
  const grids = new Float32Array(4 * Math.ceil(slots / 2)), gridWords = new Uint32Array(grids.buffer);
  const eight = new Float32Array(8);
  return openLane(gpu, "lane", {
    rows,
    cols,
    bits,
    slots,
    order,
    weakBits: o.weakBits,
    weakIds: Int32Array.from({ length: Math.ceil(k / 8) * 8 }, (_, i) => i < k ? m.weakIds[i] : -1),
    unit(r, u, out) {
      if (inPlace) {
        out.fill(0);
        const first = r * width + u * unitWords;
        out.set(m.codes.subarray(first, Math.min(first + unitWords, (r + 1) * width)));
        return;
      }
      if (unpacked !== r) row = unpackDense(m.codes.subarray(r * width, (r + 1) * width), bits, cols);
      unpacked = r;
      for (let i = 0; i < UNIT; i++) codes[i] = order[u * UNIT + i] < 0 ? 0 : row[order[u * UNIT + i]];
      out.set(packDense(codes, bits));
      for (let s = 0; s < slots; s++) {
        const g = r * groups + groupAt[u * slots + s];
        grids[2 * s] = m.scale[g];
        grids[2 * s + 1] = m.zero[g];
      }
      out.set(gridWords, unitWords);
    },
    weak(r, i, out) {
      for (let j = 0; j < 8; j++) eight[j] = 8 * i + j < k ? m.weak[r * k + 8 * i + j] : 0;
      out.set(wordsOfFloats(eight, o.weakBits, "weak columns"));
    },
    grid: (r) => [m.scale[r * groups], m.zero[r * groups]],
  });
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
export function openDenseLane(gpu: Gpu, w: Matrix, dtype: "f32" | "f16"): Promise<DeviceLinear> {
  const { rows, cols, data } = w, bits = dtype === "f32" ? 32 : 16, values = new Float32Array(UNIT);
  const order = Int32Array.from({ length: Math.ceil(cols / UNIT) * UNIT }, (_, c) => c < cols ? c : -1);
  return openLane(gpu, `${dtype}-lane`, {
    rows,
    cols,
    bits,
    order,
    slots: 0,
    weakBits: 16,
    weakIds: new Int32Array(0),
    unit(r, u, out) {
      values.fill(0);
      values.set(data.subarray(r * cols + u * UNIT, r * cols + Math.min((u + 1) * UNIT, cols)));
      out.set(wordsOfFloats(values, bits, "weights"));
    },
    weak: () => {},
    grid: () => [1, 0],
  });
}

/** Floats as words: pairs of f16, or their bits. */
function wordsOfFloats(values: Floats, bits: 16 | 32, what: string): Words {
  if (bits === 32) return new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Float16Array(values);
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(halves[i])) continue;
    throw new LabError("numeric", what, `${values[i]} does not fit 16 bits`, "Keep them in 32 bits.");
  }
  return new Uint32Array(halves.buffer);
}

/** Columns as they come; the weak ones, which are computed apart, and those beyond the last count for nothing. */
function plainOrder(m: PackedMatrix) {
  const order = Int32Array.from({ length: Math.ceil(m.cols / UNIT) * UNIT }, (_, c) => c < m.cols ? c : -1);
  for (const c of m.weakIds) order[c] = -1;
  return { order, slots: 0 as const, groupAt: new Int32Array(0) };
}

/** Columns group by group, each group filled up to whole slots: of 128 columns, or fewer where that leaves less unused. */
function groupedOrder(m: PackedMatrix, groups: number) {
  const members: number[][] = Array.from({ length: groups }, () => []), weak = new Set(m.weakIds);
  for (let c = 0; c < m.cols; c++) if (!weak.has(c)) members[m.groupOf![c]].push(c);
  const unitsAt = (slots: number) =>
    Math.max(1, Math.ceil(members.reduce((n, g) => n + Math.ceil(g.length * slots / UNIT), 0) / slots));
  const slots = ([1, 2, 4] as const).reduce((a, b) => unitsAt(b) < unitsAt(a) ? b : a), size = UNIT / slots;
  const units = unitsAt(slots), order = new Int32Array(units * UNIT).fill(-1), groupAt = new Int32Array(units * slots);
  let slot = 0;
  members.forEach((columns, g) => {
    for (let i = 0; i < columns.length; i += size) {
      order.set(columns.slice(i, i + size), slot * size);
      groupAt[slot++] = g;
    }
  });
  return { order, slots, groupAt };
}

async function openLane(gpu: Gpu, variant: string, m: LaneMatrix): Promise<DeviceLinear> {
  const { rows, cols, bits } = m, { device } = gpu;
  const units = m.order.length / UNIT, weakUnits = m.weakIds.length / 8, weakTexels = m.weakBits / 16;
  const rowTexels = units * (bits + Math.ceil(m.slots / 2)) + weakUnits * weakTexels;
  const limit = Math.min(WIDTH * device.limits.maxTextureDimension2D, Math.floor(gpu.maxBytes / 16 / WIDTH) * WIDTH);
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
  const constants = { bits };
  const prepare = await loadKernel(gpu, { file: "matvec_prepare.wgsl", constants });
  const products = new Map<number, GPUComputePipeline>();
  for (const vectors of [1, 2, 4]) {
    const all = { bits, vectors, slots: m.slots, weak_bits: m.weakBits };
    products.set(vectors, await loadKernel(gpu, { file: "matvec_lane.wgsl", entry: "main", constants: all }));
  }
  const unpackConstants = { bits, slots: m.slots, weak_bits: m.weakBits }, file = "matvec_lane.wgsl";
  const unpack = await loadKernel(gpu, { file, entry: "unpack", constants: unpackConstants });
  const unpackWeak = await loadKernel(gpu, { file, entry: "unpack_weak", constants: unpackConstants });
  const quads = (m.order.length + m.weakIds.length) / 4, columns = new Int32Array(quads * 4);
  columns.set(m.order);
  columns.set(m.weakIds, m.order.length);
  const order = buffers.upload(columns, "order of columns");
  const parts: Part[] = [];
  const rowsAtOnce = tilesAtOnce * TILE;
  for (let first = 0; first < rows; first += rowsAtOnce) {
    parts.push(uploadPart(gpu, buffers, textures, m, first, Math.min(rowsAtOnce, rows - first)));
  }
  const uniform = (words: number[]) => {
    const buffer = buffers.uniform(words.length);
    device.queue.writeBuffer(buffer, 0, Uint32Array.from(words));
    return buffer;
  };
  const cores = navigator.hardwareConcurrency, uniforms = new Map<string, GPUBuffer>();
  const uniformOf = (key: string, words: () => number[]) => {
    let buffer = uniforms.get(key);
    if (!buffer) uniforms.set(key, buffer = uniform(words()));
    return buffer;
  };
  const texture = (texels: number, format: GPUTextureFormat, usage: number) => {
    const made = device.createTexture({
      label: `x of ${variant}`,
      size: [WIDTH, Math.ceil(texels / WIDTH)],
      format,
      usage,
    });
    textures.push(made);
    return made.createView();
  };
  let held = 0, xs: GPUTextureView | null = null;
  const bind = (pipeline: GPUComputePipeline, resources: Readonly<Record<number, GPUBuffer | GPUTextureView>>) =>
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: Object.entries(resources).map(([binding, r]) => ({
        binding: Number(binding),
        resource: r instanceof GPUBuffer ? { buffer: r } : r,
      })),
    });
  const words = (part: Part, vector: number, firstTile = 0, outRows = 0) =>
    uniformOf([part.first, vector, firstTile, outRows].join(" "), () => {
      const perGroup = Math.ceil(part.tiles / Math.min(part.tiles, 2 * cores));
      const shape = [part.rows, part.tiles, perGroup, units, weakUnits, part.weakAt, quads, vector];
      return [...shape, rows, part.first, firstTile, outRows, cols];
    });
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
        const uniform = words(part, 0, tile, outRows);
        pass.setPipeline(unpack);
        const common = { 0: uniform, 1: part.texels, 6: order, 7: slice };
        pass.setBindGroup(0, bind(unpack, { ...common, 3: part.grids }));
        pass.dispatchWorkgroups(tiles * 4, units);
        if (weakUnits > 0 || cols % 4 !== 0) {
          pass.setPipeline(unpackWeak);
          pass.setBindGroup(0, bind(unpackWeak, common));
          pass.dispatchWorkgroups(tiles * 4);
        }
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
        xs = texture(vectors * quads, "rgba32float", GPUTextureUsage.STORAGE_BINDING);
        held = vectors;
      }
      const prepared = uniformOf(`x ${vectors}`, () => [cols, quads, m.order.length / 4, vectors]);
      pass.setPipeline(prepare);
      pass.setBindGroup(0, bind(prepare, { 0: prepared, 1: order, 2: x, 3: xs! }));
      pass.dispatchWorkgroups(Math.ceil(quads / 16), vectors);
      for (let vector = 0; vector < vectors;) {
        const count = vectors - vector >= 4 ? 4 : vectors - vector >= 2 ? 2 : 1, product = products.get(count)!;
        pass.setPipeline(product);
        for (const part of parts) {
          const { tiles, texels, grids } = part, groups = Math.min(tiles, 2 * cores);
          const sums = sharedScratch(gpu, "sums of rows", count * tiles * TILE * 4);
          pass.setBindGroup(0, bind(product, { 0: words(part, vector), 1: texels, 2: xs!, 3: grids, 4: sums, 5: y }));
          pass.dispatchWorkgroups(Math.ceil(tiles / Math.ceil(tiles / groups)));
        }
        vector += count;
      }
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
  const height = Math.ceil(total / WIDTH), words = new Uint32Array(height * WIDTH * 4);
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
    size: [WIDTH, height],
    format: "rgba32uint",
    usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
  });
  textures.push(texture);
  gpu.device.queue.writeTexture({ texture }, words, { bytesPerRow: WIDTH * 16, rowsPerImage: height }, [WIDTH, height]);
  const grid = buffers.upload(grids, "grids");
  const bytes = words.byteLength + grid.size;
  return { first, rows, tiles, weakAt, texels: texture.createView(), grids: grid, bytes };
}
