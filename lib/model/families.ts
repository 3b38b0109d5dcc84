// The model families, one entry each, found by the `model_type` of config.json and by nothing else.
// To add one: write its entry, list it in `families`, put a tiny model under fixtures/golden/models.
import { LabError } from "../io/errors.ts";
import {
  activation,
  field,
  flag,
  integer,
  type LinearInfo,
  type ModelConfig,
  number,
  type RawConfig,
  rotary,
  slidingWindows,
  type TensorNames,
} from "./config.ts";

interface Family {
  readonly modelType: string;
  readonly describe: (raw: RawConfig) => ModelConfig;
}

/** What differs between families in their linears: biases and the MLP's share of weak columns. */
interface LinearTraits {
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  readonly mlpRatio: number;
}

type Sizes = Pick<ModelConfig, "width" | "heads" | "kvHeads" | "headDim" | "ffn">;

/** The linears of a block in the order in which they are quantized, from names and sizes. */
function linears(s: Sizes, names: TensorNames, t: LinearTraits): LinearInfo[] {
  const queries = s.heads * s.headDim, keys = s.kvHeads * s.headDim;
  const qkvOut = names.qkv.length === 1 ? [queries + 2 * keys] : [queries, keys, keys];
  const row = (name: string, out: number, inputs: number, input: string, stage: number, ratio: number, bias: boolean) =>
    ({ name, out, in: inputs, input, stage, ratio, bias }) satisfies LinearInfo;
  const mlp = names.gate === null ? [names.up] : [names.gate, names.up];
  const mlpInput = names.norm2 === null ? "attention" : "mlp"; // one norm feeds both
  return [
    ...names.qkv.map((name, i) => row(name, qkvOut[i], s.width, "attention", 0, 1, t.qkvBias)),
    row(names.output, s.width, queries, "output", 1, 1, t.outputBias),
    ...mlp.map((name) => row(name, s.ffn, s.width, mlpInput, 2, t.mlpRatio, t.mlpBias)),
    row(names.down, s.width, s.ffn, "down", 3, t.mlpRatio, t.mlpBias),
  ];
}

const llamaNames: TensorNames = {
  base: "model.",
  blocks: "layers",
  embed: "embed_tokens",
  head: "lm_head",
  positions: null,
  embedNorm: null,
  finalNorm: "norm",
  projectIn: null,
  projectOut: null,
  norm1: "input_layernorm",
  norm2: "post_attention_layernorm",
  qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  output: "self_attn.o_proj",
  gate: "mlp.gate_proj",
  up: "mlp.up_proj",
  down: "mlp.down_proj",
};

/** LLaMA and its near relatives: RMS norms, rotary positions, grouped queries, a gated MLP. */
function llamaLike(
  raw: RawConfig,
  family: string,
  o: { qkvBias: boolean; outputBias: boolean; mlpBias: boolean; sliding: boolean; tied: boolean },
): ModelConfig {
  const width = integer(raw, ["hidden_size"]), heads = integer(raw, ["num_attention_heads"]);
  const blocks = integer(raw, ["num_hidden_layers"]);
  const sizes = {
    width,
    heads,
    kvHeads: integer(raw, ["num_key_value_heads"], heads),
    headDim: integer(raw, ["head_dim"], width / heads),
    ffn: integer(raw, ["intermediate_size"]),
  };
  return {
    family,
    blocks,
    ...sizes,
    embedWidth: width,
    vocab: integer(raw, ["vocab_size"]),
    maxPositions: integer(raw, ["max_position_embeddings"]),
    positions: rotary(raw),
    norm: { kind: "rms", eps: number(raw, ["rms_norm_eps"], 1e-6) },
    normAfter: false,
    residualAfterNorm: false,
    parallel: false,
    activation: activation(raw, "hidden_act", "silu"),
    windows: slidingWindows(raw, blocks, o.sliding),
    tied: flag(raw, "tie_word_embeddings", o.tied),
    names: llamaNames,
    linears: linears(sizes, llamaNames, { ...o, mlpRatio: 0.375 }),
  };
}

const llama: Family = {
  modelType: "llama",
  describe: (raw) => {
    const bias = flag(raw, "attention_bias", false);
    const mlpBias = flag(raw, "mlp_bias", false);
    return llamaLike(raw, "llama", { qkvBias: bias, outputBias: bias, mlpBias, sliding: false, tied: false });
  },
};

const mistral: Family = {
  modelType: "mistral",
  describe: (raw) =>
    llamaLike(raw, "mistral", { qkvBias: false, outputBias: false, mlpBias: false, sliding: true, tied: false }),
};

const qwen2: Family = {
  modelType: "qwen2",
  describe: (raw) => {
    const sliding = flag(raw, "use_sliding_window", false);
    const c = llamaLike(raw, "qwen2", { qkvBias: true, outputBias: false, mlpBias: false, sliding, tied: false });
    if (!sliding || raw.layer_types) return c;
    // Without `layer_types` the first `max_window_layers` blocks see everything.
    const full = integer(raw, ["max_window_layers"], 28);
    return { ...c, windows: c.windows.map((w, i) => i < full ? null : w) };
  },
};

const opt: Family = {
  modelType: "opt",
  describe: (raw) => {
    const width = integer(raw, ["hidden_size"]), heads = integer(raw, ["num_attention_heads"]);
    const blocks = integer(raw, ["num_hidden_layers"]), embedWidth = integer(raw, ["word_embed_proj_dim"], width);
    const normAfter = !flag(raw, "do_layer_norm_before", true);
    const noFinalNorm = normAfter || flag(raw, "_remove_final_layer_norm", false);
    const names: TensorNames = {
      base: "model.decoder.",
      blocks: "layers",
      embed: "embed_tokens",
      head: "lm_head",
      positions: "embed_positions",
      embedNorm: null,
      finalNorm: noFinalNorm ? null : "final_layer_norm",
      projectIn: embedWidth === width ? null : "project_in",
      projectOut: embedWidth === width ? null : "project_out",
      norm1: "self_attn_layer_norm",
      norm2: "final_layer_norm",
      qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
      output: "self_attn.out_proj",
      gate: null,
      up: "fc1",
      down: "fc2",
    };
    const sizes = { width, heads, kvHeads: heads, headDim: width / heads, ffn: integer(raw, ["ffn_dim"]) };
    const bias = flag(raw, "enable_bias", true);
    return {
      family: "opt",
      blocks,
      ...sizes,
      embedWidth,
      vocab: integer(raw, ["vocab_size"]),
      maxPositions: integer(raw, ["max_position_embeddings"]),
      positions: { kind: "learned", offset: 2 },
      norm: { kind: "layer", eps: 1e-5 },
      normAfter,
      residualAfterNorm: false,
      parallel: false,
      activation: activation(raw, "activation_function", "relu"),
      windows: Array.from({ length: blocks }, () => null),
      tied: flag(raw, "tie_word_embeddings", true),
      names,
      linears: linears(sizes, names, { qkvBias: bias, outputBias: bias, mlpBias: bias, mlpRatio: 0.25 }),
    };
  },
};

const bloom: Family = {
  modelType: "bloom",
  describe: (raw) => {
    const width = integer(raw, ["hidden_size", "n_embed"]), heads = integer(raw, ["n_head", "num_attention_heads"]);
    const blocks = integer(raw, ["n_layer", "num_hidden_layers"]);
    const names: TensorNames = {
      base: "transformer.",
      blocks: "h",
      embed: "word_embeddings",
      head: "lm_head",
      positions: null,
      embedNorm: "word_embeddings_layernorm",
      finalNorm: "ln_f",
      projectIn: null,
      projectOut: null,
      norm1: "input_layernorm",
      norm2: "post_attention_layernorm",
      qkv: ["self_attention.query_key_value"],
      output: "self_attention.dense",
      gate: null,
      up: "mlp.dense_h_to_4h",
      down: "mlp.dense_4h_to_h",
    };
    const sizes = { width, heads, kvHeads: heads, headDim: width / heads, ffn: 4 * width };
    return {
      family: "bloom",
      blocks,
      ...sizes,
      embedWidth: width,
      vocab: integer(raw, ["vocab_size"]),
      maxPositions: null,
      positions: { kind: "alibi", scaled: false, bfloat16: false },
      norm: { kind: "layer", eps: number(raw, ["layer_norm_epsilon"], 1e-5) },
      normAfter: false,
      residualAfterNorm: flag(raw, "apply_residual_connection_post_layernorm", false),
      parallel: false,
      activation: "gelu-tanh",
      windows: Array.from({ length: blocks }, () => null),
      tied: flag(raw, "tie_word_embeddings", true),
      names,
      linears: linears(sizes, names, { qkvBias: true, outputBias: true, mlpBias: true, mlpRatio: 0.25 }),
    };
  },
};

const falcon: Family = {
  modelType: "falcon",
  describe: (raw) => {
    const width = integer(raw, ["hidden_size"]), heads = integer(raw, ["num_attention_heads", "n_head"]);
    const blocks = integer(raw, ["num_hidden_layers", "n_layer"]);
    const newDecoder = flag(raw, "new_decoder_architecture", false), bias = flag(raw, "bias", false);
    const parallel = newDecoder || flag(raw, "parallel_attn", true), alibi = flag(raw, "alibi", false);
    const twoNorms = newDecoder && integer(raw, ["num_ln_in_parallel_attn"], 2) === 2;
    const kvHeads = newDecoder
      ? integer(raw, ["num_kv_heads", "n_head_kv"], heads)
      : flag(raw, "multi_query", true)
      ? 1
      : heads;
    const names: TensorNames = {
      base: "transformer.",
      blocks: "h",
      embed: "word_embeddings",
      head: "lm_head",
      positions: null,
      embedNorm: null,
      finalNorm: "ln_f",
      projectIn: null,
      projectOut: null,
      norm1: twoNorms ? "ln_attn" : "input_layernorm",
      norm2: twoNorms ? "ln_mlp" : parallel ? null : "post_attention_layernorm",
      qkv: ["self_attention.query_key_value"],
      output: "self_attention.dense",
      gate: null,
      up: "mlp.dense_h_to_4h",
      down: "mlp.dense_4h_to_h",
    };
    const sizes = {
      width,
      heads,
      kvHeads,
      headDim: width / heads,
      ffn: integer(raw, ["ffn_hidden_size"], 4 * width),
    };
    return {
      family: "falcon",
      blocks,
      ...sizes,
      embedWidth: width,
      vocab: integer(raw, ["vocab_size"]),
      maxPositions: alibi ? null : integer(raw, ["max_position_embeddings"], 2048),
      positions: alibi ? { kind: "alibi", scaled: true, bfloat16: true } : rotary(raw),
      norm: { kind: "layer", eps: number(raw, ["layer_norm_epsilon"], 1e-5) },
      normAfter: false,
      residualAfterNorm: false,
      parallel,
      activation: activation(raw, "activation", "gelu"),
      windows: Array.from({ length: blocks }, () => null),
      tied: flag(raw, "tie_word_embeddings", true),
      names,
      linears: linears(sizes, names, { qkvBias: bias, outputBias: bias, mlpBias: bias, mlpRatio: 0.25 }),
    };
  },
};

const families: ReadonlyMap<string, Family> = new Map(
  [llama, mistral, qwen2, opt, bloom, falcon].map((f) => [f.modelType, f]),
);

/**
 * The names of the families the lab computes, as `model_type` spells them.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { familyNames } from "./families.ts";
 * assert.deepEqual(familyNames(), ["llama", "mistral", "qwen2", "opt", "bloom", "falcon"]);
 * ```
 */
export function familyNames(): string[] {
  return [...families.keys()];
}

/**
 * Describes the model that a config.json stands for.
 *
 * @param raw the parsed config.json in Hugging Face's terms.
 * @throws LabError for an unknown `model_type` (the message lists the known ones) or a field that is absent or wrong.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { modelConfig } from "./families.ts";
 * const c = modelConfig({
 *   model_type: "llama", hidden_size: 64, num_attention_heads: 4, num_key_value_heads: 2, num_hidden_layers: 2,
 *   intermediate_size: 160, vocab_size: 128, max_position_embeddings: 128,
 * });
 * assert.equal(c.headDim, 16);
 * assert.deepEqual(c.linears.map((l) => l.out), [64, 32, 32, 64, 160, 160, 64]);
 * ```
 */
export function modelConfig(raw: RawConfig): ModelConfig {
  const type = field(raw, ["model_type"]);
  const family = typeof type === "string" ? families.get(type) : undefined;
  if (!family) {
    const known = familyNames().join(", ");
    throw new LabError(
      "input",
      "config.json",
      `model_type ${JSON.stringify(type)} is not a known family`,
      `Known: ${known}.`,
    );
  }
  const c = family.describe(raw);
  if (c.heads % c.kvHeads !== 0) {
    throw new LabError("input", "config.json", `${c.heads} query heads do not share ${c.kvHeads} key heads evenly`);
  }
  if (!Number.isInteger(c.headDim) || (c.positions.kind === "rotary" && c.headDim % 2 !== 0)) {
    throw new LabError("input", "config.json", `${c.width} over ${c.heads} heads gives a head of ${c.headDim}`);
  }
  return c;
}
