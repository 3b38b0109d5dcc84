// Blocks on jax-js, in the stages of stages.ts: the path for a GPU, and the one that any backend of jax can take.
import { jit, numpy as np, tree } from "@jax-js/jax";
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import type { ModelConfig } from "./config.ts";
import { expNegative } from "./fast_math.ts";
import { makeTables, type Params, type Tables } from "./forward.ts";
import { GramSum } from "./gram.ts";
import type { BlockRunner, BlockTensors, Hidden, OnWindow, Partition } from "./runner.ts";
import { runBlock, type Stages } from "./stages.ts";

/** Tokens that go through a stage together: enough to fill the threads, few enough to stay in the cache. */
const tokensAtOnce = 512;

/** Largest logit and Σ e^(logit − largest): h (N, E), W (C, E) → two (N). */
const partition = jit((h: np.Array, w: np.Array): [np.Array, np.Array] => {
  const scores = np.matmul(h, np.transpose(w)), most = np.max(scores.ref, -1, { keepdims: true });
  const sum = np.sum(expNegative(scores.sub(most.ref)), -1);
  return [most.reshape([h.shape[0]]), sum];
});

/** Uploads tensors as jax arrays. */
export function upload(tensors: BlockTensors): Params {
  const params: Params = {};
  for (const [name, t] of tensors) params[name] = np.array(t.data, { shape: [...t.shape] });
  return params;
}

export class BlockJax implements BlockRunner {
  readonly #c: ModelConfig;
  readonly #stages: Stages;
  readonly #tables = new Map<string, Tables>();
  /** Per block, its arrays and the tensors they were made of. */
  readonly #uploaded = new Map<BlockTensors, { params: Params; of: Map<string, unknown> }>();

  constructor(c: ModelConfig, stages: Stages) {
    [this.#c, this.#stages] = [c, stages];
  }

  #params(tensors: BlockTensors): Params {
    let known = this.#uploaded.get(tensors);
    if (!known) this.#uploaded.set(tensors, known = { params: {}, of: new Map() });
    for (const [name, t] of tensors) {
      if (known.of.get(name) === t) continue;
      known.params[name]?.dispose();
      known.params[name] = np.array(t.data, { shape: [...t.shape] });
      known.of.set(name, t);
    }
    return known.params;
  }

  #table(length: number, window: number | null): Tables {
    const key = `${length},${window}`;
    let tables = this.#tables.get(key);
    if (!tables) this.#tables.set(key, tables = makeTables(this.#c, 0, length, window));
    return tables;
  }

  /** Runs the block over batches of windows, two of them under way at a time; `finish` gets each batch's output. */
  async #pass(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    tap: (input: string, x: np.Array) => boolean,
    finish: (out: np.Array | null, firstWindow: number) => Promise<void>,
    onWindow?: OnWindow,
  ): Promise<void> {
    const { windows, length, width } = h, params = this.#params(tensors), tables = this.#table(length, window);
    const batch = Math.max(1, Math.floor(tokensAtOnce / length)), size = length * width;
    let pending: Promise<void> = Promise.resolve();
    for (let w = 0; w < windows; w += batch) {
      const count = Math.min(batch, windows - w);
      const x = np.array(h.data.subarray(w * size, (w + count) * size), { shape: [count, length, width] });
      const done = finish(runBlock(this.#c, this.#stages, params, tables, x, tap), w);
      await pending;
      onWindow?.(w, windows);
      pending = done;
    }
    await pending;
    onWindow?.(windows, windows);
  }

  async forward(tensors: BlockTensors, h: Hidden, window: number | null, onWindow?: OnWindow): Promise<Floats> {
    const data = new Float32Array(h.data.length), size = h.length * h.width;
    await this.#pass(tensors, h, window, () => false, async (out, first) => {
      if (out) data.set(await out.data() as Floats, first * size);
    }, onWindow);
    return data;
  }

  async gram(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    inputs: ReadonlyMap<string, number>,
    factor: number,
    onWindow?: OnWindow,
  ): Promise<Map<string, Matrix>> {
    const sums = new Map([...inputs].map(([name, n]) => [name, new GramSum(n)])), last = [...inputs.keys()].at(-1);
    await this.#pass(tensors, h, window, (input, x) => {
      sums.get(input)?.add(x.ref);
      return input === last;
    }, async () => {
      for (const sum of sums.values()) await sum.settle();
    }, onWindow);
    const out = new Map<string, Matrix>();
    for (const [name, sum] of sums) out.set(name, await sum.close(factor));
    return out;
  }

  async capture(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    input: string,
    cols: number,
    onWindow?: OnWindow,
  ): Promise<Matrix> {
    const x = matrix(h.windows * h.length, cols), seen: np.Array[] = [];
    await this.#pass(tensors, h, window, (name, a) => name === input && seen.push(a.ref) > 0, async (_, first) => {
      x.data.set(await seen.shift()!.data() as Floats, first * h.length * cols);
    }, onWindow);
    return x;
  }

  async partition(
    states: readonly Floats[],
    head: Floats,
    width: number,
    from: number,
    to: number,
    onWindow?: (window: number) => void,
  ): Promise<Partition[]> {
    const rows = np.array(head.subarray(from * width, to * width), { shape: [to - from, width] });
    const out: Partition[] = [];
    for (const [w, x] of states.entries()) {
      const results = partition(np.array(x, { shape: [x.length / width, width] }), rows.ref);
      const [most, sum] = await Promise.all(results.map((r) => r.data())) as [Floats, Floats];
      out.push({ most, sum });
      onWindow?.(w);
    }
    rows.dispose();
    return out;
  }

  release(tensors: BlockTensors): void {
    tree.dispose(this.#uploaded.get(tensors)?.params);
    this.#uploaded.delete(tensors);
  }

  close(): void {
    for (const tensors of [...this.#uploaded.keys()]) this.release(tensors);
    for (const tables of this.#tables.values()) tree.dispose(tables);
    this.#tables.clear();
  }
}
