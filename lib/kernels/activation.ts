// The MLP's activation: wgsl/activation.wgsl and its specification.
import type { Gpu } from "../gpu/device.ts";
import type { Floats } from "../io/tensor.ts";
import { bindKernel, type BoundKernel, flatGrid } from "./bound_kernel.ts";

/** What is computed of gate and up. */
export interface ActivationSpec {
  readonly width: number;
  /** "gelu" is exact, "gelu-tanh" the approximation by tanh. */
  readonly kind: "silu" | "relu" | "gelu" | "gelu-tanh";
  /** Where the gate's values lie in its rows; null where there is none. */
  readonly gate: { readonly stride: number; readonly at: number } | null;
  readonly up: { readonly stride: number; readonly at: number };
  /** (width) of up, then (width) of the gate where there is one; null for none. */
  readonly bias: Floats | null;
}

/** erfc(z) for z ≥ 0 in double: the series of erf below 2, the continued fraction of erfc above. */
function erfc(z: number): number {
  if (z < 2) { // erf z = 2/√π · e^(−z²) Σ 2^n z^(2n+1) / (1·3·…·(2n+1))
    let term = z, sum = z;
    for (let n = 1; n < 60; n++) sum += term *= 2 * z * z / (2 * n + 1);
    return 1 - 2 / Math.sqrt(Math.PI) * Math.exp(-z * z) * sum;
  }
  let f = 0; // erfc z = e^(−z²)/√π · 1/(z + (1/2)/(z + 1/(z + (3/2)/(z + …))))
  for (let n = 120; n >= 1; n--) f = n / 2 / (z + f);
  return Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + f);
}

/**
 * SiLU x/(1 + e^−x), ReLU, GELU x·Φ(x), or GELU by tanh ½x(1 + tanh(√(2/π)(x + 0.044715x³))), in double.
 *
 * @see Hendrycks & Gimpel 2016 (arXiv 1606.08415) for both GELUs and SiLU
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { activate } from "./activation.ts";
 * assert.equal(activate("relu", -1), 0);
 * assert.equal(activate("gelu", 1).toFixed(7), "0.8413447"); // Φ(1)
 * assert.equal(activate("gelu-tanh", 1).toFixed(4), "0.8412");
 * ```
 */
export function activate(kind: ActivationSpec["kind"], x: number): number {
  switch (kind) {
    case "silu":
      return x / (1 + Math.exp(-x));
    case "relu":
      return Math.max(x, 0);
    case "gelu": {
      const tail = 0.5 * erfc(Math.abs(x) * Math.SQRT1_2);
      return x > 0 ? x * (1 - tail) : x * tail;
    }
    case "gelu-tanh":
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  }
}

/**
 * act(gate + bias)·(up + bias), or act(up + bias), in double: the specification of wgsl/activation.wgsl.
 *
 * @param gate (vectors, gate.stride), or null. @param up (vectors, up.stride).
 * @returns (vectors, width).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { activationTwin } from "./activation.ts";
 * const spec = { width: 1, kind: "relu", gate: { stride: 2, at: 0 }, up: { stride: 2, at: 1 }, bias: null } as const;
 * const both = Float32Array.of(3, 5, -1, 7);
 * assert.deepEqual([...activationTwin(spec, both, both, 2)], [15, 0]);
 * ```
 */
export function activationTwin(
  spec: ActivationSpec,
  gate: ArrayLike<number> | null,
  up: ArrayLike<number>,
  vectors: number,
): Float64Array<ArrayBuffer> {
  const { width, kind, bias } = spec;
  return Float64Array.from({ length: vectors * width }, (_, index) => {
    const t = Math.floor(index / width), i = index % width;
    const u = up[t * spec.up.stride + spec.up.at + i] + (bias?.[i] ?? 0);
    if (spec.gate === null || gate === null) return activate(kind, u);
    const g = gate[t * spec.gate.stride + spec.gate.at + i] + (bias?.[width + i] ?? 0);
    return activate(kind, g) * u || 0;
  });
}

const kinds = { silu: 0, relu: 1, gelu: 2, "gelu-tanh": 3 } as const;

/**
 * Binds the kernel: as `activationTwin`, in float32, the exact GELU to 1.5e-7 of x.
 *
 * @throws LabError of kind "device" when the shader does not compile.
 */
export function bindActivation(
  gpu: Gpu,
  spec: ActivationSpec,
  b: Readonly<Record<"step" | "gate" | "up" | "bias" | "out", GPUBuffer>>,
): Promise<BoundKernel> {
  const constants = {
    WIDTH: spec.width,
    KIND: kinds[spec.kind],
    GATED: spec.gate ? 1 : 0,
    BIASED: spec.bias ? 1 : 0,
    GATE_ROW: spec.gate?.stride ?? 0,
    GATE_AT: spec.gate?.at ?? 0,
    UP_ROW: spec.up.stride,
    UP_AT: spec.up.at,
  };
  const buffers = { 0: b.step, 1: b.gate, 2: b.up, 3: b.bias, 4: b.out };
  return bindKernel(gpu, { file: "activation.wgsl", constants }, buffers, flatGrid(gpu, spec.width, 32));
}
