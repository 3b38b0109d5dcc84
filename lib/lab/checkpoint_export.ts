// From the lab's packed folder to a checkpoint that other tools load, codes unchanged.
import { join } from "node:path";
import { atomicWriteText, ensureWritableFolder } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import { companionTexts, QUANTIZE_CONFIG, readConfig } from "../io/model_folder.ts";
import { openSafetensors } from "../io/safetensors.ts";
import { type TensorToWrite, writeSafetensors } from "../io/safetensors_write.ts";
import { modelConfig } from "../model/families.ts";
import { toCompressed } from "../quant/compressed_layout.ts";
import { checkGptq, toGptq } from "../quant/gptq_layout.ts";
import type { QuantizedLayer } from "../quant/layer.ts";
import { checkForeign, isSymmetric } from "../quant/layout.ts";
import { type CheckpointFormat, type LinearScheme, writeScheme } from "./checkpoint_config.ts";
import { type PackedIndex, readPackedIndex } from "./open.ts";
import { PACKED_INDEX } from "./packed.ts";
import { openPackedLayers } from "./packed_layers.ts";
import { labVersion } from "./version.ts";

/** What an export did. */
export interface ExportReport {
  readonly format: CheckpointFormat;
  readonly out: string;
  readonly linears: number;
  readonly scheme: LinearScheme;
  readonly scaleBits: 16 | 32;
  /** Largest |stored scale / the lab's scale − 1|: 0 where nothing was rounded. */
  readonly scaleChange: number;
  /** What readers of this file should know: which of them cannot load it. */
  readonly notes: readonly string[];
}

/** How to export. */
export interface ExportOptions {
  readonly out: string;
  readonly format: CheckpointFormat;
  /** Bits of a stored scale; by default 16 for GPTQ (its readers keep f16), and as the lab stores them for compressed-tensors. */
  readonly scaleBits?: 16 | 32;
  /** Linears done, and of how many. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Writes a packed folder as a GPTQ or compressed-tensors checkpoint: model.safetensors with the quantized linears in that
 * format's tensors and everything else as it is stored, config.json with a quantization_config, the tokenizer's files.
 *
 * @param folder a packed folder. @param o where to, and in which format.
 * @returns what was written, and what its readers should know.
 * @throws LabError "input" where the format cannot hold a layer (weak columns above all) or `out` is a packed folder itself;
 *   "numeric" where a scale does not fit 16 bits; "format" and "storage" as reading and writing do.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { exportCheckpoint } from "./checkpoint_export.ts";
 * const refused = exportCheckpoint("no/such/run", { format: "gptq", out: "no/such/folder" });
 * await assert.rejects(refused, /no\/such\/run: is no packed folder of the lab/);
 * ```
 */
export async function exportCheckpoint(folder: string, o: ExportOptions): Promise<ExportReport> {
  const index = await requirePacked(folder), config = await readConfig(folder), { format, out } = o;
  await refusePacked(out);
  const packed = openPackedLayers(folder, index.layers), names = Object.keys(index.layers);
  const rest = openSafetensors(join(folder, "rest.safetensors"));
  const gridLayer = async (name: string): Promise<QuantizedLayer> => {
    const layer = await packed.layer(name);
    if (!("stores" in layer)) return layer;
    const hint =
      "Only codes on one grid can be exported: --method rtn or optq. Or take dequantized weights: --format hf.";
    throw new LabError("input", layer.name, `is stored in a way that ${format} has no place for`, hint);
  };
  try {
    const facts = await survey(names, gridLayer, o);
    const { scheme, scaleBits } = facts, plain = plainLinears(config, names);
    const parts = lastOne(async (name) => partsOf(await gridLayer(name), format, scheme));
    const tensors: TensorToWrite[] = [...rest.tensors.values()].map(({ name, dtype, shape }) => ({
      name,
      dtype,
      shape,
      bytes: () => rest.readBytes(name),
    }));
    for (const name of names) {
      tensors.push(...linearTensors(name, index.layers[name], format, scheme, scaleBits, parts));
    }
    await ensureWritableFolder(out);
    await writeSafetensors(join(out, "model.safetensors"), tensors, { format: "pt" });
    const said = writeScheme({ format, scheme, version: await labVersion(), ...plain });
    const texts = await companionTexts(folder);
    texts["config.json"] = `${JSON.stringify({ ...config, quantization_config: said }, null, 2)}\n`;
    if (format !== "compressed-tensors") {
      const { modules_in_block_to_quantize: _, ...older } = said;
      texts[QUANTIZE_CONFIG] = `${JSON.stringify(older, null, 2)}\n`;
    }
    for (const [name, text] of Object.entries(texts)) await atomicWriteText(join(out, name), text);
    const notes = notesOn(format, scheme, plain);
    return { format, out, linears: names.length, scheme, scaleBits, scaleChange: facts.scaleChange, notes };
  } finally {
    rest.close();
    packed.close();
  }
}

async function requirePacked(folder: string): Promise<PackedIndex> {
  if (await Deno.stat(join(folder, PACKED_INDEX)).then(() => true, () => false)) return await readPackedIndex(folder);
  const hint =
    "`owq quantize --out DIR` makes one; `owq import` makes one out of a GPTQ or compressed-tensors checkpoint.";
  throw new LabError("input", folder, "is no packed folder of the lab", hint);
}

/** Its config.json would be replaced, and the packed model be no model any more. */
export async function refusePacked(out: string): Promise<void> {
  if (!await Deno.stat(join(out, PACKED_INDEX)).then(() => true, () => false)) return;
  throw new LabError("input", out, "is a packed folder already", "Name another folder.");
}

/** What the whole model has in common, found by looking at every layer before a byte is written. */
async function survey(
  names: readonly string[],
  layerOf: (name: string) => Promise<QuantizedLayer>,
  o: ExportOptions,
): Promise<{ scheme: LinearScheme; scaleBits: 16 | 32; scaleChange: number }> {
  let first: QuantizedLayer | null = null, symmetric = true, actOrder = false, wide = false, scaleChange = 0;
  for (const [i, name] of names.entries()) {
    const layer = await layerOf(name);
    checkForeign(layer);
    first ??= layer;
    if (layer.bits !== first.bits || layer.groupSize !== first.groupSize) {
      const kind = (l: QuantizedLayer) => `${l.bits} bits in groups of ${l.groupSize || "a row"}`;
      const problem = `has ${kind(layer)}, ${first.name} has ${kind(first)}`;
      throw new LabError("input", layer.name, problem, "One export has one width and one group size.");
    }
    symmetric &&= isSymmetric(layer);
    actOrder ||= layer.groupOf !== null;
    wide ||= layer.scaleBits === 32;
    const bits = scaleBitsOf(o, layer.scaleBits === 32);
    if (bits === 16) {
      for (const s of layer.scale) scaleChange = Math.max(scaleChange, Math.abs(halfScale(layer.name, s) / s - 1));
    }
    if (o.format !== "compressed-tensors") checkGptq(layer, o.format === "gptq" ? 1 : 2);
    o.onProgress?.(i + 1, names.length);
  }
  if (!first) throw new LabError("input", "export", "the packed folder lists no linear");
  const { bits, groupSize } = first;
  return { scheme: { bits, groupSize, symmetric, actOrder }, scaleBits: scaleBitsOf(o, wide), scaleChange };
}

const scaleBitsOf = (o: ExportOptions, wide: boolean): 16 | 32 =>
  o.scaleBits ?? (wide && o.format === "compressed-tensors" ? 32 : 16);

function halfScale(name: string, scale: number): number {
  const half = Math.f16round(scale);
  if (Number.isFinite(half) && half !== 0) return half;
  throw new LabError("numeric", name, `a scale of ${scale} does not fit 16 bits`, "Export with --scale-bits 32.");
}

/** A linear's arrays by the endings of their names. */
type Parts = Readonly<Record<string, ArrayLike<number>>>;

function partsOf(layer: QuantizedLayer, format: CheckpointFormat, scheme: LinearScheme): Parts {
  if (format !== "compressed-tensors") {
    const { qweight, qzeros, scales, gIdx } = toGptq(layer, format === "gptq" ? 1 : 2);
    return { qweight, qzeros, scales, g_idx: gIdx! };
  }
  const { packed, scale, zeroPoint } = toCompressed(layer, scheme.symmetric);
  const map = scheme.actOrder ? { weight_g_idx: groupMap(layer) } : {};
  const zero = zeroPoint ? { weight_zero_point: zeroPoint } : {};
  return { weight_packed: packed, weight_scale: scale, ...zero, ...map };
}

/** Remembers the last answer: the tensors of one linear are asked for one after another. */
function lastOne<T>(make: (name: string) => Promise<T>): (name: string) => Promise<T> {
  let last: { readonly name: string; readonly value: Promise<T> } | null = null;
  return (name) => {
    if (last?.name !== name) last = { name, value: make(name) };
    return last.value;
  };
}

/** The tensors of one linear; shapes are known from the index, data come when they are written. */
function linearTensors(
  name: string,
  { rows, cols }: { readonly rows: number; readonly cols: number },
  format: CheckpointFormat,
  { bits, groupSize, symmetric, actOrder }: LinearScheme,
  scaleBits: 16 | 32,
  parts: (name: string) => Promise<Parts>,
): TensorToWrite[] {
  const groups = groupSize > 0 ? cols / groupSize : 1, scale = scaleBits === 16 ? "F16" : "F32";
  const across = Math.ceil(cols * bits / 32), down = Math.ceil(rows * bits / 32);
  const tensor = (part: string, dtype: string, shape: readonly number[]): TensorToWrite => ({
    name: `${name}.${part}`,
    dtype,
    shape,
    data: async () => (await parts(name))[part],
  });
  if (format !== "compressed-tensors") {
    return [
      tensor("qweight", "I32", [across, rows]),
      tensor("qzeros", "I32", [groups, down]),
      tensor("scales", scale, [groups, rows]),
      tensor("g_idx", "I32", [cols]),
    ];
  }
  const shape = tensor("weight_shape", "I64", [2]);
  return [
    { ...shape, data: [rows, cols] },
    tensor("weight_packed", "I32", [rows, across]),
    tensor("weight_scale", scale, [rows, groups]),
    ...(symmetric ? [] : [tensor("weight_zero_point", "I32", [down, groups])]),
    ...(actOrder ? [tensor("weight_g_idx", "I32", [cols])] : []),
  ];
}

/** Where one layer of a model has a map of groups, all must. */
function groupMap(layer: QuantizedLayer): Int32Array {
  return layer.groupOf ?? Int32Array.from({ length: layer.cols }, (_, j) => Math.floor(j / layer.groupSize));
}

/** Linear layers that stay plain, which readers must be told: they take every linear for quantized. */
function plainLinears(config: Readonly<Record<string, unknown>>, quantized: readonly string[]) {
  const { names, blocks, linears } = modelConfig(config), packed = new Set(quantized);
  const block = (b: number) =>
    linears.map((l) => ({ inside: l.name, name: `${names.base}${names.blocks}.${b}.${l.name}` }));
  const all = Array.from({ length: blocks }, (_, b) => block(b));
  const ends = [
    names.head,
    ...[names.projectIn, names.projectOut].flatMap((n) => n === null ? [] : [`${names.base}${n}`]),
  ];
  const inside = all.map((b) => b.filter((l) => packed.has(l.name)).map((l) => l.inside));
  return {
    plain: [...ends, ...all.flat().map((l) => l.name)].filter((name) => !packed.has(name)),
    inEachBlock: inside.every((list) => list.join() === inside[0].join()) ? inside[0] : null,
    head: packed.has(names.head),
  };
}

function notesOn(
  format: CheckpointFormat,
  { bits, groupSize, actOrder, symmetric }: LinearScheme,
  plain: { readonly plain: readonly string[]; readonly inEachBlock: readonly string[] | null },
): string[] {
  const notes: string[] = [];
  if (format === "compressed-tensors") {
    if (bits === 3) notes.push("3 bits: compressed-tensors reads this packing from 0.18 on (before, ten codes a word)");
    if (bits < 4) notes.push(`${bits} bits: vLLM's kernels for compressed-tensors take 4 and 8 bits only`);
    if (actOrder) {
      notes.push(
        "act-order with groups: compressed-tensors dropped it with 0.19 and transformers loses the map: take --format gptq-v2",
      );
    }
    return notes;
  }
  if (format === "gptq-v2") {
    notes.push("gptq_v2 is read by GPTQModel, transformers with optimum, and vLLM; not by AutoGPTQ");
  }
  if (format === "gptq" && !symmetric) notes.push("asymmetric v1: some readers take symmetric grids only");
  if (groupSize > 0 && ![16, 32, 64, 128, 256, 512, 1024].includes(groupSize)) {
    notes.push(`groups of ${groupSize}: GPTQModel takes 16, 32, 64, 128, 256, 512, 1024 or none`);
  }
  if (plain.inEachBlock === null) {
    notes.push(
      "blocks differ in what is quantized: GPTQModel and vLLM are told (dynamic), transformers with optimum cannot be",
    );
  }
  return notes;
}
