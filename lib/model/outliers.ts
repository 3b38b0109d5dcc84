// Outlier channels on demand: small models have weak ones, and some methods exist only because large models have strong ones.
import { LabError } from "../io/errors.ts";
import { rng } from "../io/rng.ts";
import type { TensorSource } from "../io/source.ts";
import type { ModelConfig, RawConfig } from "./config.ts";
import { modelConfig } from "./families.ts";
import { normGroups, requireFoldable, ScaledSource } from "./fold.ts";
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
  requireFoldable(config, files.source.label);
  const count = Math.max(1, Math.round(share * config.width)), plan = injectionPlan(config, count, seed);
  const known = files.source.tensors; // files saved from the bare trunk lack the base's prefix
  const named: Plan = new Map(
    [...plan].map(([name, p]) => [known.has(name) ? name : name.slice(config.names.base.length), p]),
  );
  const what =
    `outliers injected: ${count} channels of each norm × ${factor}, seed ${seed} (the function is unchanged)`;
  const source = new ScaledSource(files.source, scalesOf(named, config.width, factor), what);
  return { ...files, source, note: files.note ? `${files.note}; ${what}` : what };
}

/**
 * The channels to make loud: `count` of each norm inside the blocks, drawn from `seed`, and every linear that reads it (the
 * attention the first norm, the MLP the second, or both the first in a parallel block).
 */
export function injectionPlan(c: ModelConfig, count: number, seed: number): Plan {
  const plan: Plan = new Map();
  for (let index = 0; index < c.blocks; index++) {
    const prefix = blockPrefix(c, index);
    for (const { norm, inputs } of normGroups(c)) {
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

/** The factor of each element of a norm, 1/factor of each column of a linear, 1 elsewhere. */
function scalesOf(plan: Plan, width: number, factor: number): Map<string, Float64Array> {
  return new Map([...plan].map(([name, { channels, columns }]) => {
    const scale = new Float64Array(width).fill(1);
    for (const c of channels) scale[c] = columns ? 1 / factor : factor;
    return [name, scale];
  }));
}
