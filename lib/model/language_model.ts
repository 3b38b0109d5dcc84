// A language model that streams from its files block by block: embed, run a block, take second moments of what its
// linears read, score. Plain typed arrays come in and go out; jax arrays stay behind this file.
import { defaultDevice, init, numpy as np, tree } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import { firstNonFinite, requireFinite } from "../io/finite.ts";
import type { TensorSource } from "../io/source.ts";
import type { Floats, Matrix, Tensor } from "../io/tensor.ts";
import type { LinearInfo, ModelConfig, RawConfig } from "./config.ts";
import { CachedDecoder, type Decoder, type DecoderOptions } from "./decode.ts";
import { modelConfig } from "./families.ts";
import { makeTables, type Params, type Tables } from "./forward.ts";
import { GramSum } from "./gram.ts";
import { embedOnHost, HeadScorer } from "./head.ts";
import { blockPrefix, blockShapes, locateTensors } from "./parameters.ts";
import { compileStages, runBlock, type Stages } from "./stages.ts";

/** What enters and leaves blocks: data (windows, length, width). */
export interface Hidden {
  readonly data: Floats;
  readonly windows: number;
  readonly length: number;
  readonly width: number;
}

/** Called after each batch of windows. */
export type OnWindow = (done: number, total: number) => void;

/** What a model is opened from; lib/io's ModelFiles fits. */
export interface ModelInput {
  readonly label: string;
  readonly config: RawConfig;
  readonly source: TensorSource;
}

export interface ModelOptions {
  /** Where jax computes: "wasm" (threads) unless told. "webgpu" pays on a real GPU, not on a software driver. */
  readonly backend?: "wasm" | "webgpu";
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

/** Tokens that go through a stage together: enough to fill the threads, few enough to stay in the cache. */
const tokensAtOnce = 512;

/**
 * Opens a model: reads its config, checks that all tensors are there with the right shapes, reads no weight yet.
 *
 * @throws LabError for an unknown family, a tensor that is missing or has another shape.
 */
export async function openLanguageModel(files: ModelInput, o: ModelOptions = {}): Promise<LanguageModel> {
  const config = modelConfig(files.config), backend = o.backend ?? "wasm";
  const names = locateTensors(files.source, config);
  const ready = await init(backend);
  if (!ready.includes(backend)) {
    throw new LabError("device", `jax-js on ${backend}`, "is not available here", "Try the backend wasm.");
  }
  defaultDevice(backend);
  const read = async (name: string): Promise<Tensor> => {
    const tensor = requireFinite(name, await files.source.read(names.get(name) ?? name));
    if (o.precision === "float16") {
      for (let i = 0; i < tensor.data.length; i++) tensor.data[i] = Math.f16round(tensor.data[i]);
    }
    return tensor;
  };
  return new StreamedModel(files.label, config, read);
}

type Read = (name: string) => Promise<Tensor>;

class StreamedModel implements LanguageModel {
  readonly #read: Read;
  readonly stages: Stages;
  readonly #tables = new Map<string, Tables>();
  readonly #outer = new Map<string, Promise<Tensor>>();
  #head: Promise<HeadScorer> | null = null;

  constructor(readonly label: string, readonly config: ModelConfig, read: Read) {
    this.#read = read;
    this.stages = compileStages(config);
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

  tables(length: number, window: number | null): Tables {
    const key = `${length},${window}`;
    let tables = this.#tables.get(key);
    if (!tables) this.#tables.set(key, tables = makeTables(this.config, 0, length, window));
    return tables;
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
    return new LoadedBlock(this, index, tensors);
  }

  #scorer(): Promise<HeadScorer> {
    return this.#head ??= HeadScorer.open(this.config, (name) => this.#keep(name));
  }

  async scoreHidden(h: Hidden, ids: Int32Array, onWindow?: OnWindow): Promise<Floats> {
    return await (await this.#scorer()).score(h, ids, onWindow);
  }

  async logits(h: Hidden): Promise<Matrix> {
    return await (await this.#scorer()).logits(h);
  }

  async openDecoder(o: DecoderOptions): Promise<Decoder> {
    this.#checkLength(o.capacity);
    CachedDecoder.checkMemory(this.label, this.config, o.capacity);
    const blocks: Params[] = [], head = await this.#scorer();
    const kept = Array.from({ length: this.blocks }, (_, i) => i).filter((i) => !o.skip?.has(i));
    for (const i of kept) {
      const block = await this.openBlock(i) as LoadedBlock;
      await o.prepare?.(block);
      blocks.push(block.take());
      o.onProgress?.({ what: "loading the model", done: i + 1, total: this.blocks, unit: "blocks" });
    }
    head.hold();
    const config = { ...this.config, windows: kept.map((i) => this.config.windows[i]) };
    return new CachedDecoder(config, this.stages, blocks, o.capacity, {
      embed: async (ids, start) => {
        await this.embed(ids, 1, ids.length); // checks the ids
        return await embedOnHost(this.config, (name) => this.#keep(name), ids, ids.length, start);
      },
      logits: (h) => head.logits({ data: h }),
    });
  }

  close() {
    this.stages.close();
    for (const tables of this.#tables.values()) tree.dispose(tables);
    this.#tables.clear();
    this.#head?.then((head) => head.close());
    this.#head = null;
    this.#outer.clear();
  }
}

class LoadedBlock implements Block {
  readonly #model: StreamedModel;
  readonly #tensors: Map<string, Tensor>;
  #params: Params = {};

  constructor(model: StreamedModel, readonly index: number, tensors: Map<string, Tensor>) {
    this.#model = model;
    this.#tensors = tensors;
  }

  #linear(name: string): LinearInfo {
    const found = this.#model.config.linears.find((l) => l.name === name);
    if (found) return found;
    const known = this.#model.config.linears.map((l) => l.name).join(", ");
    throw new LabError("input", `block ${this.index}`, `has no linear "${name}"`, `It has ${known}.`);
  }

  weight(linear: string): Matrix {
    const l = this.#linear(linear);
    return { data: this.#tensors.get(`${linear}.weight`)!.data, rows: l.out, cols: l.in };
  }

  setWeight(linear: string, w: Matrix): void {
    const l = this.#linear(linear), name = `${linear}.weight`, label = `${this.index}.${linear}`;
    if (w.rows !== l.out || w.cols !== l.in) {
      throw new LabError("input", label, `weight of shape [${w.rows}, ${w.cols}], expected [${l.out}, ${l.in}]`);
    }
    this.#tensors.set(name, requireFinite(label, { data: w.data, shape: [l.out, l.in] }));
    this.#params[name]?.dispose();
    delete this.#params[name];
  }

  /** The weights as jax arrays, uploaded at the first pass. */
  #uploaded(): Params {
    for (const [name, t] of this.#tensors) this.#params[name] ??= np.array(t.data, { shape: [...t.shape] });
    return this.#params;
  }

  /** Gives the uploaded weights away and closes the block. */
  take(): Params {
    const params = this.#uploaded();
    this.#params = {};
    this.close();
    return params;
  }

  /** Runs the block over batches of windows, two of them under way at a time; `finish` gets each batch's output. */
  async #pass(
    h: Hidden,
    onWindow: OnWindow | undefined,
    tap: (input: string, x: np.Array) => boolean,
    finish: (out: np.Array | null, firstWindow: number) => Promise<void>,
  ): Promise<void> {
    const { config, stages } = this.#model, { windows, length, width } = h;
    if (width !== config.width || h.data.length !== windows * length * width) {
      throw new LabError("input", `block ${this.index}`, `hidden states of width ${width}, expected ${config.width}`);
    }
    const params = this.#uploaded(), tables = this.#model.tables(length, config.windows[this.index]);
    const batch = Math.max(1, Math.floor(tokensAtOnce / length));
    let pending: Promise<void> = Promise.resolve();
    for (let w = 0; w < windows; w += batch) {
      const count = Math.min(batch, windows - w), size = length * width;
      const x = np.array(h.data.subarray(w * size, (w + count) * size), { shape: [count, length, width] });
      const done = finish(runBlock(config, stages, params, tables, x, tap), w);
      await pending;
      onWindow?.(w, windows);
      pending = done;
    }
    await pending;
    onWindow?.(windows, windows);
  }

  async forward(h: Hidden, onWindow?: OnWindow): Promise<Hidden> {
    const data = new Float32Array(h.data.length), size = h.length * h.width;
    await this.#pass(h, onWindow, () => false, async (out, window) => {
      if (out) data.set(await out.data() as Floats, window * size);
    });
    const bad = firstNonFinite(data);
    if (bad >= 0) {
      const [window, token, column] = [Math.floor(bad / size), Math.floor(bad % size / h.width), bad % h.width];
      throw new LabError(
        "numeric",
        `block ${this.index}`,
        `gives ${data[bad]} in window ${window}, token ${token}, column ${column}`,
        "Its weights or its inputs are out of float32's range.",
      );
    }
    return { ...h, data };
  }

  async gram(h: Hidden, inputs?: readonly string[], onWindow?: OnWindow): Promise<Map<string, Matrix>> {
    const sums = this.#sums(inputs);
    await this.#pass(h, onWindow, (input, x) => {
      const sum = sums.get(input);
      if (sum) sum.add(x.ref);
      return input === [...sums.keys()].at(-1);
    }, async () => {
      for (const sum of sums.values()) await sum.settle();
    });
    const out = new Map<string, Matrix>();
    for (const [input, sum] of sums) out.set(input, await sum.close(2 / h.windows, `${this.index}.${input}`));
    return out;
  }

  /** A sum for each wanted input, in the order in which a block meets them. */
  #sums(inputs: readonly string[] | undefined): Map<string, GramSum> {
    const all = this.#model.config.linears, sums = new Map<string, GramSum>();
    for (const l of all) {
      if (!sums.has(l.input) && (!inputs || inputs.includes(l.input))) sums.set(l.input, new GramSum(l.in));
    }
    for (const input of inputs ?? []) {
      if (sums.has(input)) continue;
      const known = [...new Set(all.map((l) => l.input))].join(", ");
      throw new LabError("input", `block ${this.index}`, `has no input "${input}"`, `It has ${known}.`);
    }
    return sums;
  }

  async capture(h: Hidden, input: string, onWindow?: OnWindow): Promise<Matrix> {
    const cols = [...this.#sums([input]).values()][0].size, rows = h.windows * h.length;
    const data = new Float32Array(rows * cols), seen: np.Array[] = [];
    await this.#pass(h, onWindow, (name, x) => name === input && seen.push(x.ref) > 0, async (_, window) => {
      data.set(await seen.shift()!.data() as Floats, window * h.length * cols);
    });
    return { data, rows, cols };
  }

  close() {
    tree.dispose(this.#params);
    this.#params = {};
    this.#tensors.clear();
  }
}
