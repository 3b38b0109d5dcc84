// Residual sums and norms: wgsl/norm.wgsl and its specification.
import type { Gpu } from "../gpu/device.ts";
import type { Floats } from "../io/tensor.ts";
import { bindKernel, type BoundKernel } from "./bound_kernel.ts";

/** What a norm computes. */
export interface NormSpec {
  readonly width: number;
  /** "none" only adds. */
  readonly kind: "none" | "rms" | "layer";
  readonly eps: number;
  /** How many of `a` and `b` are added to the residual. */
  readonly added: 0 | 1 | 2;
  /** (width) added with them; null for none. */
  readonly bias: Floats | null;
  /** Gain, and for layer norms shift, each (width): one pair, or two for two norms of the same sum. */
  readonly affine: readonly { readonly gain: Floats; readonly shift: Floats | null }[];
  /** The residual goes on normed (OPT-350M, a BLOOM option). */
  readonly keep: boolean;
  /** Only the last vector is taken, to row 0. */
  readonly last: boolean;
}

/** Buffers of a norm, all (vectors, width) f32 but `affine` (see {@link packAffine}). */
export interface NormBuffers {
  readonly step: GPUBuffer;
  readonly residual: GPUBuffer;
  readonly a: GPUBuffer;
  readonly b: GPUBuffer;
  readonly affine: GPUBuffer;
  readonly sum: GPUBuffer;
  readonly normed: GPUBuffer;
  readonly normed2: GPUBuffer;
}

/**
 * s = residual + a + b + bias; n = s/√(mean s² + ε)·g (RMS) or (s − mean)/√(variance + ε)·g + shift (layer), in double:
 * the specification of wgsl/norm.wgsl.
 *
 * @param residual (vectors, width), as are `a` and `b`.
 * @returns per vector the sum that goes on, and one normed array a pair of `affine` (the sum itself without any).
 * @see Zhang & Sennrich 2019 (arXiv 1910.07467), Ba et al. 2016 (arXiv 1607.06450)
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { normTwin } from "./norm.ts";
 * const spec = { width: 2, kind: "rms", eps: 0, added: 0, bias: null, keep: false, last: false } as const;
 * const affine = [{ gain: Float32Array.of(1, 1), shift: null }];
 * const { normed } = normTwin({ ...spec, affine }, Float32Array.of(7, 1), null, null);
 * assert.deepEqual([...normed[0]].map((x) => +x.toFixed(6)), [1.4, 0.2]);
 * ```
 */
export function normTwin(
  spec: NormSpec,
  residual: ArrayLike<number>,
  a: ArrayLike<number> | null,
  b: ArrayLike<number> | null,
): { readonly sum: Float64Array<ArrayBuffer>; readonly normed: Float64Array<ArrayBuffer>[] } {
  const { width, kind, eps } = spec, all = residual.length / width, rows = spec.last ? 1 : all;
  const sum = new Float64Array(rows * width), outputs = Math.max(1, spec.affine.length);
  const normed = Array.from({ length: outputs }, () => new Float64Array(rows * width));
  const s = new Float64Array(width);
  for (let r = 0; r < rows; r++) {
    const from = (spec.last ? all - 1 : r) * width;
    for (let j = 0; j < width; j++) {
      s[j] = residual[from + j] + (spec.bias?.[j] ?? 0);
      if (spec.added > 0) s[j] += a![from + j];
      if (spec.added > 1) s[j] += b![from + j];
    }
    const mean = kind === "layer" ? s.reduce((x, y) => x + y, 0) / width : 0;
    const scale = 1 / Math.sqrt(s.reduce((x, y) => x + (y - mean) ** 2, 0) / width + eps);
    for (let j = 0; j < width; j++) {
      for (let o = 0; o < outputs; o++) {
        const n = kind === "none" ? s[j] : (s[j] - mean) * scale * spec.affine[o].gain[j];
        normed[o][r * width + j] = n + (spec.affine[o]?.shift?.[j] ?? 0);
      }
      sum[r * width + j] = spec.keep ? normed[0][r * width + j] : s[j];
    }
  }
  return { sum, normed };
}

/** What wgsl/norm.wgsl reads as `affine`: bias, gain, shift, second gain, second shift, those there are. */
export function packAffine(spec: Pick<NormSpec, "bias" | "affine">): Floats {
  const parts = [spec.bias, ...spec.affine.flatMap((p) => [p.gain, p.shift])].filter((p) => p !== null);
  const out = new Float32Array(Math.max(4, parts.reduce((n, p) => n + p.length, 0)));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const kinds = { none: 0, rms: 1, layer: 2 } as const;

/**
 * Binds a norm: as `normTwin`, sums in float32.
 *
 * @param variant "lane" for software drivers (no barrier), "group" for GPUs; by the adapter where absent.
 * @throws LabError of kind "device" when the shader does not compile.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { packAffine } from "./norm.ts";
 * const affine = [{ gain: Float32Array.of(1, 2, 3), shift: Float32Array.of(4, 5, 6) }];
 * assert.deepEqual([...packAffine({ bias: null, affine })], [1, 2, 3, 4, 5, 6]);
 * ```
 */
export function bindNorm(
  gpu: Gpu,
  spec: NormSpec,
  b: NormBuffers,
  variant: "lane" | "group" = gpu.software ? "lane" : "group",
): Promise<BoundKernel> {
  const constants = {
    WIDTH: spec.width,
    KIND: kinds[spec.kind],
    EPS: spec.eps,
    ADDED: spec.added,
    BIASED: spec.bias ? 1 : 0,
    OUTPUTS: spec.affine.length === 2 ? 2 : 1,
    KEEP: spec.keep ? 1 : 0,
    LAST: spec.last ? 1 : 0,
  };
  const buffers = { 0: b.step, 1: b.residual, 2: b.a, 3: b.b, 4: b.affine, 5: b.sum, 6: b.normed, 7: b.normed2 };
  const source = { file: "norm.wgsl", entry: variant, constants };
  return bindKernel(gpu, source, buffers, (_, vectors) => [spec.last ? 1 : vectors]);
}
