// The block of forward.ts cut into small jitted stages for inference, with the attention laid out for speed. Measured on
// WebAssembly: a product with a batch axis runs at a quarter of the speed of plain matrices, so heads get a product each.
import { jit, numpy as np, tree } from "@jax-js/jax";
import type { ModelConfig } from "./config.ts";
import { expNegative, siluFast } from "./fast_math.ts";
import { activate, attend, linear, norm, type Params, queriesKeysValues, type Tables } from "./forward.ts";

/** Compiled stages of a model's block. Parameters and tables are borrowed, other arrays are consumed. */
export interface Stages {
  norm(name: string, p: Params, x: np.Array): np.Array;
  queriesKeysValues(p: Params, t: Tables, x: np.Array): [np.Array, np.Array, np.Array];
  attend(t: Tables, q: np.Array, k: np.Array, v: np.Array): np.Array;
  hidden(p: Params, x: np.Array): np.Array;
  /** residual + linear(x). */
  addLinear(name: string, p: Params, x: np.Array, residual: np.Array): np.Array;
  close(): void;
}

/** Below this many scores a head, one batched product costs less than a dispatch per head. */
const fewScores = 1 << 17;

/** Into how many strips of queries the causal triangle is cut, so that keys after a strip's last query are not touched. */
function stripCount(queries: number, keys: number): number {
  if (queries !== keys) return 1;
  return [4, 2].find((n) => queries % n === 0 && queries / n >= 64) ?? 1;
}

/**
 * forward.ts's attend, one head and one strip of queries at a time; exponentials as in fast_math.ts, the division by
 * their sum after the product with the values.
 */
export function attendByHead(t: Tables, q: np.Array, k: np.Array, v: np.Array): np.Array {
  const [b, heads, n, group, d] = q.shape, keys = k.shape[1];
  if (n * group * keys < fewScores) return attend(t, q, k, v);
  const strips = stripCount(n, keys), rows = n / strips, windows: np.Array[] = [];
  q = q.reshape([b, heads, n * group, d]);
  for (let w = 0; w < b; w++) {
    const mixed: np.Array[] = [];
    for (let h = 0; h < heads; h++) {
      const parts: np.Array[] = [];
      for (let s = 0; s < strips; s++) {
        const from = s * rows, to = from + rows, seen = strips === 1 ? keys : to;
        const own = q.ref.slice(w, h, [from * group, to * group]);
        let scores = np.matmul(own, np.transpose(k.ref.slice(w, [0, seen], h))).reshape([rows, group, seen]);
        scores = scores.add(t.causal.ref.slice([from, to], [], [0, seen]));
        if (t.alibi) scores = scores.add(t.alibi.ref.slice(h, [], [], [0, seen]));
        scores = scores.reshape([rows * group, seen]);
        const shares = expNegative(scores.ref.sub(np.max(scores, -1, { keepdims: true })));
        const total = np.reciprocal(np.sum(shares.ref, -1, { keepdims: true }));
        parts.push(np.matmul(shares, v.ref.slice(w, [0, seen], h)).mul(total));
      }
      mixed.push((strips === 1 ? parts[0] : np.concatenate(parts, 0)).reshape([1, n, group * d]));
    }
    windows.push(heads === 1 ? mixed[0] : np.concatenate(mixed, 2));
  }
  for (const a of [q, k, v]) a.dispose();
  return b === 1 ? windows[0] : np.concatenate(windows, 0);
}

function pick(p: Params, names: readonly string[]): Params {
  const out: Params = {};
  for (const name of names) {
    for (const key of [`${name}.weight`, `${name}.bias`]) if (p[key]) out[key] = p[key].ref;
  }
  return out;
}

/** Compiles the stages; each compiles once more for every new shape. */
export function compileStages(c: ModelConfig): Stages {
  const { names } = c, fast = c.activation === "silu" ? siluFast : (x: np.Array) => activate(c, x);
  const norms = new Map(
    [names.norm1, names.norm2].filter((n) => n !== null).map((
      name,
    ) => [name, jit((p: Params, x: np.Array) => norm(c, p, name, x))]),
  );
  const adders = new Map(
    [names.output, names.down].map((
      name,
    ) => [name, jit((p: Params, x: np.Array, r: np.Array) => linear(p, name, x).add(r))]),
  );
  const qkv = jit((p: Params, t: Tables, x: np.Array) => queriesKeysValues(c, p, t, x));
  const attention = jit(attendByHead);
  const project = new Map(
    [names.gate, names.up].filter((n) => n !== null).map((
      name,
    ) => [name, jit((p: Params, x: np.Array) => linear(p, name, x))]),
  );
  const gated = jit((gate: np.Array, up: np.Array) => fast(gate).mul(up)), plain = jit(fast);
  return {
    norm: (name, p, x) => norms.get(name)!(pick(p, [name]), x),
    queriesKeysValues: (p, t, x) => {
      const rotary: Tables = { causal: t.causal.ref };
      if (t.cos && t.sin) [rotary.cos, rotary.sin] = [t.cos.ref, t.sin.ref];
      return qkv(pick(p, names.qkv), rotary, x);
    },
    attend: (t, q, k, v) => {
      const biases: Tables = { causal: t.causal.ref };
      if (t.alibi) biases.alibi = t.alibi.ref;
      return attention(biases, q, k, v);
    },
    hidden: (p, x) => {
      if (names.gate === null) return plain(project.get(names.up)!(pick(p, [names.up]), x));
      const gate = project.get(names.gate)!(pick(p, [names.gate]), x.ref);
      return gated(gate, project.get(names.up)!(pick(p, [names.up]), x));
    },
    addLinear: (name, p, x, residual) => adders.get(name)!(pick(p, [name]), x, residual),
    close: () => {
      const all = [...norms.values(), ...adders.values(), ...project.values(), qkv, attention, gated, plain];
      for (const f of all) f.dispose();
    },
  };
}

/**
 * Runs one block in stages: x (B, T, W) → (B, T, W).
 *
 * @param tap is shown what each input of linears is (see LinearInfo.input), borrowed; true stops the block there.
 * @param mix attention over something else than the window itself: a cache.
 * @returns null where it was stopped.
 */
export function runBlock(
  c: ModelConfig,
  s: Stages,
  p: Params,
  t: Tables,
  x: np.Array,
  tap: (input: string, x: np.Array) => boolean = () => false,
  mix = (q: np.Array, k: np.Array, v: np.Array) => s.attend(t, q, k, v),
): np.Array | null {
  const { names } = c, held: np.Array[] = [x];
  const keep = (a: np.Array) => (held.push(a), a);
  try {
    const y = c.normAfter ? x : keep(s.norm(names.norm1, p, x.ref));
    if (tap("attention", y)) return null;
    const a = keep(mix(...s.queriesKeysValues(p, t, y.ref)));
    if (tap("output", a)) return null;
    let h = keep(s.addLinear(names.output, p, a.ref, (c.residualAfterNorm ? y : x).ref));
    if (c.normAfter) h = keep(s.norm(names.norm1, p, h.ref));
    let z = c.normAfter ? h : y;
    if (!c.normAfter && names.norm2 !== null) z = keep(s.norm(names.norm2, p, (c.parallel ? x : h).ref));
    if (names.norm2 !== null && tap("mlp", z)) return null;
    const hidden = keep(s.hidden(p, z.ref));
    if (tap("down", hidden)) return null;
    const out = s.addLinear(names.down, p, hidden.ref, (c.residualAfterNorm ? z : h).ref);
    return c.normAfter && names.norm2 !== null ? s.norm(names.norm2, p, out) : out;
  } finally {
    tree.dispose(held);
  }
}
