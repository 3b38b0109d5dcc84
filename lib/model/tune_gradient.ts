// Loss and gradients of the trained tensors, block by block. What enters each block is kept, what happens inside is computed
// again on the way back (checkpointing of activations: Chen et al. 2016, arXiv 1604.06174), so the peak is one block's.
import { defaultDevice, init, numpy as np, tree } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import { requireFinite } from "../io/finite.ts";
import type { Floats, Tensor } from "../io/tensor.ts";
import type { ModelConfig } from "./config.ts";
import { modelConfig } from "./families.ts";
import { makeTables, type Params, type Tables } from "./forward.ts";
import { embedOnHost } from "./head.ts";
import type { ModelInput } from "./language_model.ts";
import { blockPrefix, blockShapes, locateTensors } from "./parameters.ts";
import { type BlockPasses, compileBlock } from "./tune_block.ts";
import { compileHead, type HeadPasses, headTensors } from "./tune_head.ts";
import type { TuneText } from "./tune_text.ts";
import { startValues, type Trainable, type TuneLeaf, tuneLeaves } from "./tune_leaves.ts";

/** A frozen base with something trainable in it. `values` is always one array a leaf, in the order of `leaves`. */
export interface TuneModel {
  readonly label: string;
  readonly config: ModelConfig;
  readonly leaves: readonly TuneLeaf[];
  /** The values to begin with; see {@link startValues}. */
  start(seed: number): Promise<Floats[]>;
  /** Negative log-likelihoods of the asked-for tokens, in nats: their sum, and how many there are. */
  loss(values: readonly Floats[], text: TuneText): Promise<{ sum: number; count: number }>;
  /**
   * Which windows are answered exactly: 1 where each asked-for token is the likeliest after all tokens before it, which is
   * when greedy decoding writes the whole answer.
   *
   * @returns (windows).
   */
  exact(values: readonly Floats[], text: TuneText): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Adds ∂(scale · Σ nll)/∂values to `into`, over the asked-for tokens of all windows at once.
   *
   * @returns Σ nll in nats, before scaling.
   */
  gradient(values: readonly Floats[], text: TuneText, scale: number, into: readonly Floats[]): Promise<number>;
  /** Frees what was compiled and held. */
  close(): void;
}

/** Bytes of float32 weights of all blocks up to which they are held; larger models are read again for each pass. */
const heldBytes = 1.5e9;

/** Logits that exist at a time: 50 MB of them. */
const logitsAtOnce = 12.5e6;

/**
 * Opens a base for tuning.
 *
 * @param files the base, its linears dequantized as they are read. @param t what to train.
 * @throws LabError as {@link tuneLeaves}, "format" for a tensor that is missing, "numeric" for one that is not finite.
 */
export async function openTuneModel(files: ModelInput, t: Trainable): Promise<TuneModel> {
  const c = modelConfig(files.config), names = locateTensors(files.source, c), leaves = tuneLeaves(c, t);
  await init("wasm");
  defaultDevice("wasm");
  const read = async (name: string) => requireFinite(name, await files.source.read(names.get(name) ?? name));
  return new BlockwiseModel(files.label, c, t, leaves, read);
}

class BlockwiseModel implements TuneModel {
  readonly #t: Trainable;
  readonly #read: (name: string) => Promise<Tensor>;
  readonly #frozen = new Map<number, Params>();
  readonly #outer = new Map<string, Promise<Tensor>>();
  readonly #tables = new Map<string, Tables>();
  readonly #blocks: BlockPasses;
  readonly #head: HeadPasses;

  constructor(
    readonly label: string,
    readonly config: ModelConfig,
    t: Trainable,
    readonly leaves: readonly TuneLeaf[],
    read: (name: string) => Promise<Tensor>,
  ) {
    [this.#t, this.#read] = [t, read];
    const c = config;
    this.#blocks = compileBlock(c, (own) => t.method === "lora" ? scaledSides(own, t.alpha / t.rank) : own);
    this.#head = compileHead(c);
  }

  start(seed: number): Promise<Floats[]> {
    return startValues(this.config, this.#t, this.#read, seed);
  }

  /** A tensor outside the blocks as it is now: trained, or the base's own. */
  #now(values: readonly Floats[], name: string): Promise<Tensor> {
    const i = this.leaves.findIndex((l) => l.name === name);
    if (i >= 0) return Promise.resolve({ data: values[i], shape: this.leaves[i].shape });
    let tensor = this.#outer.get(name);
    if (!tensor) this.#outer.set(name, tensor = this.#read(name));
    return tensor;
  }

  /** The trained tensors of a block, or of what is outside (−1), uploaded. */
  #own(values: readonly Floats[], b: number): Params {
    const own: Params = {};
    this.leaves.forEach((l, i) => {
      if (l.block === b) own[l.inner] = array(values[i], l.shape);
    });
    return own;
  }

  /** The frozen tensors of a block, to be consumed. */
  async #rest(b: number): Promise<Params> {
    const held = this.#frozen.get(b);
    if (held) return refs(held);
    const c = this.config, prefix = blockPrefix(c, b), p: Params = {};
    for (const [name, shape] of blockShapes(c)) {
      if (this.#t.method === "full") break;
      let { data } = await this.#read(prefix + name);
      const linear = name.replace(/\.weight$/, "");
      const ids = this.#t.method === "wct" ? this.#t.ids.get(prefix + linear) : undefined;
      if (ids && ids.length > 0 && name.endsWith(".weight")) {
        data = data.slice(); // a source may hand out what it keeps
        const [rows, width] = shape, rowsOfIdentity = new Float32Array(ids.length * width);
        ids.forEach((id, i) => {
          rowsOfIdentity[i * width + id] = 1; // jax-js has no derivative of a lookup in a jit; this product costs k/out more
          for (let r = 0; r < rows; r++) data[r * width + id] = 0;
        });
        p[`${linear}.side_in`] = array(rowsOfIdentity, [ids.length, width]);
      }
      p[name] = array(data, shape);
    }
    const weights = c.linears.reduce((sum, l) => sum + l.in * l.out, 0);
    if (4 * weights * c.blocks > heldBytes) return p;
    this.#frozen.set(b, p);
    return refs(p);
  }

  /** The frozen tensors outside the blocks that the head needs, to be consumed. */
  async #frozenEnds(): Promise<Params> {
    let held = this.#frozen.get(-1);
    if (!held) {
      held = {};
      for (const name of [headName(this.config), ...headTensors(this.config)]) {
        if (this.leaves.some((l) => l.name === name)) continue;
        const t = await this.#now([], name);
        held[name] = array(t.data, t.shape);
      }
      this.#frozen.set(-1, held);
    }
    return refs(held);
  }

  #tablesOf(b: number, length: number): Tables {
    const window = this.config.windows[b], key = `${length},${window}`;
    let tables = this.#tables.get(key);
    if (!tables) this.#tables.set(key, tables = makeTables(this.config, 0, length, window));
    return refs(tables);
  }

  #check({ ids, windows, length }: TuneText): void {
    const { maxPositions: most, vocab } = this.config;
    if (most !== null && length > most) {
      const problem = `windows of ${length} tokens, it knows ${most} positions`;
      throw new LabError("input", this.label, problem, "Use shorter ones.");
    }
    if (ids.length !== windows * length) {
      throw new LabError("input", this.label, `${ids.length} token ids for ${windows} windows of ${length}`);
    }
    const bad = ids.findIndex((id) => id < 0 || id >= vocab);
    if (bad >= 0) {
      const hint = "The text was made with the tokenizer of another model.";
      throw new LabError("input", this.label, `token id ${ids[bad]} at ${bad}, the vocabulary has ${vocab}`, hint);
    }
  }

  /** What enters each block, and at the end what leaves the last: each (windows, length, width). */
  async *#flow(values: readonly Floats[], { ids, windows, length }: TuneText): AsyncGenerator<Floats> {
    const c = this.config, shape = [windows, length, c.width];
    let h = await embedOnHost(c, (name) => this.#now(values, name), Int32Array.from(ids), length);
    for (let b = 0; b < c.blocks; b++) {
      yield h;
      const y = this.#blocks.forward(
        this.#own(values, b),
        await this.#rest(b),
        this.#tablesOf(b, length),
        array(h, shape),
      );
      h = await y.data() as Floats;
    }
    yield h;
  }

  /**
   * Goes through the head in parts: Σ nll of the asked-for tokens, and with `scale` ∂(scale · Σ nll)/∂h; gradients of the
   * head's own tensors and of the targets' rows go to `into`.
   */
  async #ends(
    values: readonly Floats[],
    text: TuneText,
    h: Floats,
    scale: number | null,
    into: readonly Floats[],
  ): Promise<{ sum: number; count: number; back: Floats }> {
    const { width, embedWidth: e } = this.config,
      tableLeaf = this.leaves.findIndex((l) => l.name === headName(this.config));
    const table = (await this.#now(values, headName(this.config))).data, end = await this.#headOf(values);
    const back = new Float32Array(scale === null ? 0 : h.length), all = asked(text), name = headName(this.config);
    let sum = 0;
    for (const part of this.#parts(all)) {
      const n = part.length, target = new Float32Array(n * e);
      part.forEach((i, r) => {
        const id = text.ids[i + 1];
        target.set(table.subarray(id * e, (id + 1) * e), r * e);
      });
      const args = [...end.take(), array(rowsOf(h, width, part), [n, width]), array(target, [n, e])] as const;
      if (scale === null) {
        for (const x of await this.#head.loss(...args).data()) sum += x;
        continue;
      }
      const { nll, own: byOwn, h: byState, table: byTable } = this.#head.backward(...args, scale, tableLeaf >= 0);
      for (const x of await nll.data()) sum += x;
      const g = await byState.data();
      part.forEach((i, r) => back.set(g.subarray(r * width, (r + 1) * width) as Floats, i * width));
      await this.#collect(byOwn, -1, into);
      if (byTable === null) continue;
      await this.#collect({ [name]: byTable.all }, -1, into);
      const rows = await byTable.target.data(), to = into[tableLeaf];
      part.forEach((i, r) => {
        const at = text.ids[i + 1] * e;
        for (let j = 0; j < e; j++) to[at + j] += rows[r * e + j];
      });
    }
    end.close();
    return { sum, count: all.length, back };
  }

  /** What the head reads as it is now: `take` gives it to be consumed. */
  async #headOf(values: readonly Floats[]) {
    const c = this.config, trained = this.#own(values, -1), frozen = await this.#frozenEnds(), own: Params = {};
    const table = trained[headName(c)] ?? frozen[headName(c)];
    for (const name of headTensors(c)) if (trained[name]) own[name] = trained[name];
    const inner = Object.fromEntries(Object.entries(frozen).filter(([name]) => name !== headName(c)));
    return {
      take: (): [Params, Params, np.Array] => [refs(own), refs(inner), table.ref],
      close: () => tree.dispose([trained, frozen]),
    };
  }

  /** So many positions at a time that their logits stay small. */
  *#parts(positions: readonly number[]): Generator<readonly number[]> {
    const atOnce = Math.max(16, Math.floor(logitsAtOnce / this.config.vocab));
    for (let from = 0; from < positions.length; from += atOnce) yield positions.slice(from, from + atOnce);
  }

  /** Adds the gradients of a block's trained tensors. */
  async #collect(g: Params, b: number, into: readonly Floats[]): Promise<void> {
    for (const [i, l] of this.leaves.entries()) {
      if (l.block !== b || !g[l.inner]) continue;
      const values = await g[l.inner].data(), to = into[i];
      for (let j = 0; j < to.length; j++) to[j] += values[j];
    }
  }

  /** What leaves the last block. */
  async #last(values: readonly Floats[], text: TuneText): Promise<Floats> {
    let last: Floats = new Float32Array(0);
    for await (const h of this.#flow(values, text)) last = h;
    return last;
  }

  async exact(values: readonly Floats[], text: TuneText): Promise<Uint8Array<ArrayBuffer>> {
    this.#check(text);
    const h = await this.#last(values, text), end = await this.#headOf(values), { width } = this.config;
    const right = new Uint8Array(text.windows).fill(1);
    for (const part of this.#parts(asked(text))) {
      const ids = await this.#head.guess(...end.take(), array(rowsOf(h, width, part), [part.length, width])).data();
      part.forEach((i, r) => {
        if (ids[r] !== text.ids[i + 1]) right[Math.floor(i / text.length)] = 0;
      });
    }
    end.close();
    return right;
  }

  async loss(values: readonly Floats[], text: TuneText): Promise<{ sum: number; count: number }> {
    this.#check(text);
    const { sum, count } = await this.#ends(values, text, await this.#last(values, text), null, []);
    return { sum, count };
  }

  async gradient(values: readonly Floats[], text: TuneText, scale: number, into: readonly Floats[]): Promise<number> {
    this.#check(text);
    const c = this.config, { windows, length, ids } = text, shape = [windows, length, c.width], flow: Floats[] = [];
    for await (const h of this.#flow(values, text)) flow.push(h);
    const { sum, back } = await this.#ends(values, text, flow[c.blocks], scale, into);
    let g = back;
    const first = this.#t.method === "full" ? 0 : Math.min(...this.leaves.map((l) => l.block));
    for (let b = c.blocks - 1; b >= first; b--) {
      const rest = await this.#rest(b), tables = this.#tablesOf(b, length), own = this.#own(values, b);
      const { own: gradients, x } = this.#blocks.backward(own, rest, tables, array(flow[b], shape), array(g, shape));
      for (const some of gradients) await this.#collect(some, b, into);
      g = await x.data() as Floats;
    }
    const to = into[this.leaves.findIndex((l) => l.name === embedName(c))];
    if (to) {
      ids.forEach((id, i) => {
        for (let j = 0; j < c.width; j++) to[id * c.width + j] += g[i * c.width + j];
      });
    }
    return sum;
  }

  close(): void {
    this.#blocks.close();
    this.#head.close();
    for (const p of this.#frozen.values()) tree.dispose(p);
    for (const t of this.#tables.values()) tree.dispose(t);
    this.#frozen.clear();
    this.#tables.clear();
    this.#outer.clear();
  }
}

const embedName = (c: ModelConfig) => `${c.names.base}${c.names.embed}.weight`;
const headName = (c: ModelConfig) => c.tied ? embedName(c) : `${c.names.head}.weight`;

/** Positions whose next token is asked for. */
function asked({ ids, length, mask }: TuneText): number[] {
  const found: number[] = [];
  for (let i = 0; i + 1 < ids.length; i++) if ((i + 1) % length > 0 && (mask?.[i + 1] ?? 1)) found.push(i);
  return found;
}

/** The chosen rows of h (n, width). */
function rowsOf(h: Floats, width: number, rows: readonly number[]): Floats {
  const out = new Float32Array(rows.length * width);
  rows.forEach((i, r) => out.set(h.subarray(i * width, (i + 1) * width), r * width));
  return out;
}

/** A LoRA's B times α/r; consumes the arrays. */
function scaledSides(own: Params, scale: number): Params {
  return Object.fromEntries(
    Object.entries(own).map(([name, a]) => [name, name.endsWith(".side_out") ? a.mul(scale) : a]),
  );
}

function array(data: Floats, shape: readonly number[]): np.Array {
  return np.array(data, { shape: [...shape] });
}

/** The same arrays once more, to be consumed. */
function refs<T extends { [name: string]: np.Array | undefined }>(p: T): T {
  return Object.fromEntries(Object.entries(p).map(([name, a]) => [name, a!.ref])) as T;
}
