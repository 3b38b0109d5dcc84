// The forward pass as pure functions on jax arrays: the one definition of every model that calibration, perplexity,
// generation and training share. It works on any backend and can be differentiated.
//
// Ownership: parameters and tables are borrowed, other arrays are consumed (jax-js frees what it is given).
// Letters: B windows, T tokens, W width, K key heads, G query heads that share one, d width of a head.
import { nn, numpy as np } from "@jax-js/jax";
import type { ModelConfig } from "./config.ts";
import { alibiBias, causalBias, rotaryTables } from "./positions.ts";

export { blockPrefix, blockShapes, parameterShapes } from "./parameters.ts";

/** Arrays by the name they bear in the model's files; inside a block without the block's prefix. */
export type Params = { [name: string]: np.Array };

/** What attention needs to know of positions. */
export type Tables = {
  /** (T, 1, 2, d/2), for rotary models. */
  cos?: np.Array;
  sin?: np.Array;
  /** (T, 1, S) for T queries and S keys. */
  causal: np.Array;
  /** (K, 1, G, S), for alibi models. */
  alibi?: np.Array;
};

/**
 * Tables for `length` queries from position `start` over `keys` positions.
 *
 * @param window the block's sliding window, or null.
 */
export function makeTables(
  c: ModelConfig,
  start: number,
  length: number,
  window: number | null,
  keys = start + length,
): Tables {
  const causal = np.array(causalBias(start, length, keys, window), { shape: [length, 1, keys] });
  const tables: Tables = { causal };
  if (c.positions.kind === "rotary") {
    const shape = [length, 1, 2, c.headDim / 2], { cos, sin } = rotaryTables(c.positions, c.headDim, start, length);
    tables.cos = np.array(cos, { shape });
    tables.sin = np.array(sin, { shape });
  }
  const alibi = alibiBias(c, keys);
  if (alibi) tables.alibi = np.array(alibi, { shape: [c.kvHeads, 1, c.heads / c.kvHeads, keys] });
  return tables;
}

/** RMS norm x/√(mean x² + ε)·g, or layer norm (x − mean)/√(variance + ε)·g + b, over the last axis. */
export function norm(c: ModelConfig, p: Params, name: string, x: np.Array): np.Array {
  const eps = c.norm.eps, weight = p[`${name}.weight`].ref, bias = p[`${name}.bias`];
  if (c.norm.kind === "rms") {
    const scale = np.reciprocal(np.sqrt(np.mean(np.square(x.ref), -1, { keepdims: true }).add(eps)));
    return x.mul(scale).mul(weight);
  }
  const centred = x.ref.sub(np.mean(x, -1, { keepdims: true }));
  const scale = np.reciprocal(np.sqrt(np.mean(np.square(centred.ref), -1, { keepdims: true }).add(eps)));
  const y = centred.mul(scale).mul(weight);
  return bias ? y.add(bias.ref) : y;
}

/**
 * x (…, in) · Wᵀ + b with W (out, in) as files store it: the layout jax-js multiplies fastest.
 *
 * Where the parameters hold NAME.side_in S (k, in) and NAME.side_out U (out, k), (x · Sᵀ) · Uᵀ is added: what tuning trains
 * beside a frozen W (tune_leaves.ts). A derivative by U keeps only x · Sᵀ (…, k), never x.
 */
export function linear(p: Params, name: string, x: np.Array): np.Array {
  const weight = p[`${name}.weight`].ref, bias = p[`${name}.bias`];
  const sideIn = p[`${name}.side_in`], sideOut = p[`${name}.side_out`];
  const shape = x.shape, rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const flat = x.reshape([rows, shape[shape.length - 1]]);
  const side = sideIn && sideOut
    ? np.matmul(np.matmul(flat.ref, np.transpose(sideIn.ref)), np.transpose(sideOut.ref))
    : null;
  const y = np.matmul(flat, np.transpose(weight)), whole = side ? y.add(side) : y;
  const out = bias ? whole.add(bias.ref) : whole;
  return out.reshape([...shape.slice(0, -1), out.shape[1]]);
}

/** Rotates heads x (B, T, heads, d) by the angles of their positions; see rotaryTables. */
function rotate(t: Tables, x: np.Array): np.Array {
  if (!t.cos || !t.sin) return x;
  const [b, n, heads, d] = x.shape, pairs = x.reshape([b, n, heads, 2, d / 2]);
  return pairs.ref.mul(t.cos.ref).add(np.flip(pairs, 3).mul(t.sin.ref)).reshape([b, n, heads, d]);
}

/** The parts [from, to) of the second last axis of x (B, T, K, parts, d). */
function parts(x: np.Array, from: number, to: number): np.Array {
  return x.slice([], [], [], [from, to]);
}

/**
 * Queries, keys and values of x (B, T, W), rotated where the model rotates, queries divided by √d.
 *
 * @returns q (B, K, T, G, d), k and v (B, T, K, d).
 */
export function queriesKeysValues(c: ModelConfig, p: Params, t: Tables, x: np.Array): [np.Array, np.Array, np.Array] {
  const [b, n] = x.shape, d = c.headDim, group = c.heads / c.kvHeads;
  let q: np.Array, k: np.Array, v: np.Array;
  if (c.names.qkv.length === 1) {
    const all = linear(p, c.names.qkv[0], x).reshape([b, n, c.kvHeads, group + 2, d]);
    q = parts(all.ref, 0, group).reshape([b, n, c.heads, d]);
    k = parts(all.ref, group, group + 1).reshape([b, n, c.kvHeads, d]);
    v = parts(all, group + 1, group + 2).reshape([b, n, c.kvHeads, d]);
  } else {
    const [qName, kName, vName] = c.names.qkv;
    q = linear(p, qName, x.ref).reshape([b, n, c.heads, d]);
    k = linear(p, kName, x.ref).reshape([b, n, c.kvHeads, d]);
    v = linear(p, vName, x).reshape([b, n, c.kvHeads, d]);
  }
  q = rotate(t, q).mul(1 / Math.sqrt(d)).reshape([b, n, c.kvHeads, group, d]);
  return [np.transpose(q, [0, 2, 1, 3, 4]), rotate(t, k), v];
}

/**
 * softmax(q kᵀ + bias) v per head. The query heads of a key head are stacked as rows of one product, so that keys and
 * values are never repeated.
 *
 * @param q (B, K, T, G, d). @param k (B, S, K, d). @param v (B, S, K, d).
 * @returns (B, T, heads·d).
 */
export function attend(t: Tables, q: np.Array, k: np.Array, v: np.Array): np.Array {
  const [b, heads, n, group, d] = q.shape, keys = k.shape[1];
  const product = np.matmul(q.reshape([b, heads, n * group, d]), np.transpose(k, [0, 2, 3, 1]));
  let scores = product.reshape([b, heads, n, group, keys]).add(t.causal.ref);
  if (t.alibi) scores = scores.add(t.alibi.ref);
  const shares = nn.softmax(scores, -1).reshape([b, heads, n * group, keys]);
  const mixed = np.matmul(shares, np.transpose(v, [0, 2, 1, 3])).reshape([b, heads, n, group, d]);
  return np.transpose(mixed, [0, 2, 1, 3, 4]).reshape([b, n, heads * group * d]);
}

/** The MLP's activation, element by element. */
export function activate(c: ModelConfig, x: np.Array): np.Array {
  switch (c.activation) {
    case "silu":
      return nn.silu(x);
    case "relu":
      return nn.relu(x);
    case "gelu":
      return nn.gelu(x, { approximate: false });
    case "gelu-tanh":
      return nn.gelu(x, { approximate: true });
  }
}

/** What the last linear of the MLP reads: act(gate x)·(up x), or act(up x). x (…, W) → (…, ffn). */
export function mlpHidden(c: ModelConfig, p: Params, x: np.Array): np.Array {
  if (c.names.gate === null) return activate(c, linear(p, c.names.up, x));
  const gate = activate(c, linear(p, c.names.gate, x.ref));
  return gate.mul(linear(p, c.names.up, x));
}

/** The first part of a block, up to attention: x (B, T, W) → queries, keys, values as {@link queriesKeysValues} has them. */
export function blockQueries(c: ModelConfig, p: Params, t: Tables, x: np.Array): [np.Array, np.Array, np.Array] {
  return queriesKeysValues(c, p, t, c.normAfter ? x : norm(c, p, c.names.norm1, x));
}

/** The rest of a block: its input x (B, T, W) and what attention mixed a (B, T, heads·d) → (B, T, W). */
export function blockRest(c: ModelConfig, p: Params, x: np.Array, a: np.Array): np.Array {
  const { names } = c, mixed = linear(p, names.output, a);
  const mlp = (y: np.Array) => linear(p, names.down, mlpHidden(c, p, y));
  if (c.normAfter) {
    const h = norm(c, p, names.norm1, x.add(mixed));
    return norm(c, p, names.norm2 ?? names.norm1, h.ref.add(mlp(h)));
  }
  if (c.parallel) return x.ref.add(mixed).add(mlp(norm(c, p, names.norm2 ?? names.norm1, x)));
  const h = (c.residualAfterNorm ? norm(c, p, names.norm1, x) : x).add(mixed);
  const z = norm(c, p, names.norm2 ?? names.norm1, h.ref);
  const residual = c.residualAfterNorm ? z.ref : h.ref;
  h.dispose();
  return residual.add(mlp(z));
}

/** One block: x (B, T, W) → (B, T, W). */
export function block(c: ModelConfig, p: Params, t: Tables, x: np.Array): np.Array {
  const a = attend(t, ...blockQueries(c, p, t, x.ref));
  return blockRest(c, p, x, a);
}

/** Final norm and head: h (B, T, W) → logits (B, T, vocab). */
export function logits(c: ModelConfig, p: Params, h: np.Array): np.Array {
  const { names } = c, full = (name: string) => names.base + name;
  if (names.finalNorm !== null) h = norm(c, p, full(names.finalNorm), h);
  if (names.projectOut !== null) h = linear(p, full(names.projectOut), h);
  return linear(p, c.tied ? full(names.embed) : names.head, h);
}
