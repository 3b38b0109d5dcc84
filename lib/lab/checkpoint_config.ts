// What quantization_config says: of GPTQ checkpoints (AutoGPTQ, GPTQModel, optimum) and of compressed-tensors, read and written.
import { LabError } from "../io/errors.ts";
import { LAYOUT_BITS } from "../quant/layout.ts";

/** Formats of other tools that hold the lab's codes unchanged. */
export const CHECKPOINT_FORMATS = ["gptq", "gptq-v2", "compressed-tensors"] as const;
/** One of {@link CHECKPOINT_FORMATS}. */
export type CheckpointFormat = typeof CHECKPOINT_FORMATS[number];

/** How one linear is stored. */
export interface LinearScheme {
  readonly bits: number;
  /** 0: one scale a row. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  /** The map of groups decides which column has which scale. */
  readonly actOrder: boolean;
}

/** A checkpoint's configuration, understood. */
export interface CheckpointScheme {
  readonly format: CheckpointFormat;
  /** The tool that wrote it, as it says; "" where it does not. */
  readonly producer: string;
  /** What else a reader must know, or "". */
  readonly note: string;
  /** Of a linear by its tensor's name without ".weight". Throws LabError where the configuration leaves it out. */
  schemeOf(name: string): LinearScheme;
}

type Json = Readonly<Record<string, unknown>>;

const isObject = (x: unknown): x is Json => typeof x === "object" && x !== null && !Array.isArray(x);

/**
 * Understands a quantization_config.
 *
 * @param thing the file, for messages. @param config as parsed.
 * @throws LabError "input" for methods and variants that the lab does not read (they are named), "format" where a field is
 *   missing or of the wrong type.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readScheme } from "./checkpoint_config.ts";
 * const scheme = readScheme("config.json", { quant_method: "gptq", bits: 4, group_size: 128, desc_act: false, sym: true });
 * assert.equal(scheme.format, "gptq");
 * assert.deepEqual(scheme.schemeOf("q"), { bits: 4, groupSize: 128, symmetric: true, actOrder: false });
 * assert.throws(() => readScheme("config.json", { quant_method: "awq" }), /awq/);
 * ```
 */
export function readScheme(thing: string, config: unknown): CheckpointScheme {
  if (!isObject(config)) throw new LabError("format", thing, "its quantization_config is no object");
  const method = config.quant_method;
  if (method === "gptq") return readGptq(thing, config);
  if (method === "compressed-tensors") return readCompressed(thing, config);
  const hint = "The lab reads gptq and compressed-tensors. Otherwise give the model it was made from.";
  throw new LabError("input", thing, `its weights are quantized by ${JSON.stringify(method ?? "?")}`, hint);
}

function bitsOf(thing: string, value: unknown): number {
  if (typeof value === "number" && LAYOUT_BITS.includes(value)) return value;
  const problem = `its codes have ${JSON.stringify(value)} bits`;
  throw new LabError("input", thing, problem, `The lab reads ${LAYOUT_BITS.join(", ")}.`);
}

function groupSizeOf(thing: string, value: unknown): number {
  if (value === undefined || value === null || value === -1) return 0;
  if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
  throw new LabError(
    "format",
    thing,
    `its group size is ${JSON.stringify(value)}`,
    "Expected -1 or a positive integer.",
  );
}

function flagOf(thing: string, config: Json, key: string, fallback: boolean): boolean {
  const value = config[key] ?? fallback;
  if (typeof value === "boolean") return value;
  throw new LabError("format", thing, `its "${key}" is ${JSON.stringify(value)}, expected true or false`);
}

/** A pattern of Python's `re.match`: it must fit from the first letter on. */
function pattern(thing: string, source: string): RegExp {
  try {
    return new RegExp(`^(?:${source})`);
  } catch (cause) {
    throw new LabError("input", thing, `its pattern "${source}" is none the lab understands`, "", { cause });
  }
}

// GPTQ

function readGptq(thing: string, config: Json): CheckpointScheme {
  const stored = String(config.checkpoint_format ?? config.format ?? "gptq").toLowerCase();
  const packing = config.is_marlin_format === true ? "marlin" : stored;
  if (packing !== "gptq" && packing !== "gptq_v2") {
    const hint = "The lab reads the formats gptq and gptq_v2.";
    throw new LabError("input", thing, `its GPTQ weights are in the format "${packing}"`, hint);
  }
  const words = config.pack_dtype ?? "int32";
  if (words !== "int32") {
    throw new LabError("input", thing, `its codes are packed into ${JSON.stringify(words)}, not int32`);
  }
  const own = (c: Json): LinearScheme => ({
    bits: bitsOf(thing, c.bits),
    groupSize: groupSizeOf(thing, c.group_size),
    symmetric: flagOf(thing, c, "sym", true),
    actOrder: flagOf(thing, c, "desc_act", false),
  });
  const scheme = own(config), dynamic = isObject(config.dynamic) ? config.dynamic : {};
  const rules = Object.entries(dynamic).filter(([key]) => !key.startsWith("-:")).map(([key, value]) => ({
    matches: pattern(thing, key.replace(/^\+:/, "")),
    scheme: own({ ...config, ...(isObject(value) ? value : {}) }),
  }));
  const meta = isObject(config.meta) ? config.meta : {};
  return {
    format: packing === "gptq" ? "gptq" : "gptq-v2",
    producer: [meta.quantizer ?? ""].flat().join(", "),
    note: "",
    schemeOf: (name) => rules.find((r) => r.matches.test(name))?.scheme ?? scheme,
  };
}

/** What an export says of itself. */
export interface SchemeToWrite {
  readonly format: CheckpointFormat;
  readonly scheme: LinearScheme;
  readonly version: string;
  /** Linear layers that keep their plain weights, by tensor name. */
  readonly plain: readonly string[];
  /** Where the same linears of each block are quantized: their names inside a block, else null. */
  readonly inEachBlock: readonly string[] | null;
  /** The head's name where it is quantized too. */
  readonly head: boolean;
}

/**
 * The quantization_config of an export; for GPTQ it is also what quantize_config.json says.
 *
 * @param w what is stored how.
 * @returns plain JSON.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readScheme, writeScheme } from "./checkpoint_config.ts";
 * const scheme = { bits: 3, groupSize: 0, symmetric: false, actOrder: false };
 * const json = writeScheme({ format: "gptq-v2", scheme, version: "1", plain: [], inEachBlock: null, head: false });
 * assert.equal(json.checkpoint_format, "gptq_v2");
 * assert.deepEqual(readScheme("it", json).schemeOf("q"), scheme);
 * ```
 */
export function writeScheme(w: SchemeToWrite): Record<string, unknown> {
  const { bits, groupSize, symmetric, actOrder } = w.scheme, size = groupSize > 0 ? groupSize : -1;
  if (w.format === "compressed-tensors") {
    const weights: Record<string, unknown> = {
      num_bits: bits,
      type: "int",
      symmetric,
      strategy: groupSize > 0 ? "group" : "channel",
      group_size: groupSize > 0 ? groupSize : null,
      dynamic: false,
    };
    if (actOrder) weights.actorder = "group";
    const group = { targets: ["Linear"], weights, input_activations: null, output_activations: null };
    return {
      quant_method: "compressed-tensors",
      format: "pack-quantized",
      quantization_status: "compressed",
      config_groups: { group_0: group },
      ignore: [...w.plain],
      kv_cache_scheme: null,
      global_compression_ratio: null,
    };
  }
  const format = w.format === "gptq" ? "gptq" : "gptq_v2", skip = w.plain.filter((name) => /\.\d+\./.test(name));
  return {
    quant_method: "gptq",
    checkpoint_format: format,
    format,
    bits,
    group_size: size,
    desc_act: actOrder,
    sym: symmetric,
    lm_head: w.head,
    pack_dtype: "int32",
    // GPTQModel and vLLM read `dynamic`, optimum and transformers the list of modules
    ...(skip.length > 0 ? { dynamic: Object.fromEntries(skip.map((name) => [`-:^${escapeName(name)}$`, {}])) } : {}),
    ...(skip.length > 0 && w.inEachBlock ? { modules_in_block_to_quantize: [[...w.inEachBlock]] } : {}),
    meta: { quantizer: [`owq-lab:${w.version}`] },
  };
}

const escapeName = (name: string) => name.replace(/[.\\+*?^$()[\]{}|]/g, "\\$&");

// compressed-tensors

function readCompressed(thing: string, config: Json): CheckpointScheme {
  const refuse = (problem: string): never => {
    throw new LabError("input", thing, problem, "The lab reads the format pack-quantized with integer weights.");
  };
  const formats = new Set(["pack-quantized", "mixed-precision"]), format = config.format ?? "pack-quantized";
  if (!formats.has(String(format))) {
    refuse(`its compressed-tensors weights are in the format ${JSON.stringify(format)}`);
  }
  const sparsity = isObject(config.sparsity_config) ? config.sparsity_config.format ?? "dense" : "dense";
  if (sparsity !== "dense") refuse(`its weights are sparse (${JSON.stringify(sparsity)})`);
  const transforms = isObject(config.transform_config) ? config.transform_config.config_groups : undefined;
  if (isObject(transforms) && Object.keys(transforms).length > 0) refuse("its weights are rotated (transform_config)");
  if (!isObject(config.config_groups)) {
    throw new LabError("format", thing, "its quantization_config has no config_groups");
  }
  const groups = Object.entries(config.config_groups).map(([key, value]) => readGroup(`${thing}: ${key}`, value));
  const active = groups.some((g) => g.activations);
  return {
    format: "compressed-tensors",
    producer: typeof config.version === "string" ? `compressed-tensors ${config.version}` : "",
    note: active ? "its authors quantize activations too, which the lab leaves in float" : "",
    schemeOf: (name) => {
      const found = groups.find((g) => g.targets.includes(name)) ??
        groups.find((g) => g.patterns.some((p) => p.test(name))) ?? groups.find((g) => g.targets.includes("Linear"));
      if (!found) throw new LabError("format", thing, `no group of its quantization_config targets ${name}`);
      return found.scheme();
    },
  };
}

function readGroup(thing: string, value: unknown) {
  if (!isObject(value) || !Array.isArray(value.targets)) throw new LabError("format", thing, "has no list of targets");
  const targets = value.targets.map(String), weights = value.weights;
  const refuse = (problem: string): never => {
    throw new LabError("input", thing, problem, "The lab reads integer weights with a scale a row or a group.");
  };
  return {
    targets,
    patterns: targets.filter((t) => t.startsWith("re:")).map((t) => pattern(thing, t.slice(3))),
    activations: isObject(value.input_activations),
    scheme: (): LinearScheme => {
      if (!isObject(weights)) return refuse("says nothing of weights");
      if ((weights.type ?? "int") !== "int") refuse(`its weights are of type ${JSON.stringify(weights.type)}`);
      const groupSize = groupSizeOf(thing, weights.group_size);
      const strategy = weights.strategy ?? (groupSize > 0 ? "group" : weights.group_size === -1 ? "channel" : "tensor");
      if (strategy !== "group" && strategy !== "channel") refuse(`its weights have one scale a ${strategy}`);
      if ((strategy === "group") !== (groupSize > 0)) {
        throw new LabError("format", thing, `strategy "${strategy}" with group size ${weights.group_size}`);
      }
      const order = weights.actorder;
      return {
        bits: bitsOf(thing, weights.num_bits ?? 8),
        groupSize,
        symmetric: flagOf(thing, weights, "symmetric", true),
        actOrder: order === true || order === "group" || order === "dynamic",
      };
    },
  };
}
