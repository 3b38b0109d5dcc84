// A GGUF file seen as a Hugging Face model: config.json out of its metadata, Hugging Face tensor names, rows in Hugging Face
// order. llama.cpp's converter renames every tensor and reorders the rows of some (its rotary embedding turns neighbouring
// pairs where transformers turns halves); both are undone here, on the stored blocks, so nothing is rounded twice.
import { type GgufFile, openGguf } from "./gguf.ts";
import { type Architecture, architectureOf, Metadata, shortest } from "./gguf_architecture.ts";
import { missingTensor } from "./safetensors.ts";
import type { TensorInfo, TensorSource } from "./source.ts";

/** What a GGUF file offers to the lab; fits into `ModelFiles` as it is. */
export interface GgufModel {
  readonly file: GgufFile;
  /** As config.json would say it. */
  readonly config: Record<string, unknown>;
  /** Hugging Face names, rows in Hugging Face order; `close` closes the file. */
  readonly source: TensorSource;
  /** How its linears are stored, in words; "" where they are plain floats. */
  readonly note: string;
}

interface Renamed {
  readonly original: string;
  readonly info: TensorInfo;
  readonly order: Int32Array<ArrayBuffer> | null;
}

const ROPE_FACTORS = "rope_freqs.weight";

function renameAll(m: Metadata, arch: Architecture): Map<string, Renamed> {
  const renamed = new Map<string, Renamed>(), blocks = m.integer("block_count");
  for (const [original, info] of m.file.tensors) {
    if (original === ROPE_FACTORS) continue; // read by ropeFactors below
    const parts = /^(?:blk\.(0|[1-9][0-9]*)\.)?([a-z0-9_]+)\.(weight|bias)$/.exec(original);
    const [, block, stem, kind] = parts ?? [];
    const table = block === undefined ? arch.outer : arch.inner;
    if (!parts || !Object.hasOwn(table, stem) || Number(block ?? 0) >= blocks) {
      throw m.error(`tensor "${original}" has no place in a ${m.arch} model of ${blocks} blocks that the lab knows`);
    }
    const name = `${block === undefined ? "" : `${arch.prefix}.${block}.`}${table[stem]}.${kind}`;
    const order = block === undefined ? null : arch.order(stem, m);
    if (order && (info.shape[0] !== order.rows || info.bytes % order.rows !== 0)) {
      throw m.error(`tensor "${original}" has ${info.shape[0]} rows, its heads have ${order.rows}`);
    }
    renamed.set(name, { original, info: { ...info, name }, order: order?.make() ?? null });
  }
  return renamed;
}

/**
 * The rotary scaling of Llama 3.1 and later: GGUF stores one divisor a frequency instead of the four numbers that made
 * them. The usual ones (low 1, high 4, original length 8192) are taken when they give the same divisors.
 */
async function ropeFactors(m: Metadata, headDim: number): Promise<Record<string, unknown> | null> {
  if (!m.file.tensors.has(ROPE_FACTORS)) return null;
  const divisors = (await m.file.read(ROPE_FACTORS)).data, theta = m.number("rope.freq_base", 10000);
  const factor = shortest(divisors.reduce((a, b) => Math.max(a, b), 0));
  if (divisors.every((d) => d === 1)) return null;
  const low = 1, high = 4, original = 8192;
  const expected = Float64Array.from(divisors, (_, i) => {
    const turns = original / (2 * Math.PI * theta ** (2 * i / headDim)); // of frequency i in the original length
    if (turns > high) return 1;
    if (turns < low) return factor;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
  if (divisors.length !== headDim / 2 || !divisors.every((d, i) => Math.abs(d / expected[i] - 1) < 1e-4)) {
    throw m.error(`its rotary divisors "${ROPE_FACTORS}" follow no rule that the lab knows`, "Use its safetensors.");
  }
  return {
    rope_type: "llama3",
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}

/** Rows of `bytes` in the given order. */
function reorder(bytes: Uint8Array<ArrayBuffer>, order: Int32Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes.length), row = bytes.length / order.length;
  for (let r = 0; r < order.length; r++) out.set(bytes.subarray(order[r] * row, (order[r] + 1) * row), r * row);
  return out;
}

function noteOf(tensors: Iterable<TensorInfo>): string {
  const counts = new Map<string, number>();
  for (const { name, dtype, shape } of tensors) {
    if (shape.length !== 2 || !/\.\d+\./.test(name) || ["F32", "F16", "BF16"].includes(dtype)) continue;
    counts.set(dtype, (counts.get(dtype) ?? 0) + 1);
  }
  if (counts.size === 0) return "";
  const size = (type: string) => type.endsWith("_K") ? "blocks of 256" : "groups of 32";
  const all = [...counts].sort((a, b) => b[1] - a[1]);
  if (all.length === 1) return `its linears are stored as ${all[0][0]} in ${size(all[0][0])}`;
  return `its linears are stored as ${all.map(([type, n]) => `${type} in ${size(type)} (${n} of them)`).join(", ")}`;
}

/**
 * Opens a GGUF file as a Hugging Face model.
 *
 * @param path a file of the architecture llama (Mistral too), qwen2, bloom or falcon.
 * @returns config, tensors under Hugging Face names (a linear is W (out, in)), and a sentence on how they are stored.
 * @throws LabError("input") for another architecture; LabError("format") where metadata or a tensor is missing or unknown.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGgufModel } from "./gguf_model.ts";
 * await assert.rejects(openGgufModel("no/such.gguf"), /no\/such.gguf: cannot read, it does not exist/);
 * ```
 */
// deno-lint-ignore require-await
export async function openGgufModel(path: string): Promise<GgufModel> {
  return ggufModel(openGguf(path));
}

/**
 * The same over an open file, which is closed when it is refused.
 *
 * @throws LabError as `openGgufModel`.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openMemory } from "./bytes.ts";
 * import { readGguf } from "./gguf.ts";
 * import { ggufModel } from "./gguf_model.ts";
 * const empty = new Uint8Array(24);
 * empty.set([0x47, 0x47, 0x55, 0x46, 3]);
 * await assert.rejects(ggufModel(readGguf(openMemory("empty", empty))), /no text "general.architecture"/);
 * ```
 */
export async function ggufModel(file: GgufFile): Promise<GgufModel> {
  try {
    const m = new Metadata(file), arch = architectureOf(m), config = arch.config(m);
    const renamed = renameAll(m, arch);
    const scaling = await ropeFactors(m, m.headDim);
    if (scaling) {
      config.rope_scaling = scaling;
      config.rope_parameters = { rope_theta: config.rope_theta, ...scaling };
    }
    const tensors = new Map([...renamed].map(([name, { info }]) => [name, info]));
    return { file, config, source: renamedSource(file, renamed, tensors), note: noteOf(tensors.values()) };
  } catch (error) {
    file.close();
    throw error;
  }
}

function renamedSource(
  file: GgufFile,
  renamed: ReadonlyMap<string, Renamed>,
  tensors: ReadonlyMap<string, TensorInfo>,
): TensorSource {
  const readBytes = async (name: string) => {
    const found = renamed.get(name);
    if (!found) throw missingTensor(file.label, name, renamed.keys());
    const bytes = await file.readBytes(found.original);
    return found.order ? reorder(bytes, found.order) : bytes;
  };
  return {
    label: file.label,
    tensors,
    readBytes,
    read: async (name) => {
      const bytes = await readBytes(name), { original, info } = renamed.get(name)!;
      return { data: file.decode(original, bytes), shape: info.shape };
    },
    sha256: () => file.sha256(),
    close: () => file.close(),
  };
}
