// The GPU as one object: adapter, limits, features, its loss, and a queue of one so that error scopes never interleave.
import { tmpdir } from "node:os";
import { LabError } from "../io/errors.ts";

/** An open WebGPU device. Everything in lib/gpu takes one; `close` it when done. */
export interface Gpu {
  readonly device: GPUDevice;
  /** What it is, for people: "llvmpipe (LLVM 15.0.6, 256 bits), a software driver". */
  readonly description: string;
  /** A driver that runs shaders on the CPU. */
  readonly software: boolean;
  /** Fill every new buffer with NaN first, so that a kernel that counts on zeros is found out. For tests. */
  readonly dirty: boolean;
  /** The largest buffer that can be bound whole. */
  readonly maxBytes: number;
  /** Pipelines compiled so far, by file, entry point and constants (lib/gpu/compile.ts). */
  readonly pipelines: Map<string, Promise<GPUComputePipeline>>;
  /** Scratch memory by name (lib/gpu/shared.ts); it lasts as long as the device. */
  readonly shared: Map<string, GPUBuffer>;
  readonly sharedTextures: Map<string, GPUTexture>;
  /** How fast it has been, and what is under way (lib/gpu/dispatch.ts). */
  readonly pace: { operationsPerMs: number; pendingMs: number; since: number };
  /** Whether the device itself has the feature; what an adapter promises is not enough. */
  has(feature: GPUFeatureName): boolean;
  /** @throws LabError in words when the device was lost, or said something went wrong outside any scope. */
  check(): void;
  /**
   * Runs `work` alone on the device, under scopes for validation errors and for memory.
   *
   * @param doing what it is for, such as "grid search of (576, 1536)": errors begin with it.
   * @throws LabError of kind "device" when the device complains or is lost.
   */
  run<T>(doing: string, work: () => Promise<T>): Promise<T>;
  close(): void;
}

const HINT = "Try --device cpu, or install a Vulkan driver (Debian: mesa-vulkan-drivers).";
const SCOPE_TIMEOUT_MS = 5000;

/** Limits the kernels can use more of than the default; each is asked for at what the adapter has, up to this. */
const WANTED_LIMITS = {
  maxBufferSize: 2 ** 31 - 4,
  maxStorageBufferBindingSize: 2 ** 31 - 4,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxComputeWorkgroupSizeX: 1024,
  maxComputeWorkgroupStorageSize: 32768,
} as const;

/**
 * Opens the GPU, or a software driver where there is no other; null where there is neither.
 *
 * @param o.dirty see `Gpu.dirty`. @param o.maxBytes a smaller largest buffer than the adapter's, to test tiling.
 * @throws LabError of kind "device" when an adapter exists but gives no device.
 * @example
 * ```ts
 * import { openGpu } from "./device.ts";
 * const gpu = await openGpu();
 * console.log(gpu?.description ?? "no adapter");
 * gpu?.close();
 * ```
 */
export async function openGpu(o: { readonly dirty?: boolean; readonly maxBytes?: number } = {}): Promise<Gpu | null> {
  const api = (globalThis.navigator as Navigator | undefined)?.gpu;
  // Drivers that look for a display write "error: XDG_RUNTIME_DIR is invalid" where there is none; we draw nothing.
  if (Deno.build.os === "linux" && !Deno.env.get("XDG_RUNTIME_DIR")) Deno.env.set("XDG_RUNTIME_DIR", tmpdir());
  const adapter = await api?.requestAdapter({ powerPreference: "high-performance" }) ??
    await api?.requestAdapter({ forceFallbackAdapter: true });
  if (!adapter) return null;
  const requiredLimits: Record<string, number> = {};
  for (const [name, wanted] of Object.entries(WANTED_LIMITS)) {
    requiredLimits[name] = Math.min(wanted, adapter.limits[name as keyof typeof WANTED_LIMITS]);
  }
  const requiredFeatures = (["shader-f16", "timestamp-query"] as const).filter((f) => adapter.features.has(f));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredLimits, requiredFeatures });
  } catch (cause) {
    throw new LabError("device", describe(adapter.info), `the adapter gives no device (${say(cause)})`, HINT, {
      cause,
    });
  }
  return wrap(device, adapter.info, o);
}

/**
 * Opens the GPU, as `openGpu`, where having one is not optional.
 *
 * @throws LabError of kind "device" that says what to try when there is no adapter.
 * @example
 * ```ts
 * import { requireGpu } from "./device.ts";
 * const gpu = await requireGpu().catch((e) => console.log(e.message));
 * gpu?.close();
 * ```
 */
export async function requireGpu(o: Parameters<typeof openGpu>[0] = {}): Promise<Gpu> {
  const gpu = await openGpu(o);
  if (!gpu) throw new LabError("device", "WebGPU", "no adapter was found, not even a software driver", HINT);
  return gpu;
}

function wrap(device: GPUDevice, info: GPUAdapterInfo, o: { dirty?: boolean; maxBytes?: number }): Gpu {
  let closed = false, trouble: LabError | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const description = describe(info);
  const lost = device.lost.then(({ reason, message }) => {
    if (!closed) trouble = new LabError("device", description, `the device was lost (${message || reason})`, HINT);
  });
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    trouble ??= new LabError("device", description, (event as GPUUncapturedErrorEvent).error.message.trim());
  });
  const check = () => {
    if (closed) throw new LabError("device", description, "the device was closed", "Open it again.");
    if (trouble) throw trouble;
  };
  const alone = async <T>(doing: string, work: () => Promise<T>): Promise<T> => {
    check();
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    const [outcome, error] = await Promise.race([
      settle(work).then(async (outcome) => [outcome, await popScopes(device, 2)] as const),
      lost.then(() => [undefined, null] as const),
    ]);
    check();
    if (error) throw new LabError("device", doing, firstLine(error.message), HINT);
    if (!outcome!.ok) throw outcome!.cause;
    return outcome!.value;
  };
  return {
    device,
    description,
    software: info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|softpipe/i.test(info.description),
    dirty: o.dirty ?? false,
    maxBytes: Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize, o.maxBytes ?? Infinity),
    pipelines: new Map(),
    shared: new Map(),
    sharedTextures: new Map(),
    pace: { operationsPerMs: 2e5, pendingMs: 0, since: 0 }, // a slow start: 0.2 GFLOP/s
    has: (feature) => device.features.has(feature),
    check,
    run: (doing, work) => {
      const turn = last.then(() => alone(doing, work));
      last = turn.catch(() => {});
      return turn;
    },
    close: () => {
      closed = true;
      device.destroy();
    },
  };
}

async function settle<T>(work: () => Promise<T>) {
  try {
    return { ok: true as const, value: await work() };
  } catch (cause) {
    return { ok: false as const, cause };
  }
}

/** Pops `count` error scopes; the first error found, or null. A device that does not answer in time counts as an error. */
export async function popScopes(device: GPUDevice, count: number): Promise<{ message: string } | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<{ message: string }>((resolve) => {
    timer = setTimeout(() => resolve({ message: `no answer within ${SCOPE_TIMEOUT_MS} ms` }), SCOPE_TIMEOUT_MS);
  });
  try {
    const answers = [];
    for (let i = 0; i < count; i++) answers.push(device.popErrorScope());
    const errors = await Promise.race([Promise.all(answers), late.then((e) => [e])]);
    return errors.find((e) => e !== null) ?? null;
  } finally {
    clearTimeout(timer);
  }
}

function describe(info: GPUAdapterInfo): string {
  const name = info.description || info.device || info.architecture || info.vendor || "an adapter without a name";
  return info.isFallbackAdapter ? `${name}, a software driver` : name;
}

function say(cause: unknown): string {
  return cause instanceof Error ? firstLine(cause.message) : String(cause);
}

function firstLine(text: string): string {
  return text.split("\n").map((line) => line.trim()).filter((line) => line).join(" ").replace(/\.$/, "");
}
