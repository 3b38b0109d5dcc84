// What runs blocks: worker threads (threads/) or jax-js (block_jax.ts). The same passes, the same numbers to rounding.
import type { Floats, Matrix, Tensor } from "../io/tensor.ts";

/** Hidden states, as they enter and leave blocks: data (windows, length, width). */
export interface Hidden {
  readonly data: Floats;
  readonly windows: number;
  readonly length: number;
  readonly width: number;
}

/** Called after each batch of windows. */
export type OnWindow = (done: number, total: number) => void;

/** A block's tensors by their names inside the block. */
export type BlockTensors = ReadonlyMap<string, Tensor>;

/** Passes over windows through one block; `window` is how many tokens back it sees (null: all). */
export interface BlockRunner {
  /** The block's output (windows, length, width). */
  forward(tensors: BlockTensors, h: Hidden, window: number | null, onWindow?: OnWindow): Promise<Floats>;
  /** factor · Σ XᵀX of each input of linears (name → its width), up to the last of them. */
  gram(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    inputs: ReadonlyMap<string, number>,
    factor: number,
    onWindow?: OnWindow,
  ): Promise<Map<string, Matrix>>;
  /** X (windows·length, cols) of one input. */
  capture(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    input: string,
    cols: number,
    onWindow?: OnWindow,
  ): Promise<Matrix>;
  /**
   * For each row of `states` (one (rows, width) a window) the largest logit, and Σ e^(logit − largest), over rows
   * [from, to) of `head` (vocab, width).
   */
  partition(
    states: readonly Floats[],
    head: Floats,
    width: number,
    from: number,
    to: number,
    onWindow?: (window: number) => void,
  ): Promise<Partition[]>;
  /** Forgets what it keeps of a block. */
  release(tensors: BlockTensors): void;
  close(): void;
}

/** See BlockRunner.partition; both (rows). */
export interface Partition {
  readonly most: Float32Array;
  readonly sum: Float32Array;
}
