// One token after another: all blocks stay in memory, keys and values of past tokens are kept instead of computed again.
import { jit, numpy as np, tree } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import type { ModelConfig } from "./config.ts";
import { blockShapes, makeTables, type Params, type Tables } from "./forward.ts";
import type { Block } from "./language_model.ts";
import { runBlock, type Stages } from "./stages.ts";

export interface DecoderOptions {
  /** The longest text, prompt included, in tokens. */
  readonly capacity: number;
  /** May replace weights of each block (setWeight) before they are loaded. */
  readonly prepare?: (block: Block) => Promise<void>;
  /** Blocks that are left out, by number; lib/model/skip_blocks.ts checks them. */
  readonly skip?: ReadonlySet<number>;
  readonly onProgress?: OnProgress;
}

/** A model in the middle of a text. */
export interface Decoder {
  readonly capacity: number;
  /** Tokens it has read so far. */
  readonly position: number;
  /** Reads more tokens. @returns the logits (vocab) of what follows the last one. */
  append(ids: readonly number[]): Promise<Floats>;
  /**
   * Reads `id`, then the likeliest token that follows, and so on, where that is faster than to ask for each.
   *
   * @returns the tokens that follow `id`, `most` of them or fewer, the last one unread; none after one of `stop`.
   */
  write?(id: number, most: number, stop: readonly number[]): Promise<number[]>;
  /** Forgets the text. */
  restart(): void;
  close(): void;
}

/** What the decoder needs of a model's two ends. */
export interface Ends {
  embed(ids: Int32Array, start: number): Promise<Floats>;
  logits(h: Floats): Promise<Matrix>;
}

/** WebAssembly ends at 4 GB; leave room for what is under way. */
const mostBytes = 3.5e9;

/** Keys or values (1, n, K, d) of a prompt, filled up to (1, capacity, K, d). */
const filled = (capacity: number) =>
  jit((rows: np.Array) => np.pad(rows, [[0, 0], [0, capacity - rows.shape[1]], [0, 0], [0, 0]]));

/** The cache (1, S, K, d) with `row` (1, 1, K, d) where `here` (1, S, 1, 1) is 1. */
const place = jit((cache: np.Array, row: np.Array, here: np.Array) =>
  cache.mul(here.ref.mul(-1).add(1)).add(row.mul(here))
);

/** The decoder behind LanguageModel.openDecoder. */
export class CachedDecoder implements Decoder {
  readonly #c: ModelConfig;
  readonly #stages: Stages;
  readonly #blocks: Params[];
  readonly #ends: Ends;
  readonly #fill: ReturnType<typeof filled>;
  #cache: [np.Array, np.Array][] = [];
  #position = 0;

  constructor(c: ModelConfig, stages: Stages, blocks: Params[], readonly capacity: number, ends: Ends) {
    [this.#c, this.#stages, this.#blocks, this.#ends] = [c, stages, blocks, ends];
    this.#fill = filled(capacity);
  }

  /** @throws LabError where all blocks, the head and the cache would not fit together. */
  static checkMemory(label: string, c: ModelConfig, capacity: number): void {
    const block = [...blockShapes(c).values()].reduce((sum, s) => sum + s.reduce((a, b) => a * b), 0);
    const bytes = 4 * (c.blocks * (block + 2 * capacity * c.kvHeads * c.headDim) + c.vocab * c.embedWidth);
    if (bytes <= mostBytes) return;
    const size = `${(bytes / 1e9).toFixed(1)} GB in float32`;
    throw new LabError("input", label, `writing text needs all of it at once, ${size}, and 3.5 GB is the most`);
  }

  get position() {
    return this.#position;
  }

  async append(ids: readonly number[]): Promise<Floats> {
    if (ids.length === 0 || this.#position + ids.length > this.capacity) {
      const text = `${ids.length} tokens after ${this.#position}, it was opened for ${this.capacity}`;
      throw new LabError("input", "decoder", text, "Open it with a larger capacity.");
    }
    if (this.#position === 0) return await this.#step(ids);
    let logits: Floats = new Float32Array(0);
    for (const id of ids) logits = await this.#step([id]);
    return logits;
  }

  /** The whole prompt at once, or one token after it. */
  async #step(ids: readonly number[]): Promise<Floats> {
    const c = this.#c, start = this.#position, first = start === 0, n = ids.length;
    const kinds = new Map<number | null, Tables>();
    for (const w of c.windows) {
      if (!kinds.has(w)) kinds.set(w, makeTables(c, start, n, w, first ? n : this.capacity));
    }
    const here = new Float32Array(this.capacity);
    here[start] = 1;
    const at = np.array(here, { shape: [1, this.capacity, 1, 1] });
    let x = np.array(await this.#ends.embed(Int32Array.from(ids), start), { shape: [1, n, c.width] });
    for (const [i, params] of this.#blocks.entries()) {
      const tables = kinds.get(c.windows[i])!;
      const mix = (q: np.Array, k: np.Array, v: np.Array) => {
        if (first) {
          this.#cache[i] = [this.#fill(k.ref), this.#fill(v.ref)];
          return this.#stages.attend(tables, q, k, v);
        }
        const [keys, values] = this.#cache[i];
        const [allKeys, allValues] = this.#cache[i] = [place(keys, k, at.ref), place(values, v, at.ref)];
        return this.#stages.attend(tables, q, allKeys.ref, allValues.ref);
      };
      x = runBlock(c, this.#stages, params, tables, x, () => false, mix)!;
    }
    const last = (await x.data() as Floats).slice((n - 1) * c.width);
    at.dispose();
    for (const tables of kinds.values()) tree.dispose(tables);
    this.#position += n;
    return (await this.#ends.logits(last)).data;
  }

  restart(): void {
    tree.dispose(this.#cache);
    this.#cache = [];
    this.#position = 0;
  }

  close(): void {
    this.restart();
    this.#fill.dispose();
    tree.dispose(this.#blocks);
    this.#blocks.length = 0;
  }
}
