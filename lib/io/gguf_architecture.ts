// What llama.cpp calls the parts of a model and in what order it stores their rows: one entry a general.architecture.
// Source: convert_hf_to_gguf.py and gguf-py/gguf/tensor_mapping.py of https://github.com/ggml-org/llama.cpp.
import { LabError } from "./errors.ts";
import type { GgufFile } from "./gguf.ts";
import { missingTensor } from "./safetensors.ts";
import type { TensorInfo } from "./source.ts";

/** The row of the file for each of `rows` rows of Hugging Face; made only once the tensor is known to have that many. */
export interface RowOrder {
  readonly rows: number;
  make(): Int32Array<ArrayBuffer>;
}

/** One architecture: names of tensors outside and inside the blocks (by the stem that GGUF gives them), config, row orders. */
export interface Architecture {
  readonly prefix: string; // of blocks: prefix.N.
  readonly outer: Readonly<Record<string, string>>;
  readonly inner: Readonly<Record<string, string>>;
  /** config.json from the metadata. */
  config(m: Metadata): Record<string, unknown>;
  /** The order of the rows of a tensor of a block; null where it is the file's own. */
  order(stem: string, m: Metadata): RowOrder | null;
}

/** The metadata of one architecture with its checks: "head_count" stands for "llama.attention.head_count" and so on. */
export class Metadata {
  readonly arch: string;
  constructor(readonly file: GgufFile) {
    const arch = file.metadata.get("general.architecture");
    if (typeof arch !== "string") throw this.error(`its metadata has no text "general.architecture"`);
    this.arch = arch;
  }

  error(problem: string, hint = "Fetch the file again, or make it with a current llama.cpp."): LabError {
    return new LabError("format", this.file.label, problem, hint);
  }

  has(key: string): boolean {
    return this.file.metadata.has(`${this.arch}.${key}`);
  }

  integer(key: string, fallback?: number): number {
    const name = `${this.arch}.${key}`, value = this.file.metadata.get(name) ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
    if (value === undefined) throw this.error(`its metadata lacks "${name}"`);
    const shown = typeof value === "object" ? "a list (one value a block, which the lab does not know)" : String(value);
    throw this.error(`"${name}" is ${shown}, expected a positive integer`);
  }

  number(key: string, fallback?: number): number {
    const name = `${this.arch}.${key}`, value = this.file.metadata.get(name) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return shortest(value);
    if (value === undefined) throw this.error(`its metadata lacks "${name}"`);
    throw this.error(`"${name}" is ${typeof value === "object" ? "a list" : value}, expected a positive number`);
  }

  tensor(name: string): TensorInfo {
    const info = this.file.tensors.get(name);
    if (!info) throw missingTensor(this.file.label, name, this.file.tensors.keys());
    return info;
  }

  get heads(): number {
    return this.integer("attention.head_count");
  }
  get kvHeads(): number {
    const kv = this.integer("attention.head_count_kv", this.heads);
    if (this.heads % kv !== 0) throw this.error(`${this.heads} query heads do not share ${kv} key heads evenly`);
    return kv;
  }
  get headDim(): number {
    const width = this.integer("embedding_length"), even = width / this.heads;
    const key = this.has("attention.key_length") || !Number.isInteger(even)
      ? this.integer("attention.key_length")
      : this.integer("rope.dimension_count", even);
    const value = this.integer("attention.value_length", key), turned = this.integer("rope.dimension_count", key);
    if (value !== key || turned !== key || key % 2 !== 0) {
      throw this.error(
        `heads of ${key} with values of ${value} and ${turned} rotated dimensions are not supported`,
        "",
      );
    }
    return key;
  }

  /** Settings that every config.json has. */
  common(modelType: string, architecture: string): Record<string, unknown> {
    const token = (key: string) => {
      const id = this.file.metadata.get(`tokenizer.ggml.${key}_token_id`);
      return typeof id === "number" ? id : null;
    };
    return {
      architectures: [architecture],
      model_type: modelType,
      vocab_size: this.tensor("token_embd.weight").shape[0],
      hidden_size: this.integer("embedding_length"),
      tie_word_embeddings: !this.file.tensors.has("output.weight"),
      bos_token_id: token("bos"),
      eos_token_id: token("eos"),
    };
  }

  /** rope_theta and its scaling, under the names of transformers 4 and 5. */
  rope(): Record<string, unknown> {
    const theta = this.number("rope.freq_base", 10000);
    const type = this.file.metadata.get(`${this.arch}.rope.scaling.type`) ?? "linear"; // llama.cpp's own default
    if (type !== "linear" && type !== "none") {
      throw this.error(`its rotary scaling "${type}" is not supported`, "Use a model without long-context scaling.");
    }
    const key = this.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
    const factor = type === "linear" && this.has(key) ? this.number(key) : 1;
    const scaling = factor === 1 ? null : { rope_type: "linear", factor };
    return {
      rope_theta: theta,
      rope_scaling: scaling,
      rope_parameters: { rope_theta: theta, ...(scaling ?? { rope_type: "default" }) },
      max_position_embeddings: this.integer("context_length"),
    };
  }
}

/**
 * The shortest decimal with the same float32: the file stores 1e-5 as 9.99999974e-6, config.json says 1e-5.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { shortest } from "./gguf_architecture.ts";
 * assert.equal(shortest(Math.fround(1e-5)), 1e-5);
 * ```
 */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === Math.fround(value)) return rounded;
  }
  return value;
}

/** Rows 2i + j of each head (neighbouring pairs) back to rows j · half + i (halves). */
function pairsToHalves(heads: number, headDim: number): RowOrder {
  const rows = heads * headDim, half = headDim / 2;
  const make = () => {
    const order = new Int32Array(rows);
    for (let start = 0; start < rows; start += headDim) {
      for (let i = 0; i < half; i++) {
        for (let j = 0; j < 2; j++) order[start + j * half + i] = start + 2 * i + j;
      }
    }
    return order;
  };
  return { rows, make };
}

/** All queries, all keys, all values back to: for each key head its queries, its key, its value. */
function interleaveHeads(heads: number, kvHeads: number, headDim: number): RowOrder {
  const rows = (heads + 2 * kvHeads) * headDim, share = heads / kvHeads;
  const make = () => {
    const order = new Int32Array(rows);
    let at = 0;
    const push = (head: number) => {
      for (let i = 0; i < headDim; i++) order[at++] = head * headDim + i;
    };
    for (let g = 0; g < kvHeads; g++) {
      for (let i = 0; i < share; i++) push(g * share + i);
      push(heads + g);
      push(heads + kvHeads + g);
    }
    return order;
  };
  return { rows, make };
}

const LLAMA_NAMES = {
  prefix: "model.layers",
  outer: { token_embd: "model.embed_tokens", output_norm: "model.norm", output: "lm_head" },
  inner: {
    attn_norm: "input_layernorm",
    attn_q: "self_attn.q_proj",
    attn_k: "self_attn.k_proj",
    attn_v: "self_attn.v_proj",
    attn_output: "self_attn.o_proj",
    ffn_norm: "post_attention_layernorm",
    ffn_gate: "mlp.gate_proj",
    ffn_up: "mlp.up_proj",
    ffn_down: "mlp.down_proj",
  },
};

function llamaConfig(m: Metadata): Record<string, unknown> {
  return {
    num_hidden_layers: m.integer("block_count"),
    num_attention_heads: m.heads,
    num_key_value_heads: m.kvHeads,
    head_dim: m.headDim,
    intermediate_size: m.integer("feed_forward_length"),
    rms_norm_eps: m.number("attention.layer_norm_rms_epsilon"),
    hidden_act: "silu",
    ...m.rope(),
  };
}

const LLAMA: Architecture = {
  ...LLAMA_NAMES,
  config: (m) => ({
    ...m.common("llama", "LlamaForCausalLM"),
    ...llamaConfig(m),
    attention_bias: m.file.tensors.has("blk.0.attn_q.bias"),
    mlp_bias: m.file.tensors.has("blk.0.ffn_down.bias"),
  }),
  order: (stem, m) =>
    stem === "attn_q"
      ? pairsToHalves(m.heads, m.headDim)
      : stem === "attn_k"
      ? pairsToHalves(m.kvHeads, m.headDim)
      : null,
};

const QWEN2: Architecture = {
  ...LLAMA_NAMES,
  config: (m) => ({
    ...m.common("qwen2", "Qwen2ForCausalLM"),
    ...llamaConfig(m),
    use_sliding_window: false,
    sliding_window: null,
  }),
  order: () => null, // llama.cpp runs this family with rotary halves, as transformers does
};

const GPT_INNER = {
  attn_norm: "input_layernorm",
  attn_qkv: "self_attention.query_key_value",
  attn_output: "self_attention.dense",
  ffn_up: "mlp.dense_h_to_4h",
  ffn_down: "mlp.dense_4h_to_h",
};
const GPT_OUTER = { token_embd: "transformer.word_embeddings", output_norm: "transformer.ln_f", output: "lm_head" };

const BLOOM: Architecture = {
  prefix: "transformer.h",
  outer: { ...GPT_OUTER, token_embd_norm: "transformer.word_embeddings_layernorm" },
  inner: { ...GPT_INNER, ffn_norm: "post_attention_layernorm" },
  config: (m) => ({
    ...m.common("bloom", "BloomForCausalLM"),
    n_layer: m.integer("block_count"),
    n_head: m.heads,
    layer_norm_epsilon: m.number("attention.layer_norm_epsilon"),
    apply_residual_connection_post_layernorm: false,
  }),
  order: (stem, m) => stem === "attn_qkv" ? interleaveHeads(m.heads, m.heads, m.headDim) : null,
};

const FALCON: Architecture = {
  prefix: "transformer.h",
  outer: GPT_OUTER,
  inner: GPT_INNER,
  config: (m) => {
    const newDecoder = m.kvHeads > 1;
    if (m.kvHeads === m.heads && newDecoder) {
      throw m.error("is a Falcon without shared key heads, whose positions GGUF does not say", "Use its safetensors.");
    }
    return {
      ...m.common("falcon", "FalconForCausalLM"),
      num_hidden_layers: m.integer("block_count"),
      num_attention_heads: m.heads,
      num_kv_heads: m.kvHeads,
      ffn_hidden_size: m.integer("feed_forward_length", 4 * m.integer("embedding_length")),
      layer_norm_epsilon: m.number("attention.layer_norm_epsilon"),
      new_decoder_architecture: newDecoder,
      multi_query: true,
      parallel_attn: true,
      num_ln_in_parallel_attn: newDecoder ? (m.file.tensors.has("blk.0.attn_norm_2.weight") ? 2 : 1) : null,
      bias: m.file.tensors.has("blk.0.attn_qkv.bias"),
      alibi: false,
      activation: "gelu",
      ...m.rope(),
    };
  },
  order: (stem, m) => stem === "attn_qkv" ? interleaveHeads(m.heads, m.kvHeads, m.headDim) : null,
};

/** Falcon's larger models have two norms a block; then the first name means another tensor. */
const FALCON_TWO_NORMS: Architecture = {
  ...FALCON,
  inner: { ...GPT_INNER, attn_norm: "ln_mlp", attn_norm_2: "ln_attn" },
};

/**
 * The architecture of a file by its `general.architecture`. Mistral models call themselves llama in GGUF, and run the same way.
 *
 * @throws LabError("input") for one that the lab does not know.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import type { GgufFile } from "./gguf.ts";
 * import { architectureOf, Metadata } from "./gguf_architecture.ts";
 * const file = { label: "m.gguf", metadata: new Map([["general.architecture", "qwen2"]]), tensors: new Map() };
 * assert.equal(architectureOf(new Metadata(file as unknown as GgufFile)).prefix, "model.layers");
 * ```
 */
export function architectureOf(m: Metadata): Architecture {
  const known: Record<string, Architecture> = { llama: LLAMA, qwen2: QWEN2, bloom: BLOOM, falcon: FALCON };
  const found = Object.hasOwn(known, m.arch) ? known[m.arch] : undefined;
  if (!found) {
    const names = Object.keys(known).join(", ");
    throw new LabError("input", m.file.label, `is of the architecture "${m.arch}"`, `The lab reads GGUF of ${names}.`);
  }
  return found === FALCON && m.file.tensors.has("blk.0.attn_norm_2.weight") ? FALCON_TWO_NORMS : found;
}
