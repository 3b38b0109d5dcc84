import assert from "node:assert/strict";
import { openMemory } from "../../lib/io/bytes.ts";
import { LabError } from "../../lib/io/errors.ts";
import { readGguf } from "../../lib/io/gguf.ts";
import { ggufModel, openGgufModel } from "../../lib/io/gguf_model.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { inTempFolder, runPython } from "../python.ts";
import { ggufBytes, key, type TensorBytes } from "./gguf_bytes.ts";

/**
 * Makes random models of four families twice: as transformers names and orders them (safetensors), and as llama.cpp's
 * converter writes them, with its reshapes in NumPy and its own table of names.
 */
const CONVERT = `
import sys, numpy as np, gguf
from safetensors.numpy import save_file
folder = sys.argv[1]
rng = np.random.default_rng(5)
def permute(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
def split_qkv(w, heads, kv, hd):
    g = w.reshape(kv, heads // kv + 2, hd, *w.shape[1:])
    q, k, v = g[:, :-2], g[:, -2:-1], g[:, -1:]
    return np.concatenate([x.reshape(-1, *w.shape[1:]) for x in (q, k, v)])
def make(name, arch, tensors, change, metadata):
    hf = {n: rng.standard_normal(s).astype(np.float32) for n, s in tensors.items()}
    save_file(hf, f"{folder}/{name}.safetensors")
    w = gguf.GGUFWriter(f"{folder}/{name}.gguf", gguf.MODEL_ARCH_NAMES[arch])
    metadata(w)
    names = gguf.get_tensor_name_map(arch, 2)
    for n, t in hf.items():
        stem, suffix = n.rsplit(".", 1)
        new = names.get_name(stem) or names.get_name(stem.removeprefix("transformer."))
        t = change(n, t)
        kind = gguf.GGMLQuantizationType.Q8_0 if name == "llama" and "proj" in n and t.ndim == 2 else None
        data = gguf.quants.quantize(t, kind) if kind else t
        if kind: hf[n] = None
        w.add_tensor(f"{new}.{suffix}", data, raw_dtype=kind)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()

def llama_like(bias, head):
    t = {"model.embed_tokens.weight": (10, 64), "model.norm.weight": (64,)}
    if head: t["lm_head.weight"] = (10, 64)
    for i in range(2):
        b = f"model.layers.{i}."
        t |= {b + "input_layernorm.weight": (64,), b + "post_attention_layernorm.weight": (64,)}
        for n, s in (("q", 64), ("k", 32), ("v", 32), ("o", 64)):
            t[b + f"self_attn.{n}_proj.weight"] = (s, 64)
            if bias and n != "o": t[b + f"self_attn.{n}_proj.bias"] = (s,)
        t |= {b + "mlp.gate_proj.weight": (96, 64), b + "mlp.up_proj.weight": (96, 64), b + "mlp.down_proj.weight": (64, 96)}
    return t
def llama_keys(w):
    w.add_block_count(2); w.add_embedding_length(64); w.add_feed_forward_length(96); w.add_context_length(128)
    w.add_head_count(4); w.add_head_count_kv(2); w.add_rope_freq_base(50000.0); w.add_layer_norm_rms_eps(1e-6)
def unrotate(n, t):
    return permute(t, 4) if ".q_proj" in n else permute(t, 2) if ".k_proj" in n else t
A = gguf.MODEL_ARCH
make("llama", A.LLAMA, llama_like(False, False), unrotate, lambda w: (llama_keys(w), w.add_rope_dimension_count(16), w.add_bos_token_id(1)))
make("bias", A.LLAMA, llama_like(True, True), unrotate, lambda w: (llama_keys(w), w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), w.add_rope_scaling_factor(4.0)))
make("qwen2", A.QWEN2, llama_like(True, True), lambda n, t: t, llama_keys)

def gpt(prefix_norms, qkv, bias, extra):
    t = {"transformer.word_embeddings.weight": (10, 64), "transformer.ln_f.weight": (64,), "transformer.ln_f.bias": (64,)} | extra
    for i in range(2):
        b = f"transformer.h.{i}."
        for n in prefix_norms: t |= {b + n + ".weight": (64,), b + n + ".bias": (64,)}
        for n, s in (("self_attention.query_key_value", (qkv, 64)), ("self_attention.dense", (64, 64)), ("mlp.dense_h_to_4h", (256, 64)), ("mlp.dense_4h_to_h", (64, 256))):
            t[b + n + ".weight"] = s
            if bias: t[b + n + ".bias"] = (s[0],)
    return t
def split(kv):
    return lambda n, t: split_qkv(t, 4, kv, 16) if "query_key_value" in n else t
def gpt_keys(kv):
    def f(w):
        w.add_block_count(2); w.add_embedding_length(64); w.add_feed_forward_length(256); w.add_context_length(128)
        w.add_head_count(4); w.add_head_count_kv(kv); w.add_layer_norm_eps(1e-5)
    return f
make("bloom", A.BLOOM, gpt(["input_layernorm", "post_attention_layernorm"], 192, True, {"transformer.word_embeddings_layernorm.weight": (64,), "transformer.word_embeddings_layernorm.bias": (64,)}), split(4), gpt_keys(4))
make("falcon", A.FALCON, gpt(["input_layernorm"], 96, False, {}), split(1), gpt_keys(1))
make("falcon2", A.FALCON, gpt(["ln_attn", "ln_mlp"], 128, False, {}), split(2), gpt_keys(2))
`;

Deno.test("openGgufModel() gives the names, rows and config that llama.cpp's converter started from", async () => {
  await inTempFolder(async (folder) => {
    await runPython(CONVERT, folder);
    const expectedConfig: Record<string, Record<string, unknown>> = {
      llama: {
        model_type: "llama",
        head_dim: 16,
        num_key_value_heads: 2,
        rope_theta: 50000,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: true,
        attention_bias: false,
        vocab_size: 10,
        intermediate_size: 96,
        bos_token_id: 1,
        rope_scaling: null,
      },
      bias: {
        model_type: "llama",
        tie_word_embeddings: false,
        attention_bias: true,
        rope_scaling: { rope_type: "linear", factor: 4 },
      },
      qwen2: { model_type: "qwen2", tie_word_embeddings: false, num_attention_heads: 4, max_position_embeddings: 128 },
      bloom: {
        model_type: "bloom",
        n_head: 4,
        n_layer: 2,
        hidden_size: 64,
        layer_norm_epsilon: 1e-5,
        tie_word_embeddings: true,
      },
      falcon: {
        model_type: "falcon",
        new_decoder_architecture: false,
        multi_query: true,
        num_kv_heads: 1,
        num_ln_in_parallel_attn: null,
        ffn_hidden_size: 256,
        bias: false,
      },
      falcon2: { model_type: "falcon", new_decoder_architecture: true, num_kv_heads: 2, num_ln_in_parallel_attn: 2 },
    };
    for (const [name, config] of Object.entries(expectedConfig)) {
      const model = await openGgufModel(`${folder}/${name}.gguf`),
        original = openSafetensors(`${folder}/${name}.safetensors`);
      assert.deepEqual([...model.source.tensors.keys()].sort(), [...original.tensors.keys()].sort(), name);
      for (const tensor of original.tensors.keys()) {
        const ours = await model.source.read(tensor), theirs = await original.read(tensor);
        assert.deepEqual(ours.shape, theirs.shape, `${name} ${tensor}`);
        const quantized = model.source.tensors.get(tensor)!.dtype === "Q8_0";
        assert.equal(quantized, name === "llama" && tensor.includes("proj"));
        // Q8_0 steps are max|w| / 127 of a group of 32 normal numbers: below 0.04; a wrong row is off by 1.
        const worst = ours.data.reduce((m, v, i) => Math.max(m, Math.abs(v - theirs.data[i])), 0);
        assert.ok(worst <= (quantized ? 0.02 : 0), `${name} ${tensor}: ${worst}`);
      }
      for (const [field, value] of Object.entries(config)) {
        assert.deepEqual(model.config[field], value, `${name} ${field}`);
      }
      assert.equal(model.note, name === "llama" ? "its linears are stored as Q8_0 in groups of 32" : "");
      model.source.close();
      original.close();
    }
  });
});

const f32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const vector = (name: string, n: number): TensorBytes => ({ name, dims: [n], type: 0, data: new Uint8Array(4 * n) });
const embedding: TensorBytes = { name: "token_embd.weight", dims: [4, 3], type: 0, data: new Uint8Array(48) };

/** Keys of a llama of one block, 4 wide, 2 heads of 2; `change` replaces or removes some. */
function keys(change: Record<string, Parameters<typeof key>[1] | null> = {}) {
  const all: Record<string, Parameters<typeof key>[1] | null> = {
    "general.architecture": "llama",
    "llama.block_count": { u32: 1 },
    "llama.embedding_length": { u32: 4 },
    "llama.feed_forward_length": { u32: 4 },
    "llama.context_length": { u32: 8 },
    "llama.attention.head_count": { u32: 2 },
    "llama.attention.layer_norm_rms_epsilon": { f32: 1e-5 },
    ...change,
  };
  return Object.entries(all).flatMap(([name, value]) => value === null ? [] : [key(name, value)]);
}

const model = (change: Parameters<typeof keys>[0] = {}, tensors: TensorBytes[] = [embedding]) =>
  ggufModel(readGguf(openMemory("m.gguf", ggufBytes(keys(change), tensors))));

Deno.test("ggufModel() names the metadata or tensor that does not fit", async () => {
  const refusals: [Parameters<typeof keys>[0], TensorBytes[], RegExp][] = [
    [
      { "general.architecture": "mamba" },
      [embedding],
      /m.gguf: is of the architecture "mamba"\. The lab reads GGUF of llama, /,
    ],
    [{ "general.architecture": { u32: 1 } }, [embedding], /no text "general.architecture"/],
    [{ "llama.block_count": null }, [embedding], /lacks "llama.block_count"/],
    [{ "llama.attention.head_count": Int32Array.of(2) }, [embedding], /"llama.attention.head_count" is a list/],
    [{ "llama.attention.head_count_kv": { u32: 3 } }, [embedding], /2 query heads do not share 3 key heads/],
    [{ "llama.attention.layer_norm_rms_epsilon": { f32: 0 } }, [embedding], /is 0, expected a positive number/],
    [{ "llama.rope.dimension_count": { u32: 1 } }, [embedding], /heads of 1 with values of 1 and 1 rotated/],
    [{ "llama.rope.scaling.type": "yarn" }, [embedding], /rotary scaling "yarn" is not supported/],
    [{}, [], /has no tensor "token_embd.weight"/],
    [{}, [embedding, vector("blk.0.ffn_gate_inp.weight", 4)], /tensor "blk.0.ffn_gate_inp.weight" has no place/],
    [
      {},
      [embedding, vector("blk.1.attn_norm.weight", 4)],
      /"blk.1.attn_norm.weight" has no place in a llama model of 1 blocks/,
    ],
    [{}, [embedding, vector("blk.00.attn_norm.weight", 4)], /has no place/],
    [{}, [embedding, vector("constructor.weight", 4)], /has no place/],
    [{}, [embedding, vector("blk.0.attn_q.bias", 3)], /"blk.0.attn_q.bias" has 3 rows, its heads have 4/],
    [
      {},
      [embedding, { name: "rope_freqs.weight", dims: [1], type: 0, data: f32(3) }],
      /divisors "rope_freqs.weight" follow no rule/,
    ],
  ];
  for (const [change, tensors, message] of refusals) {
    await assert.rejects(model(change, tensors), (e) => e instanceof LabError && message.test(e.message), `${message}`);
  }
  await assert.rejects((await model()).source.read("lm_head.weight"), /m.gguf: has no tensor "lm_head.weight"/);
});

Deno.test("ggufModel() finds the rotary scaling of Llama 3.1 behind the divisors that llama.cpp stores", async () => {
  const dim = 64, theta = 500000, factor = 32;
  // transformers' rule for low 1, high 4, original length 8192 (modeling_rope_utils), in wavelengths as it is written there
  const divisors = Array.from({ length: dim / 2 }, (_, i) => {
    const wave = 2 * Math.PI * theta ** (2 * i / dim);
    if (wave < 8192 / 4) return 1;
    if (wave > 8192) return factor;
    const smooth = (8192 / wave - 1) / (4 - 1);
    return 1 / ((1 - smooth) / factor + smooth);
  });
  assert.ok(divisors.some((d) => d > 1 && d < factor));
  const freqs: TensorBytes = { name: "rope_freqs.weight", dims: [dim / 2], type: 0, data: f32(...divisors) };
  const change = { "llama.embedding_length": { u32: 128 }, "llama.rope.freq_base": { f32: theta } };
  const { config, source } = await model(change, [embedding, freqs]);
  const scaling = {
    rope_type: "llama3",
    factor,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  assert.deepEqual(config.rope_scaling, scaling);
  assert.deepEqual(config.rope_parameters, { rope_theta: theta, ...scaling });
  assert.deepEqual([...source.tensors.keys()], ["model.embed_tokens.weight"]);
  const ones: TensorBytes = { ...freqs, data: f32(...divisors.map(() => 1)) };
  assert.equal((await model(change, [embedding, ones])).config.rope_scaling, null);
});

Deno.test("ggufModel() counts the types of linears in its note", async () => {
  const q8 = (name: string): TensorBytes => ({ name, dims: [32, 1], type: 8, data: new Uint8Array(34) });
  const k = (name: string): TensorBytes => ({ name, dims: [256, 1], type: 14, data: new Uint8Array(210) });
  const names = ["ffn_up", "ffn_gate", "ffn_down"].map((stem) => `blk.0.${stem}.weight`);
  const { note } = await model({}, [embedding, q8(names[0]), q8(names[1]), k(names[2]), q8("output.weight")]);
  assert.equal(note, "its linears are stored as Q8_0 in groups of 32 (2 of them), Q6_K in blocks of 256 (1 of them)");
});
