// --model SPEC on the packed runtime: packed folders and quantized checkpoints from their codes, anything else dense.
import { join } from "node:path";
import { type Gpu, openGpu, requireGpu } from "../gpu/device.ts";
import { LabError } from "../io/errors.ts";
import { type ModelFiles, openModel } from "../io/open_model.ts";
import { openPackedRuntime, type PackedRuntime, type RuntimeOptions } from "../model/packed_runtime.ts";
import type { AnyLayer } from "../quant/layer.ts";
import { toPackedMatrix } from "../quant/packed_matrix.ts";
import { openCheckpoint } from "./checkpoint_read.ts";
import { readPackedIndex, resolveModel } from "./open.ts";
import { PACKED_INDEX } from "./packed.ts";
import { openPackedLayers } from "./packed_layers.ts";

/** What computes a model: "packed" the WebGPU device from stored codes, "jax" the dequantized model on jax-js. */
export const RUNTIMES = ["auto", "packed", "jax"] as const;

/** Bytes and dispatches of a runtime, for people. */
export function describeRuntime(r: PackedRuntime): string {
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`, { linears, ends, cache, total } = r.bytes;
  const stored = r.linears.dense === 0 ? "packed" : r.linears.packed === 0 ? "dense" : "packed and dense";
  return `${mb(total)} on ${r.device}: ${stored} linears ${mb(linears)}, embeddings and head ${mb(ends)}, ` +
    `keys and values of ${r.capacity} tokens ${mb(cache)}; ${r.dispatches.token} dispatches a token`;
}

/**
 * The device for `--runtime`: "packed" insists on one, "auto" takes one for a model that is stored in codes, where there is
 * an adapter.
 *
 * @param wanted what was typed; "auto" where nothing was.
 * @returns null where jax-js is to compute.
 * @throws LabError "input" for another word, "device" where "packed" finds no adapter.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runtimeDevice } from "./runtime.ts";
 * assert.equal(await runtimeDevice("fixture", "jax"), null);
 * await assert.rejects(runtimeDevice("fixture", "cuda"), /--runtime.*auto, packed, jax/);
 * ```
 */
export async function runtimeDevice(spec: string, wanted: string | undefined): Promise<Gpu | null> {
  const kind = RUNTIMES.find((r) => r === (wanted ?? "auto"));
  if (!kind) throw new LabError("input", "--runtime", `"${wanted}"`, `It takes ${RUNTIMES.join(", ")}.`);
  if (kind === "packed") return await requireGpu();
  if (kind === "jax") return null;
  const coded = await openCodedModel(spec);
  coded?.close();
  return coded ? await openGpu() : null;
}

/** A model that is stored in codes. */
export interface CodedModel {
  readonly files: ModelFiles;
  /** A linear by its tensor's name without ".weight"; null where it is not stored in codes. */
  layer(tensor: string): Promise<AnyLayer | null>;
  close(): void;
}

/**
 * Opens a model together with the codes of its linears.
 *
 * @param spec a packed folder, or a checkpoint of GPTQ or compressed-tensors.
 * @returns null where the model is stored in floats (open it with resolveModel).
 * @throws LabError as resolveModel.
 */
export async function openCodedModel(spec: string): Promise<CodedModel | null> {
  if (await Deno.stat(join(spec, PACKED_INDEX)).then((s) => s.isFile, () => false)) {
    const index = await readPackedIndex(spec), layers = openPackedLayers(spec, index.layers);
    const files = await resolveModel(spec);
    const close = () => {
      layers.close();
      files.source.close();
    };
    return { files, layer: async (t) => index.layers[t] ? await layers.layer(t) : null, close };
  }
  if (!await Deno.stat(spec).then((s) => s.isDirectory, () => false)) return null;
  const raw = await openModel(spec, { quantized: true });
  if (!raw.config.quantization_config) {
    raw.source.close();
    return null;
  }
  try {
    const checkpoint = await openCheckpoint(raw), names = new Set(checkpoint.linears);
    return {
      files: checkpoint.files,
      layer: async (t) => names.has(t) ? await checkpoint.layer(t) : null,
      close: () => raw.source.close(),
    };
  } catch (e) {
    raw.source.close();
    throw e;
  }
}

/** How a model is put on the device. */
export interface OpenRuntimeOptions extends Omit<RuntimeOptions, "linears" | "dtype"> {
  /** "packed" (the default): from codes where there are any; "f32" and "f16": dense, dequantized on the way. */
  readonly weights?: "packed" | "f32" | "f16";
}

/** A model on the device with the files it came from. */
export interface OpenedRuntime {
  readonly runtime: PackedRuntime;
  readonly files: ModelFiles;
  /** Closes both; the device stays open. */
  close(): void;
}

/** What the packed kernels take; a layer that is stored in another way, or at another width, runs dense. */
function packedOrNull(layer: AnyLayer | null) {
  return layer && "codes" in layer && [2, 3, 4, 8].includes(layer.bits) ? toPackedMatrix(layer) : null;
}

/**
 * Opens a model by its SPEC on the device.
 *
 * @param spec as resolveModel takes it. @param o.capacity the longest text, prompt included, in tokens.
 * @returns the runtime: `append` reads tokens, `timedText(runtime, prompt, {tokens})` writes under the clock, `score` scores.
 * @throws LabError as resolveModel and openPackedRuntime.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { timedText } from "../model/timed_text.ts";
 * import { openRuntime } from "./runtime.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const { runtime, close } = await openRuntime(gpu, "fixture", { capacity: 32 });
 *   console.log((await timedText(runtime, [1, 2, 3], { tokens: 8 })).tokensPerSecond, runtime.bytes.total);
 *   close();
 *   gpu.close();
 * }
 * ```
 */
export async function openRuntime(gpu: Gpu, spec: string, o: OpenRuntimeOptions): Promise<OpenedRuntime> {
  const { weights = "packed", ...options } = o;
  const coded = weights === "packed" ? await openCodedModel(spec) : null;
  const files = coded?.files ?? await resolveModel(spec);
  const close = () => coded ? coded.close() : files.source.close();
  try {
    const runtime = await openPackedRuntime(gpu, files, {
      ...options,
      dtype: weights === "f16" ? "f16" : "f32",
      ...(coded ? { linears: async (t: string) => packedOrNull(await coded.layer(t)) } : {}),
    });
    return {
      runtime,
      files,
      close: () => {
        runtime.close();
        close();
      },
    };
  } catch (e) {
    close();
    throw e;
  }
}
