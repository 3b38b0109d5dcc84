// The two ends of a model: rows of the embedding table on the way in; final norm, head and likelihoods on the way out.
import { jit, numpy as np, tree } from "@jax-js/jax";
import type { Floats, Matrix, Tensor } from "../io/tensor.ts";
import type { ModelConfig } from "./config.ts";
import { expNegative } from "./fast_math.ts";
import { linear, norm, type Params } from "./forward.ts";
import type { Hidden, OnWindow } from "./language_model.ts";

type Read = (name: string) => Promise<Tensor>;

/** Tokens per product with the head. */
const rowsAtOnce = 512;

/** Vocabulary entries per product with the head: logits of 512 tokens then take 32 MB. */
const vocabAtOnce = 16384;

const full = (c: ModelConfig, name: string) => c.names.base + name;

async function upload(c: ModelConfig, read: Read, name: string): Promise<Params> {
  const out: Params = {};
  const parts = name.startsWith(full(c, "project")) || c.norm.kind === "rms" ? ["weight"] : ["weight", "bias"];
  for (const part of parts) {
    const t = await read(`${name}.${part}`);
    out[`${name}.${part}`] = np.array(t.data, { shape: [...t.shape] });
  }
  return out;
}

/**
 * Embeddings of token ids, windows of `length` one after another: rows of the table, plus learned positions, projected and normed where the
 * family does so.
 *
 * @param start position of each window's first token.
 * @returns (ids, width).
 */
export async function embedOnHost(
  c: ModelConfig,
  read: Read,
  ids: Int32Array,
  length: number,
  start = 0,
): Promise<Floats> {
  const table = (await read(`${full(c, c.names.embed)}.weight`)).data, e = c.embedWidth;
  let data: Floats = new Float32Array(ids.length * e);
  ids.forEach((id, i) => data.set(table.subarray(id * e, (id + 1) * e), i * e));
  const apply = async (name: string, f: (p: Params, x: np.Array) => np.Array, width: number) => {
    const p = await upload(c, read, name);
    data = await f(p, np.array(data, { shape: [ids.length, width] })).data() as Floats;
    tree.dispose(p);
  };
  if (c.names.projectIn !== null) {
    const name = full(c, c.names.projectIn);
    await apply(name, (p, x) => linear(p, name, x), e);
  }
  if (c.names.positions !== null && c.positions.kind === "learned") {
    const positions = (await read(`${full(c, c.names.positions)}.weight`)).data, first = c.positions.offset + start;
    for (let i = 0; i < ids.length; i++) {
      const at = (first + i % length) * c.width;
      for (let j = 0; j < c.width; j++) data[i * c.width + j] += positions[at + j];
    }
  }
  if (c.names.embedNorm !== null) {
    const name = full(c, c.names.embedNorm);
    await apply(name, (p, x) => norm(c, p, name, x), c.width);
  }
  return data;
}

/** Largest logit and Σ e^(logit − largest) over a part of the vocabulary: h (N, E), W (C, E) → two (N). */
const partition = jit((h: np.Array, w: np.Array): [np.Array, np.Array] => {
  const scores = np.matmul(h, np.transpose(w)), most = np.max(scores.ref, -1, { keepdims: true });
  const sum = np.sum(expNegative(scores.sub(most.ref)), -1);
  return [most.reshape([h.shape[0]]), sum];
});

const product = jit((h: np.Array, w: np.Array) => np.matmul(h, np.transpose(w)));

/** Final norm and head of a model. */
export class HeadScorer {
  readonly #c: ModelConfig;
  readonly #params: Params;
  readonly #table: Floats;
  readonly #held = new Map<number, np.Array>();
  readonly #finish: ((p: Params, x: np.Array) => np.Array) & { dispose(): void };

  private constructor(c: ModelConfig, params: Params, table: Floats) {
    [this.#c, this.#params, this.#table] = [c, params, table];
    const { finalNorm, projectOut } = c.names;
    this.#finish = jit((p: Params, x: np.Array) => {
      const y = finalNorm === null ? x : norm(c, p, full(c, finalNorm), x);
      return projectOut === null ? y : linear(p, full(c, projectOut), y);
    });
  }

  static async open(c: ModelConfig, read: Read): Promise<HeadScorer> {
    let params: Params = {};
    for (const name of [c.names.finalNorm, c.names.projectOut]) {
      if (name !== null) params = { ...params, ...await upload(c, read, full(c, name)) };
    }
    const table = await read(`${c.tied ? full(c, c.names.embed) : c.names.head}.weight`);
    return new HeadScorer(c, params, table.data);
  }

  /** What the head reads: x (N, width) → (N, embedWidth). */
  async #normed(x: Floats): Promise<Floats> {
    const { width } = this.#c, rows = x.length / width;
    return await this.#finish(tree.ref(this.#params), np.array(x, { shape: [rows, width] })).data() as Floats;
  }

  /** Rows [from, to) of the head. */
  #rows(from: number, to: number): np.Array {
    const e = this.#c.embedWidth, held = this.#held.get(from);
    return held?.ref ?? np.array(this.#table.subarray(from * e, to * e), { shape: [to - from, e] });
  }

  /** Keeps the whole head uploaded, for one token after another. */
  hold(): void {
    const { vocab } = this.#c;
    for (let from = 0; from < vocab; from += vocabAtOnce) {
      if (!this.#held.has(from)) this.#held.set(from, this.#rows(from, Math.min(vocab, from + vocabAtOnce)));
    }
  }

  /**
   * −log softmax(head · norm(h))[next token]: for each part of the vocabulary its largest logit and sum of exponentials,
   * joined in float64.
   *
   * @returns (windows, length − 1), in nats.
   */
  async score(h: Hidden, ids: Int32Array, onWindow?: OnWindow): Promise<Floats> {
    const { vocab, embedWidth: e } = this.#c, rows = h.windows * h.length, batches: Floats[] = [];
    for (let r = 0; r < rows; r += rowsAtOnce) {
      batches.push(await this.#normed(h.data.subarray(r * h.width, Math.min(rows, r + rowsAtOnce) * h.width)));
    }
    const most = new Float64Array(rows).fill(-Infinity), sum = new Float64Array(rows);
    const join = async (results: np.Array[], first: number) => {
      const [m, s] = await Promise.all(results.map((r) => r.data())) as [Floats, Floats];
      for (let t = 0, i = first; t < m.length; t++, i++) {
        const larger = Math.max(most[i], m[t]);
        sum[i] = sum[i] * Math.exp(most[i] - larger) + s[t] * Math.exp(m[t] - larger);
        most[i] = larger;
      }
    };
    let pending = Promise.resolve(), done = 0; // one batch is joined while the next is computed
    for (let from = 0; from < vocab; from += vocabAtOnce) {
      const head = this.#rows(from, Math.min(vocab, from + vocabAtOnce));
      for (const [i, x] of batches.entries()) {
        const next = join(partition(np.array(x, { shape: [x.length / e, e] }), head.ref), i * rowsAtOnce);
        await pending;
        onWindow?.(done++, batches.length * Math.ceil(vocab / vocabAtOnce));
        pending = next;
      }
      head.dispose();
    }
    await pending;
    onWindow?.(1, 1);
    const predictions = h.length - 1;
    return Float32Array.from({ length: h.windows * predictions }, (_, i) => {
      const row = Math.floor(i / predictions) * h.length + i % predictions, x = batches[Math.floor(row / rowsAtOnce)];
      const state = row % rowsAtOnce * e, target = ids[row + 1] * e;
      let dot = 0;
      for (let j = 0; j < e; j++) dot += x[state + j] * this.#table[target + j];
      return most[row] + Math.log(sum[row]) - dot;
    });
  }

  /** Logits (N, vocab) of all positions of h. */
  async logits(h: Pick<Hidden, "data">): Promise<Matrix> {
    const { vocab, embedWidth: e } = this.#c, x = await this.#normed(h.data), rows = x.length / e;
    const out = new Float32Array(rows * vocab);
    for (let from = 0; from < vocab; from += vocabAtOnce) {
      const to = Math.min(vocab, from + vocabAtOnce), head = this.#rows(from, to);
      const scores = await product(np.array(x, { shape: [rows, e] }), head).data() as Floats;
      for (let r = 0; r < rows; r++) out.set(scores.subarray(r * (to - from), (r + 1) * (to - from)), r * vocab + from);
    }
    return { data: out, rows, cols: vocab };
  }

  close(): void {
    this.#finish.dispose();
    tree.dispose(this.#params);
    for (const rows of this.#held.values()) rows.dispose();
    this.#held.clear();
  }
}
