// What a forward pass must know about a model, whichever family it comes from, and careful reading of config.json.
import { LabError } from "../io/errors.ts";

/** A parsed config.json. */
export type RawConfig = Readonly<Record<string, unknown>>;

/** How a model knows the order of its tokens. */
export type Positions =
  | { readonly kind: "rotary"; readonly theta: number; readonly scaling: RotaryScaling | null }
  /** A table of learned vectors; position t reads row t + offset. */
  | { readonly kind: "learned"; readonly offset: number }
  /** A bias −slope·distance on the scores; Falcon divides it by √headDim like them, and computes it in bfloat16. */
  | { readonly kind: "alibi"; readonly scaled: boolean; readonly bfloat16: boolean };

/** How rotary frequencies are stretched for contexts longer than the model was first trained on. */
export type RotaryScaling =
  | { readonly kind: "linear"; readonly factor: number }
  | {
    readonly kind: "llama3";
    readonly factor: number;
    readonly lowFactor: number;
    readonly highFactor: number;
    readonly original: number;
  };

/** "gelu" is exact (erf), "gelu-tanh" the approximation by tanh. */
export type Activation = "silu" | "relu" | "gelu" | "gelu-tanh";

/** Where the tensors of a family lie. Inside a block names are relative to `${base}${blocks}.${index}.`. */
export interface TensorNames {
  /** Prefix of everything but the head, such as "model."; files saved from the bare trunk lack it. */
  readonly base: string;
  readonly blocks: string;
  readonly embed: string;
  readonly head: string;
  readonly positions: string | null;
  readonly embedNorm: string | null;
  readonly finalNorm: string | null;
  readonly projectIn: string | null;
  readonly projectOut: string | null;
  readonly norm1: string;
  readonly norm2: string | null;
  /** One name: a fused layer that holds, for each key head, its query heads, the key and the value. Three: q, k, v. */
  readonly qkv: readonly [string] | readonly [string, string, string];
  readonly output: string;
  readonly gate: string | null;
  readonly up: string;
  readonly down: string;
}

/** A linear layer of a block. */
export interface LinearInfo {
  /** Inside the block, such as "self_attn.q_proj". */
  readonly name: string;
  readonly out: number;
  readonly in: number;
  /** Linears with the same input share one Hessian: "attention", "output", "mlp", "down". */
  readonly input: string;
  /** Order under true-sequential quantization. */
  readonly stage: number;
  /** Its share of weak columns (papers.md 1.1 point 4). */
  readonly ratio: number;
  readonly bias: boolean;
}

/** A decoder-only language model, described. */
export interface ModelConfig {
  readonly family: string;
  readonly blocks: number;
  readonly width: number;
  /** Width of the embedding table where it differs from the blocks' (OPT-350M); else `width`. */
  readonly embedWidth: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocab: number;
  /** The longest window; null where nothing limits it. */
  readonly maxPositions: number | null;
  readonly positions: Positions;
  readonly norm: { readonly kind: "rms" | "layer"; readonly eps: number };
  /** Norms follow the residual sums instead of preceding the layers (OPT-350M). */
  readonly normAfter: boolean;
  /** The residual is taken after the norm (a BLOOM option). */
  readonly residualAfterNorm: boolean;
  /** Attention and MLP read the same input and are added together (Falcon). */
  readonly parallel: boolean;
  readonly activation: Activation;
  /** Per block: a query sees this many tokens back, itself included; null: all. */
  readonly windows: readonly (number | null)[];
  readonly tied: boolean;
  readonly names: TensorNames;
  readonly linears: readonly LinearInfo[];
}

const thing = "config.json";

/** The first of `keys` that is present and not null; undefined otherwise. */
export function field(raw: RawConfig, keys: readonly string[]): unknown {
  for (const key of keys) if (raw[key] !== undefined && raw[key] !== null) return raw[key];
  return undefined;
}

/** A positive integer under one of `keys`. @throws LabError when it is absent (and has no fallback) or something else. */
export function integer(raw: RawConfig, keys: readonly string[], fallback?: number): number {
  const value = field(raw, keys) ?? fallback;
  if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
  throw new LabError("input", thing, `"${keys[0]}" is ${JSON.stringify(value)}, expected a positive integer`);
}

/** A positive number under one of `keys`. @throws LabError when it is absent (and has no fallback) or something else. */
export function number(raw: RawConfig, keys: readonly string[], fallback?: number): number {
  const value = field(raw, keys) ?? fallback;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw new LabError("input", thing, `"${keys[0]}" is ${JSON.stringify(value)}, expected a positive number`);
}

/** A switch. @throws LabError when it is neither true nor false. */
export function flag(raw: RawConfig, key: string, fallback: boolean): boolean {
  const value = raw[key] ?? fallback;
  if (typeof value === "boolean") return value;
  throw new LabError("input", thing, `"${key}" is ${JSON.stringify(value)}, expected true or false`);
}

const activations: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  relu: "relu",
  gelu: "gelu",
  gelu_new: "gelu-tanh",
  gelu_pytorch_tanh: "gelu-tanh",
};

/** The activation a config names. @throws LabError when the lab does not have it. */
export function activation(raw: RawConfig, key: string, fallback: string): Activation {
  const name = raw[key] ?? fallback;
  const found = typeof name === "string" && Object.hasOwn(activations, name) ? activations[name] : undefined;
  if (found) return found;
  const known = Object.keys(activations).join(", ");
  throw new LabError("input", thing, `"${key}" is ${JSON.stringify(name)}, and the lab knows ${known}`);
}

/**
 * Rotary settings from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling` (before).
 *
 * @throws LabError for a kind of scaling the lab does not compute.
 */
export function rotary(raw: RawConfig): Positions {
  const nested = raw.rope_parameters ?? raw.rope_scaling ?? {};
  if (typeof nested !== "object") {
    throw new LabError("input", thing, `rotary settings are ${JSON.stringify(nested)}, expected an object`);
  }
  const rope: RawConfig = { rope_theta: raw.rope_theta ?? 10000, ...nested };
  const theta = number(rope, ["rope_theta"]);
  const kind = field(rope, ["rope_type", "type"]) ?? "default";
  if (kind === "default") return { kind: "rotary", theta, scaling: null };
  if (kind === "linear") {
    return { kind: "rotary", theta, scaling: { kind, factor: number(rope, ["factor"]) } };
  }
  if (kind === "llama3") {
    const scaling: RotaryScaling = {
      kind,
      factor: number(rope, ["factor"]),
      lowFactor: number(rope, ["low_freq_factor"]),
      highFactor: number(rope, ["high_freq_factor"]),
      original: integer(rope, ["original_max_position_embeddings"]),
    };
    return { kind: "rotary", theta, scaling };
  }
  throw new LabError(
    "input",
    thing,
    `rotary scaling of type ${JSON.stringify(kind)} is not computed here`,
    "The lab has default, linear and llama3.",
  );
}

/**
 * Per block, how many tokens back a query sees: `sliding_window`, in all blocks or in those that `layer_types` names.
 *
 * @throws LabError when `layer_types` does not fit the number of blocks or names something else than attention.
 */
export function slidingWindows(raw: RawConfig, blocks: number, used: boolean): (number | null)[] {
  const size = used && field(raw, ["sliding_window"]) !== undefined ? integer(raw, ["sliding_window"]) : null;
  const types = raw.layer_types;
  if (types === undefined || types === null) return Array.from({ length: blocks }, () => size);
  if (!Array.isArray(types) || types.length !== blocks) {
    throw new LabError("input", thing, `"layer_types" does not list ${blocks} blocks`);
  }
  return types.map((type) => {
    if (type === "full_attention") return null;
    if (type === "sliding_attention" && size !== null) return size;
    throw new LabError("input", thing, `"layer_types" holds ${JSON.stringify(type)} with sliding_window ${size}`);
  });
}
