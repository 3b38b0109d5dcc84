// A language model that streams from its files block by block: embed, run a block, take second moments of what its
// linears read, score. Plain typed arrays come in and go out; jax arrays stay behind this file.
import { defaultDevice, init } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import { firstNonFinite, requireFinite } from "../io/finite.ts";
import type { TensorSource } from "../io/source.ts";
import type { Floats, Matrix, Tensor } from "../io/tensor.ts";
import { BlockJax, upload } from "./block_jax.ts";
import type { LinearInfo, ModelConfig, RawConfig } from "./config.ts";
import { CachedDecoder, type Decoder, type DecoderOptions } from "./decode.ts";
import { modelConfig } from "./families.ts";
import { blockPrefix, blockShapes, parameterShapes, type Params } from "./forward.ts";
import { embedOnHost, HeadScorer } from "./head.ts";
import type { BlockRunner, Hidden, OnWindow } from "./runner.ts";
import { compileStages, type Stages } from "./stages.ts";
import { BlockThreads } from "./threads/block_threads.ts";

export type { Hidden, OnWindow } from "./runner.ts";

/** What a model is opened from; lib/io's ModelFiles fits. */
export interface ModelInput {
  readonly label: string;
  readonly config: RawConfig;
  readonly source: TensorSource;
}

export interface ModelOptions {
  /**
   * What runs the blocks: "threads", our own (threads/), unless told; or jax-js on "wasm" or "webgpu", which pays on a real
   * GPU, not on a software driver.
   */
  readonly backend?: "threads" | "wasm" | "webgpu";
  /** "float16" rounds every weight to 16 bits as it is read, as a model held in half precision has them. */
  readonly precision?: "float32" | "float16";
}

/** One block, its weights in memory. */
export interface Block {
  readonly index: number;
  /** W (out, in) of a linear, by its name inside the block; not to be written to. */
  weight(linear: string): Matrix;
  /** Replaces W for all later passes. @throws LabError for another shape or a value that is not finite. */
  setWeight(linear: string, w: Matrix): void;
  forward(h: Hidden, onWindow?: OnWindow): Promise<Hidden>;
  /**
   * H (in, in) = 2/n · Σ XᵀX per input of linears, n = windows (each window is one sample). The pass stops at the last
   * input wanted and never computes the block's last linear.
   */
  gram(h: Hidden, inputs?: readonly string[], onWindow?: OnWindow): Promise<Map<string, Matrix>>;
  /** X (windows·length, in), what the linears of one input read. */
  capture(h: Hidden, input: string, onWindow?: OnWindow): Promise<Matrix>;
  close(): void;
}

export interface LanguageModel {
  readonly label: string;
  readonly config: ModelConfig;
  readonly blocks: number;
  readonly family: string;
  linears(block: number): readonly LinearInfo[];
  /** Embeddings of ids (windows·length). @throws LabError for an id outside the vocabulary or a window too long. */
  embed(ids: Int32Array, windows: number, length: number): Promise<Hidden>;
  openBlock(index: number): Promise<Block>;
  /** Negative log-likelihoods in nats, (windows, length − 1): entry t is that of token t + 1 given the tokens up to t. */
  scoreHidden(h: Hidden, ids: Int32Array, onWindow?: OnWindow): Promise<Floats>;
  /** Logits (windows·length, vocab) of a few windows. */
  logits(h: Hidden): Promise<Matrix>;
  /** All blocks in memory and a key-value cache, to write text token by token. */
  openDecoder(o: DecoderOptions): Promise<Decoder>;
  close(): void;
}

/**
 * Opens a model: reads its config, checks that all tensors are there with the right shapes, reads no weight yet.
 *
 * @throws LabError for an unknown family, a tensor that is missing or has another shape.
 */
export async function openLanguageModel(files: ModelInput, o: ModelOptions = {}): Promise<LanguageModel> {
  const config = modelConfig(files.config), backend = o.backend ?? "threads";
  const names = checkTensors(files.source, config), device = backend === "threads" ? "wasm" : backend;
  if (!(await init(device)).includes(device)) {
    throw new LabError("device", `jax-js on ${device}`, "is not available here", "Try the backend threads.");
  }
  defaultDevice(device);
  const read = async (name: string): Promise<Tensor> => {
    const tensor = requireFinite(name, await files.source.read(names.get(name) ?? name));
    if (o.precision === "float16") {
      for (let i = 0; i < tensor.data.length; i++) tensor.data[i] = Math.f16round(tensor.data[i]);
    }
    return tensor;
  };
  return new StreamedModel(files.label, config, read, backend === "threads");
}

/** Files saved from the bare trunk lack the prefix "model." or "transformer.": the name each tensor has in this file. */
function checkTensors(source: TensorSource, c: ModelConfig): Map<string, string> {
  const names = new Map<string, string>();
  for (const [name, shape] of parameterShapes(c)) {
    const bare = name.startsWith(c.names.base) ? name.slice(c.names.base.length) : name;
    const found = source.tensors.has(name) ? name : bare, info = source.tensors.get(found);
    if (!info) {
      throw new LabError("format", source.label, `has no tensor "${name}"`, `A ${c.family} model needs it.`);
    }
    if (info.shape.join() !== shape.join()) {
      const is = `[${info.shape.join(", ")}]`, should = `[${shape.join(", ")}]`;
      throw new LabError("format", source.label, `"${name}" has shape ${is}, config.json says ${should}`);
    }
    names.set(name, found);
  }
  return names;
}

type Read = (name: string) => Promise<Tensor>;

class StreamedModel implements LanguageModel {
  readonly #read: Read;
  readonly #stages: Stages;
  readonly #runner: BlockRunner;
  readonly #outer = new Map<string, Promise<Tensor>>();
  #head: Promise<HeadScorer> | null = null;

  constructor(readonly label: string, readonly config: ModelConfig, read: Read, threads: boolean) {
    this.#read = read;
    this.#stages = compileStages(config);
    this.#runner = threads ? new BlockThreads(config) : new BlockJax(config, this.#stages);
  }

  get blocks() {
    return this.config.blocks;
  }

  get family() {
    return this.config.family;
  }

  linears(_block: number) {
    return this.config.linears;
  }

  /** A tensor outside the blocks, read once and kept. */
  #keep(name: string): Promise<Tensor> {
    let tensor = this.#outer.get(name);
    if (!tensor) this.#outer.set(name, tensor = this.#read(name));
    return tensor;
  }

  async embed(ids: Int32Array, windows: number, length: number): Promise<Hidden> {
    this.#checkLength(length);
    if (ids.length !== windows * length) {
      throw new LabError("input", this.label, `${ids.length} token ids for ${windows} windows of ${length}`);
    }
    const { vocab } = this.config, bad = ids.findIndex((id) => id < 0 || id >= vocab);
    if (bad >= 0) {
      const hint = "The text was made with the tokenizer of another model.";
      throw new LabError("input", this.label, `token id ${ids[bad]} at ${bad}, the vocabulary has ${vocab}`, hint);
    }
    const data = await embedOnHost(this.config, (name) => this.#keep(name), ids, length);
    return { data, windows, length, width: this.config.width };
  }

  #checkLength(length: number) {
    const most = this.config.maxPositions;
    if (most !== null && length > most) {
      throw new LabError(
        "input",
        this.label,
        `windows of ${length} tokens, it knows ${most} positions`,
        "Use shorter ones.",
      );
    }
  }

  async openBlock(index: number): Promise<Block> {
    if (!Number.isInteger(index) || index < 0 || index >= this.blocks) {
      throw new LabError("input", this.label, `block ${index} of ${this.blocks}`);
    }
    const tensors = new Map<string, Tensor>(), prefix = blockPrefix(this.config, index);
    for (const name of blockShapes(this.config).keys()) tensors.set(name, await this.#read(prefix + name));
    return new LoadedBlock(this.config, this.#runner, index, tensors);
  }

  #scorer(): Promise<HeadScorer> {
    return this.#head ??= HeadScorer.open(this.config, (name) => this.#keep(name));
  }

  async scoreHidden(h: Hidden, ids: Int32Array, onWindow?: OnWindow): Promise<Floats> {
    return await (await this.#scorer()).score(this.#runner, h, ids, onWindow);
  }

  async logits(h: Hidden): Promise<Matrix> {
    return await (await this.#scorer()).logits(h);
  }

  async openDecoder(o: DecoderOptions): Promise<Decoder> {
    this.#checkLength(o.capacity);
    CachedDecoder.checkMemory(this.label, this.config, o.capacity);
    const blocks: Params[] = [], head = await this.#scorer();
    for (let i = 0; i < this.blocks; i++) {
      const block = await this.openBlock(i) as LoadedBlock;
      await o.prepare?.(block);
      blocks.push(block.take());
      o.onProgress?.({ what: "loading the model", done: i + 1, total: this.blocks, unit: "blocks" });
    }
    head.hold();
    return new CachedDecoder(this.config, this.#stages, blocks, o.capacity, {
      embed: async (ids, start) => {
        await this.embed(ids, 1, ids.length); // checks the ids
        return await embedOnHost(this.config, (name) => this.#keep(name), ids, ids.length, start);
      },
      logits: (h) => head.logits({ data: h }),
    });
  }

  close() {
    this.#runner.close();
    this.#stages.close();
    this.#head?.then((head) => head.close());
    this.#head = null;
    this.#outer.clear();
  }
}

class LoadedBlock implements Block {
  readonly #c: ModelConfig;
  readonly #runner: BlockRunner;
  readonly #tensors: Map<string, Tensor>;

  constructor(c: ModelConfig, runner: BlockRunner, readonly index: number, tensors: Map<string, Tensor>) {
    [this.#c, this.#runner, this.#tensors] = [c, runner, tensors];
  }

  #linear(name: string): LinearInfo {
    const found = this.#c.linears.find((l) => l.name === name);
    if (found) return found;
    const known = this.#c.linears.map((l) => l.name).join(", ");
    throw new LabError("input", `block ${this.index}`, `has no linear "${name}"`, `It has ${known}.`);
  }

  weight(linear: string): Matrix {
    const l = this.#linear(linear);
    return { data: this.#tensors.get(`${linear}.weight`)!.data, rows: l.out, cols: l.in };
  }

  setWeight(linear: string, w: Matrix): void {
    const l = this.#linear(linear), label = `${this.index}.${linear}`;
    if (w.rows !== l.out || w.cols !== l.in) {
      throw new LabError("input", label, `weight of shape [${w.rows}, ${w.cols}], expected [${l.out}, ${l.in}]`);
    }
    this.#tensors.set(`${linear}.weight`, requireFinite(label, { data: w.data, shape: [l.out, l.in] }));
  }

  /** The weights as jax arrays, which the caller then owns; the block is closed. */
  take(): Params {
    const params = upload(this.#tensors);
    this.close();
    return params;
  }

  #check(h: Hidden): number | null {
    if (h.width !== this.#c.width || h.data.length !== h.windows * h.length * h.width) {
      const is = `${h.data.length} values for ${h.windows} windows of ${h.length} tokens`;
      throw new LabError("input", `block ${this.index}`, `${is}, ${this.#c.width} wide each`);
    }
    return this.#c.windows[this.index];
  }

  async forward(h: Hidden, onWindow?: OnWindow): Promise<Hidden> {
    const data = await this.#runner.forward(this.#tensors, h, this.#check(h), onWindow), bad = firstNonFinite(data);
    if (bad < 0) return { ...h, data };
    const size = h.length * h.width;
    const [window, token, column] = [Math.floor(bad / size), Math.floor(bad % size / h.width), bad % h.width];
    const problem = `gives ${data[bad]} in window ${window}, token ${token}, column ${column}`;
    throw new LabError("numeric", `block ${this.index}`, problem, "Its weights or inputs are out of float32's range.");
  }

  /** The wanted inputs and their widths, in the order in which a block meets them. */
  #inputs(wanted: readonly string[] | undefined): Map<string, number> {
    const all = new Map(this.#c.linears.map((l) => [l.input, l.in]));
    const unknown = wanted?.find((input) => !all.has(input));
    if (unknown !== undefined) {
      const known = [...all.keys()].join(", ");
      throw new LabError("input", `block ${this.index}`, `has no input "${unknown}"`, `It has ${known}.`);
    }
    return new Map([...all].filter(([input]) => !wanted || wanted.includes(input)));
  }

  async gram(h: Hidden, inputs?: readonly string[], onWindow?: OnWindow): Promise<Map<string, Matrix>> {
    const wanted = this.#inputs(inputs), window = this.#check(h);
    const grams = await this.#runner.gram(this.#tensors, h, window, wanted, 2 / h.windows, onWindow);
    for (const [input, { data, cols }] of grams) {
      for (let j = 0; j < cols; j++) {
        const value = data[j * cols + j], name = `${this.index}.${input}`;
        if (Number.isFinite(value)) continue;
        throw new LabError("numeric", name, `calibration gives ${value} at column ${j}`, "Some input is not finite.");
      }
    }
    return grams;
  }

  async capture(h: Hidden, input: string, onWindow?: OnWindow): Promise<Matrix> {
    const cols = this.#inputs([input]).get(input)!;
    return await this.#runner.capture(this.#tensors, h, this.#check(h), input, cols, onWindow);
  }

  close() {
    this.#runner.release(this.#tensors);
    this.#tensors.clear();
  }
}
