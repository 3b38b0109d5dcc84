// Rows of a table by token or by position: wgsl/embed.wgsl and its specification.
import type { Gpu } from "../gpu/device.ts";
import { bindKernel, type BoundKernel, flatGrid } from "./bound_kernel.ts";

/** A part of a table of vectors, and which of its rows are wanted. */
export interface EmbedSpec {
  readonly width: number;
  /** The part holds rows first … first + rows − 1; others are left alone. */
  readonly first: number;
  readonly rows: number;
  /** Two 16-bit floats a word on the device, or float32. */
  readonly dtype: "f16" | "f32";
  /** null: the row of a token's id. A number: of its position, this many rows further on. */
  readonly positionOffset: number | null;
  /** Added to what is there instead of written. */
  readonly add: boolean;
}

/**
 * out[t] = table[id of t], or table[position of t + offset], added where the spec says so: the specification of
 * wgsl/embed.wgsl.
 *
 * @param table (rows, width). @param ids (vectors). @param out (vectors, width), changed in place.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { embedTwin } from "./embed.ts";
 * const spec = { width: 2, first: 0, rows: 2, dtype: "f32", positionOffset: null, add: false } as const;
 * assert.deepEqual([...embedTwin(spec, Float32Array.of(1, 2, 3, 4), [1], 0, new Float64Array(2))], [3, 4]);
 * ```
 */
export function embedTwin(
  spec: EmbedSpec,
  table: ArrayLike<number>,
  ids: ArrayLike<number>,
  start: number,
  out: Float64Array<ArrayBuffer>,
): Float64Array<ArrayBuffer> {
  const { width, first, rows, positionOffset } = spec;
  for (let t = 0; t < ids.length; t++) {
    const row = (positionOffset === null ? ids[t] : start + t + positionOffset) - first;
    if (row < 0 || row >= rows) continue;
    for (let i = 0; i < width; i++) {
      const x = table[row * width + i], value = spec.dtype === "f16" ? Math.f16round(x) : x;
      out[t * width + i] = value + (spec.add ? out[t * width + i] : 0);
    }
  }
  return out;
}

/**
 * Binds the kernel: as `embedTwin`.
 *
 * @throws LabError of kind "device" when the shader does not compile.
 */
export function bindEmbed(
  gpu: Gpu,
  spec: EmbedSpec,
  b: Readonly<Record<"step" | "ids" | "table" | "out", GPUBuffer>>,
): Promise<BoundKernel> {
  const constants = {
    WIDTH: spec.width,
    FIRST: spec.first,
    ROWS: spec.rows,
    HALVES: spec.dtype === "f16" ? 1 : 0,
    POSITIONS: spec.positionOffset === null ? 0 : 1,
    OFFSET: spec.positionOffset ?? 0,
    ADD: spec.add ? 1 : 0,
  };
  const buffers = { 0: b.step, 1: b.ids, 2: b.table, 3: b.out };
  return bindKernel(gpu, { file: "embed.wgsl", constants }, buffers, flatGrid(gpu, spec.width, 32));
}
