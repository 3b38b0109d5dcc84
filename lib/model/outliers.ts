// Outlier channels on demand: small models have weak ones, and some methods exist only because large models have strong ones.
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import { rng } from "../io/rng.ts";
import type { TensorInfo, TensorSource } from "../io/source.ts";
import type { Tensor } from "../io/tensor.ts";
import type { ModelConfig, RawConfig } from "./config.ts";
import { modelConfig } from "./families.ts";
import { blockPrefix } from "./forward.ts";

/** Which channels are made loud, and how loud. */
export interface OutlierOptions {
  /** Share of the channels of each norm's output, at least one channel; 0.01 by default. */
  readonly share?: number;
  /** Factor κ on a channel; a power of two (8 … 32) changes no rounding. 16 by default. */
  readonly factor?: number;
  /** Which channels; 2 by default. */
  readonly seed?: number;
}

/** The parts of a model's files that injection reads and replaces; lib/io's ModelFiles fits. */
export interface Injectable {
  readonly config: RawConfig;
  readonly source: TensorSource;
  readonly note: string;
}

/** Not 1: from that seed the embedded model's own loud channels are drawn, and making those louder would change nothing. */
const DEFAULT_SEED = 2;

/** Of each changed tensor: the channels, and whether they are its elements (a norm) or its columns (a linear). */
export type Plan = Map<string, { channels: Int32Array<ArrayBuffer>; columns: boolean }>;

/**
 * Gives a model outlier channels without changing what it computes: in chosen channels c of each norm inside the blocks,
 * gain_c (and bias_c) ← κ·gain_c, and in every linear that reads the norm W[:, c] ← W[:, c] / κ.
 *
 * A per-channel smoothing scale undoes exactly this, so it flatters smoothing over rotations: report the natural model too.
 * The result says in its `note` what was done; tensors that change are served as float32.
 *
 * @returns the same files with another source and note.
 * @throws LabError("input") for a share outside (0, 1], a factor that is not a positive number, or a family whose norms feed
 *   the residual stream itself.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import type { TensorSource } from "../io/source.ts";
 * import { injectOutliers } from "./outliers.ts";
 * const config = { model_type: "llama", vocab_size: 8, hidden_size: 4, intermediate_size: 8, num_hidden_layers: 1,
 *   num_attention_heads: 2, max_position_embeddings: 16 };
 * const name = "model.layers.0.input_layernorm.weight", gain = { data: new Float32Array(4).fill(1), shape: [4] };
 * const source: TensorSource = { label: "tiny", tensors: new Map([[name, { name, dtype: "F16", shape: [4], bytes: 8 }]]),
 *   read: () => Promise.resolve(gain), readBytes: () => Promise.reject(), sha256: () => Promise.resolve(""), close() {} };
 * const loud = injectOutliers({ config, source, note: "" }, { factor: 8 });
 * assert.equal(Math.max(...(await loud.source.read(name)).data), 8);
 * assert.match(loud.note, /1 channels of each norm × 8/);
 * ```
 */
export function injectOutliers<M extends Injectable>(files: M, o: OutlierOptions = {}): M {
  const share = o.share ?? 0.01,
    factor = o.factor ?? 16,
    seed = o.seed ?? DEFAULT_SEED,
    config = modelConfig(files.config);
  if (!(share > 0 && share <= 1)) {
    throw new LabError("input", "outlier share", `${share} is not in (0, 1]`, "Try 0.01.");
  }
  if (!(factor > 0 && Number.isFinite(factor))) {
    throw new LabError("input", "outlier factor", `${factor} is not a positive number`, "Try 16.");
  }
  if (config.normAfter || config.residualAfterNorm) {
    const problem = "its norms feed the residual stream, so their gains cannot be moved into the next weights";
    throw new LabError("input", files.source.label, problem, "Choose a model with norms before its layers.");
  }
  const count = Math.max(1, Math.round(share * config.width)), plan = injectionPlan(config, count, seed);
  const known = files.source.tensors; // files saved from the bare trunk lack the base's prefix
  const named: Plan = new Map(
    [...plan].map(([name, p]) => [known.has(name) ? name : name.slice(config.names.base.length), p]),
  );
  const what =
    `outliers injected: ${count} channels of each norm × ${factor}, seed ${seed} (the function is unchanged)`;
  const source = new InjectedSource(files.source, named, factor, what);
  return { ...files, source, note: files.note ? `${files.note}; ${what}` : what };
}

/**
 * The channels to make loud: `count` of each norm inside the blocks, drawn from `seed`, and every linear that reads it (the
 * attention the first norm, the MLP the second, or both the first in a parallel block).
 */
export function injectionPlan(c: ModelConfig, count: number, seed: number): Plan {
  const plan: Plan = new Map();
  for (let index = 0; index < c.blocks; index++) {
    const prefix = blockPrefix(c, index), second = c.names.norm2;
    const groups: [norm: string, inputs: string[]][] = second === null
      ? [[c.names.norm1, ["attention", "mlp"]]]
      : [[c.names.norm1, ["attention"]], [second, ["mlp"]]];
    for (const [norm, inputs] of groups) {
      const channels = rng(seed, `outliers ${prefix}${norm}`).permutation(c.width).slice(0, count).sort();
      plan.set(`${prefix}${norm}.weight`, { channels, columns: false });
      if (c.norm.kind === "layer") plan.set(`${prefix}${norm}.bias`, { channels, columns: false });
      for (const l of c.linears) {
        if (inputs.includes(l.input)) plan.set(`${prefix}${l.name}.weight`, { channels, columns: true });
      }
    }
  }
  return plan;
}

/** A source whose planned tensors are scaled as they are read. */
class InjectedSource implements TensorSource {
  readonly label: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly #inner: TensorSource;
  readonly #plan: Plan;
  readonly #factor: number;
  readonly #what: string;

  constructor(inner: TensorSource, plan: Plan, factor: number, what: string) {
    this.#inner = inner;
    this.#plan = plan;
    this.#factor = factor;
    this.#what = what;
    this.label = inner.label;
    this.tensors = new Map([...inner.tensors].map(([name, info]) => {
      if (!plan.has(name)) return [name, info];
      return [name, { ...info, dtype: "F32", bytes: 4 * info.shape.reduce((a, b) => a * b, 1) }];
    }));
  }

  async read(name: string): Promise<Tensor> {
    const { data, shape } = await this.#inner.read(name), part = this.#plan.get(name);
    if (!part) return { data, shape };
    const scaled = data.slice(),
      width = shape[shape.length - 1],
      scale = part.columns ? 1 / this.#factor : this.#factor;
    for (let row = 0; row < scaled.length; row += width) {
      for (const c of part.channels) scaled[row + c] *= scale;
    }
    return { data: scaled, shape };
  }

  async readBytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#plan.has(name)) return await this.#inner.readBytes(name);
    const { data } = await this.read(name);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }

  async sha256(): Promise<string> {
    return sha256Hex(`${await this.#inner.sha256()} ${this.#what}`);
  }

  close() {
    this.#inner.close();
  }
}
