// A block on worker threads: where its weights and every worker's memory lie, and the passes over windows.
import { type Floats, type Matrix, matrix, type Tensor } from "../../io/tensor.ts";
import type { ModelConfig } from "../config.ts";
import type { BlockRunner, BlockTensors, Hidden, OnWindow, Partition } from "../runner.ts";
import { alibiBias, rotaryTables } from "../positions.ts";
import { panelCols, panelRows } from "./native.ts";
import { Pool } from "./pool.ts";
import { layScratch, type PlacedLinear, type Scratch, type SharedLayout, type Wants } from "./worker_block.ts";

const up = (n: number, step: number) => Math.ceil(n / step) * step;

interface Layout {
  readonly length: number;
  readonly shared: SharedLayout;
  readonly scratch: readonly Scratch[];
  /** Per worker, where its sums of each input lie. */
  readonly grams: readonly Readonly<Record<string, number>>[];
  readonly copies: readonly number[];
  readonly floats: number;
}

/** Runs the blocks of one model, one block loaded at a time. */
export class BlockThreads implements BlockRunner {
  readonly #c: ModelConfig;
  readonly #pool: Pool;
  #layout: Layout | null = null;
  #loaded: BlockTensors | null = null;
  readonly #packed = new Map<string, Tensor>();

  constructor(c: ModelConfig, pool = new Pool()) {
    [this.#c, this.#pool] = [c, pool];
  }

  /** Memory for windows of `length` tokens: tables, one block's weights, then each worker's own. */
  #lay(length: number): Layout {
    const c = this.#c;
    let at = 0;
    const take = (n: number) => {
      const from = at;
      at += up(n, 16);
      return from;
    };
    const rotary = c.positions.kind === "rotary", alibi = c.positions.kind === "alibi";
    const norms: Record<string, [number, number]> = {};
    for (const name of [c.names.norm1, c.names.norm2]) {
      if (name !== null) norms[name] = [take(c.width), c.norm.kind === "layer" ? take(c.width) : -1];
    }
    const linears: PlacedLinear[] = c.linears.map((info) => ({
      info,
      packed: take(up(info.out, panelCols) * info.in),
      bias: info.bias ? take(info.out) : -1,
    }));
    const shared: SharedLayout = {
      linears,
      norms,
      cos: rotary ? take(length * c.headDim) : -1,
      sin: rotary ? take(length * c.headDim) : -1,
      alibi: alibi ? take(c.heads * length) : -1,
    };
    const inputs = new Map(c.linears.map((l) => [l.input, l.in])), widest = Math.max(...inputs.values());
    const scratch: Scratch[] = [], grams: Record<string, number>[] = [], copies: number[] = [];
    for (let i = 0; i < this.#pool.size; i++) {
      scratch.push(layScratch(c, length, at));
      at = scratch[i].end;
      grams.push(Object.fromEntries([...inputs].map(([name, n]) => [name, take(up(n, panelRows) * up(n, panelCols))])));
      copies.push(take(length * widest));
    }
    return { length, shared, scratch, grams, copies, floats: at };
  }

  /** Brings a block's weights into shared memory, those that are not there yet, and tells the workers. */
  async #load(
    tensors: BlockTensors,
    length: number,
  ): Promise<[Layout, Float32Array<SharedArrayBuffer>]> {
    const fresh = this.#layout?.length !== length, c = this.#c;
    const layout = this.#layout = fresh ? this.#lay(length) : this.#layout!;
    const f = this.#pool.floats(layout.floats), { shared } = layout;
    if (fresh) {
      if (c.positions.kind === "rotary") {
        const { cos, sin } = rotaryTables(c.positions, c.headDim, 0, length);
        f.set(cos, shared.cos);
        f.set(sin, shared.sin);
      }
      const alibi = alibiBias(c, length);
      if (alibi) f.set(alibi, shared.alibi);
    }
    if (fresh || this.#loaded !== tensors) this.#packed.clear();
    this.#loaded = tensors;
    for (const { info, packed, bias } of shared.linears) {
      const weight = tensors.get(`${info.name}.weight`)!;
      if (this.#packed.get(info.name) === weight) continue;
      this.#packed.set(info.name, weight);
      packWeights(f, weight.data, info.out, info.in, packed);
      if (bias >= 0) f.set(tensors.get(`${info.name}.bias`)!.data, bias);
    }
    for (const [name, [gain, bias]] of Object.entries(shared.norms)) {
      f.set(tensors.get(`${name}.weight`)!.data, gain);
      if (bias >= 0) f.set(tensors.get(`${name}.bias`)!.data, bias);
    }
    if (fresh) {
      await Promise.all(
        layout.scratch.map((scratch, i) => this.#pool.tell(i, { type: "block", config: c, scratch, shared })),
      );
    }
    return [layout, f];
  }

  async #pass(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    wants: (worker: number, layout: Layout) => Wants,
    finish: (f: Float32Array<SharedArrayBuffer>, layout: Layout, worker: number, window: number) => void,
    onWindow?: OnWindow,
  ): Promise<[Layout, Float32Array<SharedArrayBuffer>]> {
    const [layout, f] = await this.#load(tensors, h.length), size = h.length * h.width;
    for (let i = 0; i < this.#pool.size; i++) {
      for (const [input, at] of Object.entries(wants(i, layout).grams)) {
        const n = this.#c.linears.find((l) => l.input === input)!.in;
        f.fill(0, at, at + up(n, panelRows) * up(n, panelCols));
      }
    }
    let done = 0;
    await this.#pool.each(h.windows, async (w, worker) => {
      f.set(h.data.subarray(w * size, (w + 1) * size), layout.scratch[worker].x);
      await this.#pool.tell(worker, { type: "run", rows: h.length, window, wants: wants(worker, layout) });
      finish(f, layout, worker, w);
      onWindow?.(++done, h.windows);
    });
    return [layout, f];
  }

  /** The block's output, (windows, length, width). */
  async forward(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    onWindow?: OnWindow,
  ): Promise<Floats> {
    const out = new Float32Array(h.data.length), size = h.length * h.width;
    const wants: Wants = { grams: {}, copyInput: null, copyTo: 0, last: null };
    await this.#pass(tensors, h, window, () => wants, (f, layout, worker, w) => {
      const at = layout.scratch[worker].y;
      out.set(f.subarray(at, at + size), w * size);
    }, onWindow);
    return out;
  }

  /** factor · Σ XᵀX of each input (name → width of X), up to the last of them. */
  async gram(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    inputs: ReadonlyMap<string, number>,
    factor: number,
    onWindow?: OnWindow,
  ): Promise<Map<string, Matrix>> {
    const names = [...inputs.keys()], last = names.at(-1) ?? null;
    const [layout, f] = await this.#pass(
      tensors,
      h,
      window,
      (worker, layout) => {
        const grams = Object.fromEntries(names.map((name) => [name, layout.grams[worker][name]]));
        return { grams, copyInput: null, copyTo: 0, last };
      },
      () => {},
      onWindow,
    );
    const out = new Map<string, Matrix>();
    for (const [name, n] of inputs) {
      const sum = matrix(n, n), stride = up(n, panelCols);
      for (let i = 0; i < n; i++) {
        for (let j = i; j < n; j++) {
          let value = 0;
          for (const grams of layout.grams) value += f[grams[name] + i * stride + j];
          sum.data[i * n + j] = sum.data[j * n + i] = factor * value;
        }
      }
      out.set(name, sum);
    }
    return out;
  }

  /** X of one input, (windows·length, width of X). */
  async capture(
    tensors: BlockTensors,
    h: Hidden,
    window: number | null,
    input: string,
    cols: number,
    onWindow?: OnWindow,
  ): Promise<Matrix> {
    const x = matrix(h.windows * h.length, cols), size = h.length * cols;
    await this.#pass(tensors, h, window, (worker, layout) => {
      return { grams: {}, copyInput: input, copyTo: layout.copies[worker], last: input };
    }, (f, layout, worker, w) => {
      x.data.set(f.subarray(layout.copies[worker], layout.copies[worker] + size), w * size);
    }, onWindow);
    return x;
  }

  /**
   * Largest logit and Σ e^(logit − largest) of each row of `states` over rows [from, to) of the head.
   *
   * @param states one (rows, width) a window. @param head (vocab, width).
   */
  async partition(
    states: readonly Floats[],
    head: Floats,
    width: number,
    from: number,
    to: number,
    onWindow?: (window: number) => void,
  ): Promise<Partition[]> {
    this.#layout = this.#loaded = null; // the memory is used anew
    const rows = Math.max(...states.map((s) => s.length / width)),
      vocab = to - from,
      packed = up(vocab, panelCols) * width;
    let at = packed;
    const scratch = Array.from({ length: this.#pool.size }, () => {
      const s = layScratch({ ...this.#c, width, ffn: Math.max(this.#c.ffn, 512) }, rows, at);
      at = s.end;
      return s;
    });
    const f = this.#pool.floats(at), out: Partition[] = [];
    packWeights(f, head.subarray(from * width, to * width), vocab, width, 0);
    await this.#pool.each(states.length, async (w, worker) => {
      const s = scratch[worker], count = states[w].length / width;
      f.set(states[w], s.x);
      await this.#pool.tell(worker, { type: "score", scratch: s, rows: count, width, head: 0, vocab });
      out[w] = { most: f.slice(s.y, s.y + count), sum: f.slice(s.y + count, s.y + 2 * count) };
      onWindow?.(w);
    });
    return out;
  }

  release(tensors: BlockTensors): void {
    if (this.#loaded === tensors) this.#loaded = null;
  }

  close(): void {
    this.#pool.close();
  }
}

/** Packs W (rows, k) of ordinary memory into B panels of Wᵀ at `to`. */
function packWeights(f: Float32Array<SharedArrayBuffer>, w: Floats, rows: number, k: number, to: number): void {
  const panel = new Float32Array(panelCols * k);
  for (let r = 0; r < rows; r += panelCols, to += panel.length) {
    const count = Math.min(panelCols, rows - r), own = w.subarray(r * k, (r + count) * k);
    for (let i = 0; i < k; i++) {
      for (let c = 0; c < panelCols; c++) {
        panel[i * panelCols + c] = c < count ? own[c * k + i] : 0;
      }
    }
    f.set(panel, to);
  }
}
