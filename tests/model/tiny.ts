// The tiny models of fixtures/golden/models, opened for tests; and changed ones.
import { join } from "node:path";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { openShardedSafetensors } from "../../lib/io/safetensors_index.ts";
import type { TensorSource } from "../../lib/io/source.ts";
import type { Tensor } from "../../lib/io/tensor.ts";
import { rng } from "../../lib/io/rng.ts";
import { modelConfig } from "../../lib/model/families.ts";
import { parameterShapes } from "../../lib/model/forward.ts";
import type { ModelInput } from "../../lib/model/language_model.ts";

const models = new URL("../../fixtures/golden/models/", import.meta.url).pathname;

/** A family's tiny model. */
export function tinyModel(family: string): ModelInput {
  const folder = join(models, family), one = join(folder, "model.safetensors");
  const config = JSON.parse(Deno.readTextFileSync(join(folder, "config.json")));
  let source: TensorSource;
  try {
    source = openSafetensors(one);
  } catch {
    source = openShardedSafetensors(folder);
  }
  return { label: family, config, source };
}

/** A source of tensors in memory. */
export function memorySource(tensors: ReadonlyMap<string, Tensor>): TensorSource {
  const infos = [...tensors].map(([name, t]) =>
    [name, { name, dtype: "F32", shape: t.shape, bytes: 4 * t.data.length }] as const
  );
  return {
    label: "memory",
    tensors: new Map(infos),
    read: (name) => Promise.resolve({ data: tensors.get(name)!.data.slice(), shape: tensors.get(name)!.shape }),
    readBytes: () => Promise.reject(new Error("not here")),
    sha256: () => Promise.resolve(""),
    close: () => {},
  };
}

/** A model of any config with random weights (norms near one), for what has no golden file. */
export function randomModel(config: Record<string, unknown>, seed = 1): ModelInput & { tensors: Map<string, Tensor> } {
  const random = rng(seed, "weights"), tensors = new Map<string, Tensor>();
  for (const [name, shape] of parameterShapes(modelConfig(config))) {
    const size = shape.reduce((a, b) => a * b, 1), gain = shape.length === 1 && name.endsWith("weight") ? 1 : 0;
    const scale = shape.length === 1 ? 0.1 : 1 / Math.sqrt(shape[1]);
    tensors.set(name, { data: Float32Array.from({ length: size }, () => gain + scale * random.normal()), shape });
  }
  return { label: "random", config, source: memorySource(tensors), tensors };
}

/** Token ids 0 … vocab − 1, at random. */
export function randomIds(count: number, vocab: number, seed = 1): Int32Array<ArrayBuffer> {
  const random = rng(seed, "ids");
  return Int32Array.from({ length: count }, () => random.int(vocab));
}

/** A LLaMA of so many blocks with random weights: 64 tokens, width 32. */
export function smallLlama(blocks: number): ReturnType<typeof randomModel> {
  return randomModel({
    model_type: "llama",
    vocab_size: 64,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: blocks,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
  });
}
