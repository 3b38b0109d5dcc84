// From a .wgsl file to a pipeline. WebGPU itself stays silent about a shader that does not compile; this does not.
import { LabError } from "../io/errors.ts";
import type { Gpu } from "./device.ts";

/** A kernel to compile: a file of wgsl/, its entry point and the values of its `override` constants. */
export interface KernelSource {
  readonly file: string;
  readonly entry?: string;
  readonly constants?: Readonly<Record<string, number>>;
  /**
   * What it binds, where its uniform at binding 0 moves through a buffer from dispatch to dispatch, so that one bind group
   * serves them all: to make one costs four times what using it does (lib/gpu/replay.ts).
   */
  readonly moving?: Readonly<Record<number, Bindable>>;
}

/** How a kernel uses a binding; "texels" are a storage texture of four floats a texel that is read. */
export type Bindable = "storage" | "read-only-storage" | "texels";

function movingLayout(device: GPUDevice, moving: Readonly<Record<number, Bindable>>): GPUPipelineLayout {
  const visibility = GPUShaderStage.COMPUTE;
  const entries: GPUBindGroupLayoutEntry[] = Object.entries(moving).map(([binding, type]) => ({
    binding: Number(binding),
    visibility,
    ...(type === "texels" ? { storageTexture: { access: "read-only", format: "rgba32float" } } : { buffer: { type } }),
  }));
  entries.push({ binding: 0, visibility, buffer: { type: "uniform", hasDynamicOffset: true } });
  return device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
}

/**
 * Compiles an entry point of a file of wgsl/, once a device.
 *
 * @throws LabError of kind "device" with file, line and column when the shader does not compile.
 * @example
 * ```ts
 * import { openGpu } from "./device.ts";
 * import { loadKernel } from "./compile.ts";
 * const gpu = await openGpu();
 * if (gpu) await loadKernel(gpu, { file: "optq_sweep.wgsl", entry: "feed" });
 * gpu?.close();
 * ```
 */
export function loadKernel(gpu: Gpu, source: KernelSource): Promise<GPUComputePipeline> {
  const key = JSON.stringify([source.file, source.entry, source.constants]);
  let pipeline = gpu.pipelines.get(key);
  if (!pipeline) {
    pipeline = Deno.readTextFile(new URL(`../../wgsl/${source.file}`, import.meta.url))
      .then((code) => compileKernel(gpu, { ...source, code }));
    gpu.pipelines.set(key, pipeline);
  }
  return pipeline;
}

/**
 * Compiles WGSL that is already at hand.
 *
 * @throws LabError of kind "device" with line and column when the shader does not compile, or the pipeline does not fit.
 * @example
 * ```ts
 * import { openGpu } from "./device.ts";
 * import { compileKernel } from "./compile.ts";
 * const gpu = await openGpu();
 * const code = "@compute @workgroup_size(1) fn main() {}";
 * if (gpu) await compileKernel(gpu, { file: "none.wgsl", code });
 * gpu?.close();
 * ```
 */
export async function compileKernel(
  gpu: Gpu,
  source: KernelSource & { readonly code: string },
): Promise<GPUComputePipeline> {
  const { device } = gpu;
  gpu.check();
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label: source.file, code: source.code });
  const info = await module.getCompilationInfo();
  const complaint = await device.popErrorScope();
  const error = info.messages.find((m) => m.type === "error");
  if (error || complaint) {
    const where = error ? `wgsl/${source.file}:${error.lineNum}:${error.linePos}` : `wgsl/${source.file}`;
    // The message goes on with the source and a row of arrows; its first line says it.
    const message = (error?.message ?? complaint!.message).trim().split("\n")[0].replace(/^Shader .* error: |\.$/g, "");
    throw new LabError("device", where, message, error ? `The line reads: ${lineOf(source.code, error.lineNum)}` : "");
  }
  try {
    return await device.createComputePipelineAsync({
      label: `${source.file} ${source.entry ?? ""}`,
      layout: source.moving ? movingLayout(device, source.moving) : "auto",
      compute: {
        module,
        ...(source.entry === undefined ? {} : { entryPoint: source.entry }),
        ...(source.constants === undefined ? {} : { constants: source.constants }),
      },
    });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message.trim().replace(/\.$/, "") : String(cause);
    throw new LabError("device", `wgsl/${source.file}, ${source.entry ?? "main"}`, message, "", { cause });
  }
}

function lineOf(code: string, line: number): string {
  return (code.split("\n")[line - 1] ?? "").trim();
}
