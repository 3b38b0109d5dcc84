// --model SPEC on the packed runtime: packed folders and quantized checkpoints from their codes, anything else dense.
import { join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import { type ModelFiles, openModel } from "../io/open_model.ts";
import { openPackedRuntime, type PackedRuntime, type RuntimeOptions } from "../model/packed_runtime.ts";
import type { AnyLayer } from "../quant/layer.ts";
import { toPackedMatrix } from "../quant/packed_matrix.ts";
import { openCheckpoint } from "./checkpoint_read.ts";
import { readPackedIndex, resolveModel } from "./open.ts";
import { PACKED_INDEX } from "./packed.ts";
import { openPackedLayers } from "./packed_layers.ts";

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
