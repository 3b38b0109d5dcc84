// Scales of input channels, folded where they cost nothing: the norm divides, the linears that read it multiply.
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { TensorInfo, TensorSource } from "../io/source.ts";
import type { Tensor } from "../io/tensor.ts";
import type { ModelConfig, RawConfig } from "./config.ts";
import { modelConfig } from "./families.ts";
import { blockPrefix } from "./forward.ts";

/** The parts of a model's files that are read and replaced; lib/io's ModelFiles fits. */
export interface Foldable {
  readonly config: RawConfig;
  readonly source: TensorSource;
  readonly note: string;
}

/** A norm inside a block and the inputs of linears that it makes (the attention's, the MLP's, or both). */
export interface NormGroup {
  /** Name of the norm inside the block. */
  readonly norm: string;
  /** As in LinearInfo.input. */
  readonly inputs: readonly string[];
}

/** The norms of a block whose output only linears read; the attention reads the first, the MLP the second or the first too. */
export function normGroups(c: ModelConfig): NormGroup[] {
  if (c.names.norm2 === null) return [{ norm: c.names.norm1, inputs: ["attention", "mlp"] }];
  return [{ norm: c.names.norm1, inputs: ["attention"] }, { norm: c.names.norm2, inputs: ["mlp"] }];
}

/** Refuses a model whose norms feed the residual stream itself: their scales cannot be moved. */
export function requireFoldable(c: ModelConfig, label: string): void {
  if (!c.normAfter && !c.residualAfterNorm) return;
  const problem = "its norms feed the residual stream, so their gains cannot be moved into the next weights";
  throw new LabError("input", label, problem, "Choose a model with norms before its layers.");
}

/** A source whose tensors are multiplied along their last axis as they are read; those are served as float32. */
export class ScaledSource implements TensorSource {
  readonly label: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;

  /** @param scales tensor name → a factor for each place of the last axis. @param what goes into the hash. */
  constructor(
    readonly inner: TensorSource,
    readonly scales: ReadonlyMap<string, ArrayLike<number>>,
    readonly what: string,
  ) {
    this.label = inner.label;
    this.tensors = new Map([...inner.tensors].map(([name, info]) => {
      if (!scales.has(name)) return [name, info];
      return [name, { ...info, dtype: "F32", bytes: 4 * info.shape.reduce((a, b) => a * b, 1) }];
    }));
  }

  async read(name: string): Promise<Tensor> {
    const { data, shape } = await this.inner.read(name), s = this.scales.get(name);
    return s ? { data: data.map((v, i) => v * s[i % s.length]), shape } : { data, shape };
  }

  async readBytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.scales.has(name)) return await this.inner.readBytes(name);
    const { data } = await this.read(name);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }

  async sha256(): Promise<string> {
    return sha256Hex(`${await this.inner.sha256()} ${this.what}`);
  }

  close(): void {
    this.inner.close();
  }
}

/**
 * Folds scales into a float model, whose function stays: gain (and bias) of a norm ÷ s, W[:, j] · s_j in every linear that
 * reads it. This is how AWQ, SmoothQuant and their like apply their scales without storing them.
 *
 * @param files the model. @param scaleOf s (width) for a norm of a block, above 0; null leaves it.
 * @param what a few words for the note and the hash, which must tell these scales from others.
 * @returns the same files with another source and note; tensors that change are served as float32.
 * @throws LabError "input" for a family whose norms feed the residual stream, for scales of another width or not above 0.
 * Source: SmoothQuant, arXiv 2211.10438, section 4; AWQ, arXiv 2306.00978, section 3.2.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import type { TensorSource } from "../io/source.ts";
 * import { foldScales } from "./fold.ts";
 * const config = { model_type: "llama", vocab_size: 8, hidden_size: 2, intermediate_size: 4, num_hidden_layers: 1,
 *   num_attention_heads: 1, max_position_embeddings: 16 };
 * const name = "model.layers.0.input_layernorm.weight", gain = { data: new Float32Array([1, 1]), shape: [2] };
 * const source: TensorSource = { label: "tiny", tensors: new Map([[name, { name, dtype: "F16", shape: [2], bytes: 4 }]]),
 *   read: () => Promise.resolve(gain), readBytes: () => Promise.reject(), sha256: () => Promise.resolve(""), close() {} };
 * const folded = foldScales({ config, source, note: "" }, () => [2, 4], "twos and fours");
 * assert.deepEqual([...(await folded.source.read(name)).data], [0.5, 0.25]);
 * ```
 */
export function foldScales<M extends Foldable>(
  files: M,
  scaleOf: (block: number, group: NormGroup) => ArrayLike<number> | null,
  what: string,
): M {
  const c = modelConfig(files.config), scales = new Map<string, ArrayLike<number>>(), known = files.source.tensors;
  requireFoldable(c, files.source.label);
  const set = (name: string, s: ArrayLike<number>) =>
    scales.set(known.has(name) ? name : name.slice(c.names.base.length), s); // the bare trunk lacks the base's prefix
  for (let b = 0; b < c.blocks; b++) {
    const prefix = blockPrefix(c, b);
    for (const group of normGroups(c)) {
      const s = scaleOf(b, group);
      if (!s) continue;
      const bad = Array.from(s).findIndex((v) => !(v > 0 && v < Infinity));
      if (s.length !== c.width || bad >= 0) {
        const problem = bad >= 0 ? `scale ${s[bad]} of channel ${bad}` : `${s.length} scales for ${c.width} channels`;
        throw new LabError("input", `${prefix}${group.norm}`, problem, "Give one above 0 for each channel.");
      }
      const inverse = Float64Array.from(s, (v) => 1 / v);
      set(`${prefix}${group.norm}.weight`, inverse);
      if (c.norm.kind === "layer") set(`${prefix}${group.norm}.bias`, inverse);
      for (const l of c.linears) if (group.inputs.includes(l.input)) set(`${prefix}${l.name}.weight`, s);
    }
  }
  const note = `scales folded: ${what} (the function is unchanged)`;
  const source = new ScaledSource(files.source, scales, note);
  return { ...files, source, note: files.note ? `${files.note}; ${note}` : note };
}
