// Queries, keys and values on their way from the linears into attention: wgsl/rotary.wgsl and its specification.
import type { Gpu } from "../gpu/device.ts";
import type { Floats } from "../io/tensor.ts";
import { bindKernel, type BoundKernel, flatGrid } from "./bound_kernel.ts";

/** The heads of an attention layer and the cache that holds their keys and values. */
export interface AttentionShape {
  readonly heads: number;
  /** Heads of keys and values; `heads` is a multiple of it. */
  readonly keyHeads: number;
  /** Numbers a head. */
  readonly dim: number;
  /** Positions in the cache. */
  readonly capacity: number;
}

/** Where heads lie in the rows of a linear's output: row · stride + at + key head · step (+ query head of it · dim). */
export interface HeadPlaces {
  readonly stride: number;
  readonly at: number;
  readonly step: number;
}

/** What is done to queries, keys and values. */
export interface RotarySpec extends AttentionShape {
  readonly q: HeadPlaces;
  readonly k: HeadPlaces;
  readonly v: HeadPlaces;
  /** (heads + 2 keyHeads, dim): of queries, keys, values; null for none. */
  readonly bias: Floats | null;
  /** (capacity, dim / 2, 2): cos and sin of each position's angles; null where positions do not turn heads. */
  readonly turns: Floats | null;
  /** Queries are multiplied by it, 1/√dim. */
  readonly scale: number;
}

/** vec4s a head: heads are padded with zeros to whole ones. */
export function quadsOf(dim: number): number {
  return Math.ceil(dim / 4);
}

/** What attention reads: queries (vectors, heads, quads · 4), keys (keyHeads, quads, capacity, 4), values (keyHeads, capacity, quads · 4). */
export interface Turned {
  readonly queries: Float64Array<ArrayBuffer>;
  readonly keys: Float64Array<ArrayBuffer>;
  readonly values: Float64Array<ArrayBuffer>;
}

/**
 * Adds biases, turns the halves (a, b) of each query and key into (a cos − b sin, b cos + a sin) at their position, scales
 * queries, and puts keys and values into the cache, in double: the specification of wgsl/rotary.wgsl.
 *
 * @param q (vectors, q.stride), @param k (vectors, k.stride), @param v (vectors, v.stride): outputs of the linears.
 * @param start position of the first vector. @param into caches to write into; empty ones where absent.
 * @see Su et al. 2021 (arXiv 2104.09864), in the half-split layout of Hugging Face's models
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rotaryTwin } from "./rotary.ts";
 * const place = { stride: 2, at: 0, step: 2 }, x = Float32Array.of(1, 2);
 * const spec = { heads: 1, keyHeads: 1, dim: 2, capacity: 1, q: place, k: place, v: place, bias: null, scale: 2 };
 * const { queries, keys } = rotaryTwin({ ...spec, turns: Float32Array.of(0, 1) }, x, x, x, 0, 1);
 * assert.deepEqual([...queries], [-4, 2, 0, 0]);
 * assert.deepEqual([...keys], [-2, 1, 0, 0]);
 * ```
 */
export function rotaryTwin(
  spec: RotarySpec,
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  start: number,
  vectors: number,
  into?: Turned,
): Turned {
  const { heads, keyHeads, dim, capacity, bias, turns } = spec,
    quads = quadsOf(dim),
    padded = 4 * quads,
    half = dim / 2;
  const cache = () => new Float64Array(keyHeads * capacity * padded);
  const out = into ?? { queries: new Float64Array(vectors * heads * padded), keys: cache(), values: cache() };
  for (let t = 0; t < vectors; t++) {
    for (let h = 0; h < heads + 2 * keyHeads; h++) {
      const kind = h < heads ? 0 : h < heads + keyHeads ? 1 : 2, perKey = heads / keyHeads;
      const head = kind === 0 ? h : (h - heads) % keyHeads, place = [spec.q, spec.k, spec.v][kind];
      const offset = kind === 0 ? Math.floor(head / perKey) * place.step + head % perKey * dim : head * place.step;
      const x = Float64Array.from({ length: dim }, (_, i) => {
        return [q, k, v][kind][t * place.stride + place.at + offset + i] + (bias?.[h * dim + i] ?? 0);
      });
      for (let i = 0; i < padded; i++) {
        let y = i < dim ? x[i] : 0;
        if (turns && kind < 2 && i < dim) {
          const at = ((start + t) * half + i % half) * 2, other = i < half ? -x[i + half] : x[i - half];
          y = x[i] * turns[at] + other * turns[at + 1];
        }
        if (kind === 0) out.queries[(t * heads + head) * padded + i] = y * spec.scale;
        else if (kind === 1) out.keys[((head * quads + (i >> 2)) * capacity + start + t) * 4 + i % 4] = y;
        else out.values[(head * capacity + start + t) * padded + i] = y;
      }
    }
  }
  return out;
}

/** Where a model's attention keeps what it reads: in buffers for GPUs, in textures for software drivers. */
export type AttentionStore<Kind extends "group" | "lanes" = "group" | "lanes"> = Kind extends "group" ? {
    readonly kind: "group";
    readonly queries: GPUBuffer;
    readonly keys: GPUBuffer;
    readonly values: GPUBuffer;
  }
  : {
    readonly kind: "lanes";
    /** (vectors · heads, quads) */
    readonly queries: GPUTexture;
    /** (keyHeads · quads, capacity), rows folded (texels.ts). */
    readonly keys: GPUTexture;
    readonly values: GPUTexture;
  };

/** Buffers of the rotary kernel; see {@link RotarySpec}. q, k and v may be one and the same. */
export interface RotaryBuffers {
  readonly step: GPUBuffer;
  readonly q: GPUBuffer;
  readonly k: GPUBuffer;
  readonly v: GPUBuffer;
  readonly bias: GPUBuffer;
  readonly turns: GPUBuffer;
}

/**
 * Binds the kernel: as `rotaryTwin`, in float32.
 *
 * @param store where queries, keys and values go: the form that the attention kernels of the same kind read.
 * @throws LabError of kind "device" when the shader does not compile.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { quadsOf } from "./rotary.ts";
 * assert.equal(quadsOf(18), 5);
 * ```
 */
export function bindRotary(
  gpu: Gpu,
  spec: RotarySpec,
  b: RotaryBuffers,
  store: AttentionStore,
): Promise<BoundKernel> {
  const { heads, keyHeads, dim, capacity, q, k, v } = spec, quads = quadsOf(dim);
  const constants = {
    HEADS: heads,
    KEY_HEADS: keyHeads,
    DIM: dim,
    QUADS: quads,
    CAPACITY: capacity,
    SCALE: spec.scale,
    ROTATE: spec.turns ? 1 : 0,
    BIASED: spec.bias ? 1 : 0,
    Q_ROW: q.stride,
    Q_AT: q.at,
    Q_STEP: q.step,
    K_ROW: k.stride,
    K_AT: k.at,
    K_STEP: k.step,
    V_ROW: v.stride,
    V_AT: v.at,
    V_STEP: v.step,
  };
  const inputs = { 0: b.step, 1: b.q, 2: b.k, 3: b.v, 4: b.bias, 5: b.turns };
  const [first, lanes] = store.kind === "group" ? [6, 64] : [9, 8];
  const buffers = { ...inputs, [first]: store.queries, [first + 1]: store.keys, [first + 2]: store.values };
  const each = (heads + 2 * keyHeads) * quads;
  return bindKernel(gpu, { file: "rotary.wgsl", entry: store.kind, constants }, buffers, flatGrid(gpu, each, lanes));
}
