// A model's pass over some tokens as one chain of dispatches, built once: what each reads, what it leaves, what is still to
// be added to the residual stream.
import { openBuffers, type Uploadable } from "../gpu/buffers.ts";
import type { Gpu } from "../gpu/device.ts";
import { type Recording, replayOf } from "../gpu/replay.ts";
import { requireFinite } from "../io/finite.ts";
import type { TensorSource } from "../io/source.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { bindNorm, packAffine } from "../kernels/norm.ts";
import type { BoundKernel } from "../kernels/bound_kernel.ts";
import { type DeviceLinear, openDenseLinear, openPackedLinear } from "../kernels/linear.ts";
import type { PackedMatrix } from "../kernels/packed_matrix.ts";
import { openTexels } from "../kernels/texels.ts";
import type { ModelConfig } from "./config.ts";

/** Bytes on the device by what they hold. */
export interface RuntimeBytes {
  /** Linears of the blocks: codes, grids, weak columns. */
  readonly linears: number;
  /** Embeddings, learned positions, projections, the head. */
  readonly ends: number;
  /** Norms, biases, rotary and alibi tables. */
  readonly rest: number;
  /** Keys and values of past tokens. */
  readonly cache: number;
  /** What is under way between two dispatches. */
  readonly workspace: number;
}

/** Which kernels a chain takes. */
export interface KernelChoice {
  /** Of norms and attention: for GPUs or for software drivers. */
  readonly form: "group" | "lanes";
  /** Of linears. */
  readonly variant: "auto" | "lane" | "split";
  /** Of dense linears. */
  readonly dtype: "f32" | "f16";
}

/** A dispatch and what it costs. */
export interface ChainStep extends BoundKernel {
  readonly operations: (start: number, vectors: number) => number;
}

/** Dispatches that steps add to a pass for one token; a linear may take several. */
export function countDispatches(steps: readonly ChainStep[]): number {
  let count = 0;
  const counting = { setPipeline: () => {}, setBindGroup: () => {}, dispatchWorkgroups: () => count++ };
  for (const s of steps) s.record(counting as unknown as GPUComputePassEncoder, 0, 1);
  return count;
}

/** What the last layers gave and the next norm adds to the residual. */
interface Pending {
  readonly from: readonly GPUBuffer[];
  readonly bias: Floats | null;
}

/** Σ of biases, null where there is none. */
export function sumOf(biases: readonly (Floats | null)[]): Floats | null {
  const there = biases.filter((b) => b !== null);
  if (there.length === 0) return null;
  return there[0].map((_, i) => there.reduce((sum, b) => sum + b[i], 0));
}

/** Buffers and steps of a chain while it is built. */
export class Chain {
  readonly bytes: Record<keyof RuntimeBytes, number> = { linears: 0, ends: 0, rest: 0, cache: 0, workspace: 0 };
  /** Linears of blocks by how they are stored; linears that were stacked count as one. */
  readonly counts = { packed: 0, dense: 0 };
  /** Names of the kernels that linears took. */
  readonly variants = new Set<string>();
  readonly step: GPUBuffer;
  readonly #buffers: ReturnType<typeof openBuffers>;
  readonly #linears: DeviceLinear[] = [];
  readonly #textures: GPUTexture[] = [];
  readonly #streams: GPUBuffer[];
  readonly #nothing: GPUBuffer[];
  #pending: Pending = { from: [], bias: null };

  /**
   * @param vectors how many tokens a pass takes at most.
   * @param names the model's names of tensors to those in the file.
   */
  constructor(
    readonly gpu: Gpu,
    readonly config: ModelConfig,
    readonly source: TensorSource,
    readonly names: ReadonlyMap<string, string>,
    readonly vectors: number,
    readonly kernels: KernelChoice,
  ) {
    this.#buffers = openBuffers(gpu);
    this.step = this.#buffers.uniform(2);
    this.#streams = [this.scratch(config.width, "residual"), this.scratch(config.width, "residual")];
    this.#nothing = [1, 2, 3].map((i) => this.#count("workspace", this.#buffers.scratch(16, `nothing ${i}`)));
  }

  #count(kind: keyof RuntimeBytes, buffer: GPUBuffer): GPUBuffer {
    this.bytes[kind] += buffer.size;
    return buffer;
  }

  /** A buffer of (vectors, width) float32. */
  scratch(width: number, label: string, rows = this.vectors): GPUBuffer {
    return this.#count("workspace", this.#buffers.scratch(rows * width * 4, label));
  }

  cache(bytes: number, label: string): GPUBuffer {
    return this.#count("cache", this.#buffers.scratch(bytes, label));
  }

  /** A texture of rows of vec4s (texels.ts). */
  texels(kind: "cache" | "workspace", label: string, width: number, height: number): GPUTexture {
    const { texture, bytes } = openTexels(this.gpu, label, width, height);
    this.#textures.push(texture);
    this.bytes[kind] += bytes;
    return texture;
  }

  upload(kind: keyof RuntimeBytes, data: Uploadable, label: string): GPUBuffer {
    return this.#count(kind, this.#buffers.upload(data, label));
  }

  /** What is bound where a kernel reads nothing. */
  get unread(): GPUBuffer {
    return this.#nothing[0];
  }

  /** The residual stream as it stands. */
  get residual(): GPUBuffer {
    return this.#streams[0];
  }

  async tensor(name: string): Promise<Floats> {
    return requireFinite(name, await this.source.read(this.names.get(name) ?? name)).data;
  }

  /** The tensor, or null where the model has none of that name. */
  async optional(name: string): Promise<Floats | null> {
    return this.names.has(name) ? await this.tensor(name) : null;
  }

  async dense(name: string, rows: number, cols: number): Promise<Matrix> {
    return { data: await this.tensor(name), rows, cols };
  }

  /** Uploads a linear. */
  async open(
    kind: "linears" | "ends",
    w: PackedMatrix | Matrix,
    dtype = this.kernels.dtype,
  ): Promise<DeviceLinear> {
    const { variant } = this.kernels;
    const linear = "data" in w
      ? await openDenseLinear(this.gpu, w, { variant, dtype })
      : await openPackedLinear(this.gpu, w, { variant });
    this.#linears.push(linear);
    this.bytes[kind] += linear.bytes;
    if (kind === "linears") this.counts["data" in w ? "dense" : "packed"]++;
    this.variants.add(linear.variant);
    return linear;
  }

  /** A linear from `x` to `y`, and what it costs. What it does for one vector is recorded once. */
  apply(linear: DeviceLinear, x: GPUBuffer, y: GPUBuffer, only?: number): ChainStep {
    let one: Recording | null = null;
    return {
      record: (pass, _, vectors) => {
        const count = only ?? vectors;
        if (count > 1) return linear.record(pass, x, y, count);
        one ??= replayOf((p) => linear.record(p, x, y, 1));
        one(pass);
      },
      operations: (_, vectors) => 2 * (only ?? vectors) * linear.rows * linear.cols,
    };
  }

  /** Says what the next norm adds to the residual. */
  leave(from: readonly GPUBuffer[], bias: Floats | null): void {
    this.#pending = { from: [...this.#pending.from, ...from], bias: sumOf([this.#pending.bias, bias]) };
  }

  /**
   * Adds what is pending to the residual and norms the sum under one or two names (none: the sum itself) into `to`.
   *
   * @param o.keep the residual goes on normed. @param o.last only the last vector, to row 0; the stream ends here.
   */
  async norm(
    names: readonly (string | null)[],
    to: readonly GPUBuffer[],
    o: { keep?: boolean; last?: boolean; ends?: boolean } = {},
  ): Promise<ChainStep> {
    const { config } = this, { from, bias } = this.#pending, given = names.filter((n) => n !== null);
    const affine = [];
    for (const name of given) {
      const shift = config.norm.kind === "layer" ? await this.tensor(`${name}.bias`) : null;
      affine.push({ gain: await this.tensor(`${name}.weight`), shift });
    }
    const spec = {
      width: config.width,
      kind: given.length === 0 ? "none" : config.norm.kind,
      eps: config.norm.eps,
      added: from.length as 0 | 1 | 2,
      bias,
      affine,
      keep: o.keep ?? false,
      last: o.last ?? false,
    } as const;
    const [before, after] = this.#streams;
    const kernel = await bindNorm(this.gpu, spec, {
      step: this.step,
      residual: before,
      a: from[0] ?? this.unread,
      b: from[1] ?? this.unread,
      affine: this.upload("rest", packAffine(spec), "norm"),
      sum: after,
      normed: to[0],
      normed2: to[1] ?? this.#nothing[2],
    }, this.kernels.form === "group" ? "group" : "lane");
    if (!o.ends) {
      this.#streams.reverse();
      this.#pending = { from: [], bias: null };
    }
    return { record: kernel.record, operations: (_, vectors) => vectors * config.width * 20 };
  }

  /** A step whose cost is `each` operations a token. */
  costing(kernel: BoundKernel, each: number): ChainStep {
    return { record: kernel.record, operations: (_, vectors) => vectors * each };
  }

  read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const reading = openBuffers(this.gpu);
    return reading.read(buffer, bytes).finally(() => reading.free());
  }

  free(): void {
    for (const linear of this.#linears.splice(0)) linear.destroy();
    for (const texture of this.#textures.splice(0)) texture.destroy();
    this.#buffers.free();
  }
}
