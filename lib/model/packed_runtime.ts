// A model that runs on the WebGPU device from its packed weights: it reads a prompt, writes text, scores windows. No jax.
import type { Gpu } from "../gpu/device.ts";
import { openRecorder, type Recorder } from "../gpu/recorder.ts";
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { TensorSource } from "../io/source.ts";
import type { Floats } from "../io/tensor.ts";
import { NOT_FINITE } from "../kernels/argmax.ts";
import { joinNll, NLL_PARTS } from "../kernels/token_nll.ts";
import type { ModelConfig, RawConfig } from "./config.ts";
import type { Decoder } from "./decode.ts";
import { modelConfig } from "./families.ts";
import { blockSteps, openWorkspace, type StoredLinear } from "./packed_block.ts";
import { Chain, type ChainStep, countDispatches, type RuntimeBytes } from "./packed_chain.ts";
import { embedSteps, type Head, openHead, type TableType } from "./packed_ends.ts";
import { locateTensors } from "./parameters.ts";
import type { Perplexity, TokenWindows } from "./perplexity.ts";

/** How the runtime is opened. */
export interface RuntimeOptions {
  /** The longest text, prompt included, in tokens. */
  readonly capacity: number;
  /** Stored weights of the linears; where absent or null they are dense, as the model's file has them. */
  readonly linears?: StoredLinear;
  /** Tokens of a prompt that go through together at most; 8 where absent (see `chunkFor`). */
  readonly chunk?: number;
  /** Norms and attention for GPUs ("group") or for software drivers ("lanes"); by the adapter where absent. */
  readonly form?: "group" | "lanes";
  /** Which kernels the linears take; by the adapter where absent. */
  readonly variant?: "auto" | "lane" | "split";
  /** How dense linears lie on the device; "f32" where absent. */
  readonly dtype?: "f32" | "f16";
  /** How embeddings and head lie on the device; "auto": in 16 bits where that changes no value. */
  readonly tables?: TableType;
  readonly onProgress?: OnProgress;
}

/** A model on the device in the middle of a text. */
export interface PackedRuntime extends Decoder {
  readonly label: string;
  readonly config: ModelConfig;
  /** What it runs on, for people. */
  readonly device: string;
  /** Bytes held on the device; scoring adds to `workspace` when it is first asked for. */
  readonly bytes: RuntimeBytes & { readonly total: number };
  /** Linears of the blocks by how they are stored (linears that were stacked count as one), and the kernels they took. */
  readonly linears: { readonly packed: number; readonly dense: number; readonly kernels: readonly string[] };
  /** Dispatches of a block (on average), and of one token from id to logits; a linear may take several. */
  readonly dispatches: { readonly block: number; readonly token: number };
  /** As Decoder's: about half a second's tokens without a word from the host. */
  write(id: number, most: number, stop: readonly number[]): Promise<number[]>;
  /** Perplexity of windows of tokens; forgets the text. */
  score(text: TokenWindows, onProgress?: OnProgress): Promise<Perplexity>;
}

/** As many vectors as the linears take one by one (linear.ts); more are a product of matrices. */
const FEW = 8;

/** From here on a software driver multiplies matrices faster than it takes eight vectors at a time. */
const MANY = 96;

/**
 * Tokens that should go through together: few for a short prompt, whose workspace stays small; 128 for a long one.
 *
 * @param tokens of the prompt, or of a window.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { chunkFor } from "./packed_runtime.ts";
 * assert.deepEqual([chunkFor(20), chunkFor(100), chunkFor(512)], [8, 100, 128]);
 * ```
 */
export function chunkFor(tokens: number): number {
  return tokens < MANY ? FEW : Math.min(128, tokens);
}

/**
 * Opens a model on the device: uploads its linears in their stored form, embeddings, norms and tables, and binds every
 * dispatch of a pass once.
 *
 * @param model its label, its config.json and its tensors. @param o.linears the stored form of each linear (out, in).
 * @returns a decoder whose `append` gives the logits (vocab) of what follows, and that scores windows.
 * @throws LabError of kind "input" for an unknown family or a capacity beyond the model's positions, "format" for tensors that
 *   do not fit, "device" where a buffer exceeds the device's limit or the device fails.
 * @example
 * ```ts
 * import { openGpu } from "../gpu/device.ts";
 * import { openModel } from "../io/open_model.ts";
 * import { continueText } from "./generate.ts";
 * import { openPackedRuntime } from "./packed_runtime.ts";
 * const gpu = await openGpu();
 * if (gpu) {
 *   const runtime = await openPackedRuntime(gpu, await openModel("fixture"), { capacity: 16 });
 *   console.log(await continueText(runtime, [1, 2, 3], { tokens: 4 }), runtime.bytes.total);
 *   runtime.close();
 *   gpu.close();
 * }
 * ```
 */
export async function openPackedRuntime(
  gpu: Gpu,
  model: { readonly label: string; readonly config: RawConfig; readonly source: TensorSource },
  o: RuntimeOptions,
): Promise<PackedRuntime> {
  const config = modelConfig(model.config), names = locateTensors(model.source, config);
  const chunk = Math.max(1, Math.min(o.chunk ?? FEW, o.capacity));
  checkCapacity(model.label, config, o.capacity);
  return await gpu.run(`loading ${model.label}`, async () => {
    const form = o.form ?? (gpu.software ? "lanes" : "group");
    const kernels = { form, variant: o.variant ?? "auto", dtype: o.dtype ?? "f32" } as const;
    const chain = new Chain(gpu, config, model.source, names, chunk, kernels);
    try {
      const work = openWorkspace(chain, o.capacity);
      const ids = chain.upload("workspace", new Uint32Array(Math.max(4, chunk)), "token ids");
      const body = await embedSteps(chain, work, ids, o.tables ?? "auto"), before = body.length;
      for (let i = 0; i < config.blocks; i++) {
        body.push(...await blockSteps(chain, work, i, o.linears ?? (() => Promise.resolve(null))));
        o.onProgress?.({ what: "loading onto the device", done: i + 1, total: config.blocks, unit: "blocks" });
      }
      const perBlock = countDispatches(body.slice(before)) / config.blocks;
      const words = (label: string, each: number) =>
        chain.upload("workspace", new Uint32Array(Math.max(4, each * o.capacity)), label);
      const written = words("tokens written", 1), marks = words("positions", 2);
      const head = await openHead(chain, work, o.tables ?? "auto", ids, written);
      return new DeviceRuntime(model.label, chain, o.capacity, { ids, written, marks, body, head, perBlock });
    } catch (e) {
      chain.free();
      throw e;
    }
  });
}

function checkCapacity(label: string, c: ModelConfig, capacity: number): void {
  if (!(Number.isInteger(capacity) && capacity >= 1)) {
    throw new LabError("input", label, `a text of ${capacity} tokens`, "Give a whole number of at least 1.");
  }
  if (c.maxPositions !== null && capacity > c.maxPositions) {
    const what = `a text of ${capacity} tokens, it knows ${c.maxPositions} positions`;
    throw new LabError("input", label, what, "Use a shorter prompt, or ask for fewer tokens.");
  }
}

/** The chain of a model, by its parts. */
interface Parts {
  readonly ids: GPUBuffer;
  /** (capacity) the token after each position. */
  readonly written: GPUBuffer;
  /** (capacity, 2) positions that the step's uniform takes on, one after another. */
  readonly marks: GPUBuffer;
  readonly body: readonly ChainStep[];
  readonly head: Head;
  readonly perBlock: number;
}

/** Tokens that are written without a word from the host take about so long: reading them back takes 11 ms in Deno. */
const BURST_SECONDS = 0.5;

class DeviceRuntime implements PackedRuntime {
  readonly #chain: Chain;
  readonly #parts: Parts;
  #scoring: { steps: readonly ChainStep[]; parts: readonly GPUBuffer[]; targets: GPUBuffer } | null = null;
  #position = 0;
  /** What a token took last, readback included. */
  #tokenSeconds = 0.1;

  constructor(readonly label: string, chain: Chain, readonly capacity: number, parts: Parts) {
    [this.#chain, this.#parts] = [chain, parts];
  }

  get config() {
    return this.#chain.config;
  }

  get device() {
    return this.#chain.gpu.description;
  }

  get position() {
    return this.#position;
  }

  get bytes() {
    const { bytes } = this.#chain;
    return { ...bytes, total: Object.values(bytes).reduce((a, b) => a + b, 0) };
  }

  get linears() {
    return { ...this.#chain.counts, kernels: [...this.#chain.variants] };
  }

  get dispatches() {
    const { body, head, perBlock } = this.#parts;
    return { block: perBlock, token: countDispatches([...body, ...head.last]) };
  }

  /** Runs some tokens through the blocks, then through `end`, in submissions of about 100 ms. */
  async #pass(ids: ArrayLike<number>, end: readonly ChainStep[], targets?: ArrayLike<number>): Promise<Recorder> {
    const { gpu, step } = this.#chain, { queue } = gpu.device, start = this.#position, n = ids.length;
    queue.writeBuffer(step, 0, Uint32Array.of(start, n));
    queue.writeBuffer(this.#parts.ids, 0, Uint32Array.from(ids));
    if (targets) queue.writeBuffer(this.#scoring!.targets, 0, Uint32Array.from(targets));
    const recorder = openRecorder(gpu);
    for (const s of this.#parts.body) s.record(await recorder.pass(s.operations(start, n)), start, n);
    for (const s of end) s.record(await recorder.pass(s.operations(start, n)), start, n);
    recorder.finish();
    this.#position += n;
    return recorder;
  }

  /** How many of `left` tokens to take next. */
  #next(left: number): number {
    const { vectors, gpu } = this.#chain;
    return Math.min(left, gpu.software && Math.min(left, vectors) < MANY ? Math.min(vectors, FEW) : vectors);
  }

  #checkIds(ids: ArrayLike<number>): void {
    const { vocab } = this.config;
    for (let i = 0; i < ids.length; i++) {
      if (Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < vocab) continue;
      const hint = "The text was made with the tokenizer of another model.";
      throw new LabError("input", this.label, `token id ${ids[i]} at ${i}, the vocabulary has ${vocab}`, hint);
    }
  }

  async append(ids: readonly number[]): Promise<Floats> {
    if (ids.length === 0 || this.#position + ids.length > this.capacity) {
      const text = `${ids.length} tokens after ${this.#position}, it was opened for ${this.capacity}`;
      throw new LabError("input", this.label, text, "Open it with a larger capacity.");
    }
    this.#checkIds(ids);
    const { gpu } = this.#chain, { head } = this.#parts;
    return await gpu.run(`${ids.length} tokens of ${this.label}`, async () => {
      let last: Recorder | null = null;
      for (let at = 0, n = 0; at < ids.length; at += n) {
        n = this.#next(ids.length - at);
        last = await this.#pass(ids.slice(at, at + n), at + n === ids.length ? head.last : []);
      }
      const logits = new Float32Array(this.config.vocab);
      let at = 0;
      for (const { buffer, rows } of head.logits) {
        logits.set(new Float32Array(await this.#chain.read(buffer, rows * 4)), at);
        at += rows;
      }
      last?.learn();
      return finite(this.label, logits);
    });
  }

  async write(id: number, most: number, stop: readonly number[]): Promise<number[]> {
    const start = this.#position, { gpu, step } = this.#chain, { body, head, ids, written, marks } = this.#parts;
    if (most < 1 || start + most > this.capacity) {
      const text = `${most} tokens after ${start}, it was opened for ${this.capacity}`;
      throw new LabError("input", this.label, text, "Open it with a larger capacity.");
    }
    this.#checkIds([id]);
    const count = Math.max(1, Math.min(most, Math.round(BURST_SECONDS / this.#tokenSeconds)));
    return await gpu.run(`${count} tokens of ${this.label}`, async () => {
      const begun = performance.now(), recorder = openRecorder(gpu), steps = [...body, ...head.last, ...head.pick];
      gpu.device.queue.writeBuffer(
        marks,
        0,
        Uint32Array.from({ length: 2 * count }, (_, i) => i % 2 ? 1 : start + i / 2),
      );
      gpu.device.queue.writeBuffer(ids, 0, Uint32Array.of(id));
      for (let i = 0; i < count; i++) {
        recorder.copy(marks, 8 * i, step, 8);
        for (const s of steps) s.record(await recorder.pass(s.operations(start + i, 1)), start + i, 1);
      }
      recorder.finish();
      const all = new Uint32Array(await this.#chain.read(written, 4 * (start + count)));
      recorder.learn();
      this.#tokenSeconds = (performance.now() - begun) / 1000 / count;
      const text = [...all.subarray(start)], end = text.findIndex((t) => stop.includes(t));
      const kept = end < 0 ? text : text.slice(0, end + 1);
      if (kept.includes(NOT_FINITE)) {
        throw new LabError(
          "numeric",
          this.label,
          "gives logits that are not finite",
          "Its weights may be out of range.",
        );
      }
      this.#position = start + kept.length;
      return kept;
    });
  }

  async score(text: TokenWindows, onProgress?: OnProgress): Promise<Perplexity> {
    const { windows, length, ids } = text, { vectors, gpu } = this.#chain;
    if (windows < 1 || length < 2) {
      throw new LabError("input", this.label, `${windows} windows of ${length} tokens`, "It takes one window of two.");
    }
    if (length > this.capacity) {
      const hint = "Open it with a larger capacity, or use shorter ones.";
      throw new LabError("input", this.label, `windows of ${length} tokens, it was opened for ${this.capacity}`, hint);
    }
    this.#checkIds(ids);
    const nll = new Float32Array(windows * (length - 1));
    for (let w = 0; w < windows; w++) {
      await gpu.run(`scoring with ${this.label}`, async () => {
        if (!this.#scoring) {
          const targets = this.#chain.upload("workspace", new Uint32Array(Math.max(4, vectors)), "next tokens");
          this.#scoring = { ...await this.#parts.head.scoring(targets), targets };
        }
        this.#position = 0;
        for (let at = 0, n = 0; at < length; at += n) {
          n = this.#next(length - at);
          const from = w * length + at;
          const next = Array.from({ length: n }, (_, i) => at + i + 1 < length ? ids[from + i + 1] : 0);
          await this.#pass(ids.subarray(from, from + n), this.#scoring.steps, next);
          const pieces = [];
          for (const part of this.#scoring.parts) {
            pieces.push(new Float32Array(await this.#chain.read(part, n * NLL_PARTS * 16)));
          }
          const own = joinNll(pieces, n).subarray(0, Math.min(n, length - 1 - at));
          nll.set(finite(this.label, own), w * (length - 1) + at);
        }
      });
      onProgress?.({ what: "scoring", done: w + 1, total: windows, unit: "windows" });
    }
    this.restart();
    const meanNll = nll.reduce((a, b) => a + b, 0) / nll.length;
    return { perplexity: Math.exp(meanNll), meanNll, nll, tokens: nll.length, windows, length, unit: "token" };
  }

  restart(): void {
    this.#position = 0;
  }

  close(): void {
    this.#chain.free();
  }
}

/** @throws LabError where a value is not finite. */
function finite<T extends Float32Array | Float64Array>(label: string, values: T): T {
  const bad = values.findIndex((x) => x - x !== 0);
  if (bad < 0) return values;
  throw new LabError("numeric", label, `gives ${values[bad]} at ${bad}`, "Its weights may be out of float32's range.");
}
