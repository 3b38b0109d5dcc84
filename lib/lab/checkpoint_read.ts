// Checkpoints of GPTQ and compressed-tensors as ordinary models: each linear's tensors are read when it is asked for and
// dequantized on the way, or handed over as codes.
import { decodeInts, DTYPES } from "../io/dtype.ts";
import { LabError } from "../io/errors.ts";
import type { ModelFiles } from "../io/open_model.ts";
import { missingTensor } from "../io/safetensors.ts";
import type { TensorInfo, TensorSource } from "../io/source.ts";
import { fromCompressed } from "../quant/compressed_layout.ts";
import { dequantize } from "../quant/dequantize.ts";
import { fromGptq } from "../quant/gptq_layout.ts";
import type { QuantizedLayer } from "../quant/layer.ts";
import { type CheckpointScheme, readScheme } from "./checkpoint_config.ts";

/** A quantized checkpoint, opened. */
export interface Checkpoint {
  /** The model as any other: weights dequantized as they are read, no quantization_config in its configuration. */
  readonly files: ModelFiles;
  readonly scheme: CheckpointScheme;
  /** Names of the quantized linears, without ".weight". */
  readonly linears: readonly string[];
  /** One linear's codes and grid. Throws LabError where its tensors do not fit. */
  layer(name: string): Promise<QuantizedLayer>;
}

/** Endings of a linear's tensors; the first is the codes. */
const PARTS = {
  gptq: ["qweight", "qzeros", "scales", "g_idx"],
  "compressed-tensors": ["weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"],
} as const;

/**
 * Opens a checkpoint whose configuration says that it is quantized.
 *
 * @param raw the model as lib/io opened it; `files.source.close` closes it.
 * @returns the model with its codes and, dequantized, its weights (out, in) in float32.
 * @throws LabError "input" for what the lab does not read, "format" where tensors are missing or do not fit each other.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openModel } from "../io/open_model.ts";
 * import { openCheckpoint } from "./checkpoint_read.ts";
 * const plain = await openModel("fixture"), config = { ...plain.config, quantization_config: { quant_method: "gptq", bits: 4 } };
 * await assert.rejects(openCheckpoint({ ...plain, config }), /is called gptq, but no tensor is named …\.qweight/);
 * plain.source.close();
 * ```
 */
export async function openCheckpoint(raw: ModelFiles): Promise<Checkpoint> {
  const { quantization_config: said, ...config } = raw.config;
  const scheme = readScheme(raw.label, said), parts = PARTS[scheme.format === "gptq-v2" ? "gptq" : scheme.format];
  const ending = `.${parts[0]}`, { source } = raw;
  const linears = [...source.tensors.keys()].filter((n) => n.endsWith(ending)).map((n) => n.slice(0, -ending.length));
  if (linears.length === 0) {
    const problem = `is called ${scheme.format}, but no tensor is named …${ending}`;
    throw new LabError("format", raw.label, problem, "Its configuration does not belong to these weights.");
  }
  const read = partReader(source), shapes = new Map<string, Shape>();
  for (const name of linears) shapes.set(name, await shapeOf(name, scheme, read));
  const layer = (name: string) => {
    const shape = shapes.get(name);
    if (!shape) throw missingTensor(source.label, `${name}${ending}`, source.tensors.keys());
    return scheme.format === "compressed-tensors"
      ? compressedLayer(name, shape, scheme, read)
      : gptqLayer(name, shape, scheme, read);
  };
  const files: ModelFiles = {
    ...raw,
    config,
    source: dequantizedSource(source, shapes, parts, layer),
    companions: async () => ({ ...await raw.companions(), "config.json": `${JSON.stringify(config, null, 2)}\n` }),
    note: [raw.note, describe(scheme, linears), scheme.note].filter(Boolean).join("; "),
  };
  return { files, scheme, linears, layer };
}

function describe(scheme: CheckpointScheme, linears: readonly string[]): string {
  const label = { gptq: "GPTQ", "gptq-v2": "GPTQ v2", "compressed-tensors": "compressed-tensors" }[scheme.format];
  const kinds = new Set(linears.map((name) => {
    const { bits, groupSize } = scheme.schemeOf(name);
    return `${bits} bits${groupSize > 0 ? ` in groups of ${groupSize}` : ""}`;
  }));
  return `its linears are stored as ${label}, ${[...kinds].join(" and ")}`;
}

interface Shape {
  readonly rows: number;
  readonly cols: number;
}

/** Reading by name and kind, with a sentence where a tensor is missing or of another kind. */
interface PartReader {
  has(name: string): boolean;
  info(name: string): TensorInfo;
  /** Also checks the number of dimensions. */
  ints(name: string, rank: number): Promise<Int32Array<ArrayBuffer>>;
  floats(name: string): Promise<{ data: QuantizedLayer["scale"]; scaleBits: 16 | 32 }>;
}

function partReader(source: TensorSource): PartReader {
  const info = (name: string) => {
    const found = source.tensors.get(name);
    if (!found) throw missingTensor(source.label, name, source.tensors.keys());
    return found;
  };
  const fail = (name: string, problem: string): never => {
    throw new LabError("format", `${source.label}: ${name}`, problem, "It is no such checkpoint, or damaged.");
  };
  return {
    has: (name) => source.tensors.has(name),
    info,
    ints: async (name, rank) => {
      const { dtype, shape } = info(name), type = DTYPES.get(dtype);
      if (!type?.range) return fail(name, `holds ${dtype} where integers were expected`);
      if (rank === 2 && dtype !== "I32") fail(name, `holds ${dtype} where packed words (I32) were expected`);
      if (shape.length !== rank) fail(name, `has shape [${shape.join(", ")}], expected ${rank} dimensions`);
      const data = decodeInts(type, await source.readBytes(name));
      return typeof data === "number" ? fail(name, `its value at index ${data} does not fit in 32 bits`) : data;
    },
    floats: async (name) => {
      const { dtype } = info(name);
      if (!["F16", "BF16", "F32"].includes(dtype)) fail(name, `holds ${dtype} where scales were expected`);
      return { data: (await source.read(name)).data, scaleBits: dtype === "F16" ? 16 : 32 };
    },
  };
}

/** (out, in) of a linear, from the shapes that its tensors declare; they must agree. */
async function shapeOf(name: string, scheme: CheckpointScheme, read: PartReader): Promise<Shape> {
  const { bits } = scheme.schemeOf(name), compressed = scheme.format === "compressed-tensors";
  const codes = read.info(`${name}.${compressed ? "weight_packed" : "qweight"}`), stated = `${name}.weight_shape`;
  if (codes.shape.length !== 2) {
    throw new LabError("format", codes.name, `has shape [${codes.shape.join(", ")}], expected two dimensions`);
  }
  const [first, second] = codes.shape;
  if (!compressed) {
    const map = `${name}.g_idx`, cols = read.has(map) ? read.info(map).shape[0] ?? 0 : Math.floor(first * 32 / bits);
    if (!read.has(map) && scheme.schemeOf(name).actOrder) {
      throw new LabError(
        "format",
        name,
        "has no g_idx, though its columns were reordered (desc_act)",
        "Fetch it again.",
      );
    }
    return { rows: second, cols };
  }
  const shape = await read.ints(stated, 1), [rows, cols] = shape;
  if (shape.length !== 2 || rows !== first || cols < 1) {
    const problem = `says [${shape.join(", ")}], the codes have ${first} rows`;
    throw new LabError("format", stated, problem, "Fetch the checkpoint again.");
  }
  return { rows, cols };
}

async function gptqLayer(name: string, shape: Shape, scheme: CheckpointScheme, read: PartReader) {
  const { bits, groupSize, symmetric } = scheme.schemeOf(name),
    { data, scaleBits } = await read.floats(`${name}.scales`);
  const tensors = {
    qweight: await read.ints(`${name}.qweight`, 2),
    qzeros: await read.ints(`${name}.qzeros`, 2),
    scales: data,
    gIdx: read.has(`${name}.g_idx`) ? await read.ints(`${name}.g_idx`, 1) : null,
  };
  const arithmetic = /gptqmodel/i.test(scheme.producer) ? "words" : "fields";
  const version = scheme.format === "gptq" ? 1 : 2;
  return fromGptq(tensors, { name, ...shape, bits, groupSize, symmetric }, version, scaleBits, arithmetic);
}

async function compressedLayer(name: string, shape: Shape, scheme: CheckpointScheme, read: PartReader) {
  const { bits, groupSize, symmetric, actOrder } = scheme.schemeOf(name),
    optional = async (part: string, rank: number) =>
      read.has(`${name}.${part}`) ? await read.ints(`${name}.${part}`, rank) : null;
  const { data, scaleBits } = await read.floats(`${name}.weight_scale`), gIdx = await optional("weight_g_idx", 1);
  if (actOrder && groupSize > 0 && !gIdx) {
    throw new LabError("format", name, "has no weight_g_idx, though its columns were reordered", "Fetch it again.");
  }
  return fromCompressed(
    {
      packed: await read.ints(`${name}.weight_packed`, 2),
      scale: data,
      zeroPoint: await optional("weight_zero_point", 2),
      // −1 everywhere is how readers before 0.19 wrote "no map"
      gIdx: gIdx?.every((g) => g === -1) ? null : gIdx,
    },
    { name, ...shape, bits, groupSize, symmetric },
    scaleBits,
  );
}

/** The checkpoint's tensors under their ordinary names. */
function dequantizedSource(
  source: TensorSource,
  shapes: ReadonlyMap<string, Shape>,
  parts: readonly string[],
  layer: (name: string) => Promise<QuantizedLayer>,
): TensorSource {
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of source.tensors) {
    const part = parts.find((p) => name.endsWith(`.${p}`));
    if (!part || !shapes.has(name.slice(0, -part.length - 1))) tensors.set(name, info);
  }
  for (const [linear, { rows, cols }] of shapes) {
    const name = `${linear}.weight`;
    tensors.set(name, { name, dtype: "F32", shape: [rows, cols], bytes: rows * cols * 4 });
  }
  const linearOf = (name: string) => {
    const linear = name.replace(/\.weight$/, "");
    return linear !== name && shapes.has(linear) ? linear : null;
  };
  const read = async (name: string) => {
    const linear = linearOf(name);
    if (linear === null) return await source.read(name);
    const w = dequantize(await layer(linear));
    return { data: w.data, shape: [w.rows, w.cols] };
  };
  return {
    label: source.label,
    tensors,
    read,
    readBytes: async (name) =>
      linearOf(name) === null ? await source.readBytes(name) : new Uint8Array((await read(name)).data.buffer),
    sha256: () => source.sha256(),
    close: () => source.close(),
  };
}
