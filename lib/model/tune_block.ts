// One block forward and back, in three compiled parts: up to queries, keys and values; attention; the rest. As one they are
// three times slower: jax-js multiplies a transposed view element by element, and only what leaves a compiled function is
// laid out anew (0.1.25: qkᵀ of two linears' outputs 100 ms in one function, 15 ms in two, at 512 × 256).
import { jit, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import type { ModelConfig } from "./config.ts";
import { attend, blockQueries, blockRest, type Params, type Tables } from "./forward.ts";

/** Compiled passes through any block of a model; each compiles once more for every new shape. */
export interface BlockPasses {
  /** x (B, T, W) → (B, T, W). All arguments are consumed. */
  forward(own: Params, frozen: Params, tables: Tables, x: np.Array): np.Array;
  /**
   * From g = ∂L/∂output (B, T, W) to ∂L/∂own and ∂L/∂x; what happens inside is computed again. All arguments are consumed.
   * A tensor that both parts read is in `own` twice, its gradient is the sum.
   */
  backward(own: Params, frozen: Params, tables: Tables, x: np.Array, g: np.Array): { own: Params[]; x: np.Array };
  close(): void;
}

type Triple = [np.Array, np.Array, np.Array];

/**
 * Compiles the passes.
 *
 * @param prepare makes the parameters that the forward pass reads of the trained tensors; it consumes them.
 */
export function compileBlock(c: ModelConfig, prepare: (own: Params) => Params): BlockPasses {
  const { names } = c, first = new Set([...names.qkv, ...(c.normAfter ? [] : [names.norm1])]);
  const again = c.normAfter || c.parallel || c.residualAfterNorm ? names.norm1 : null;
  const inFirst = (name: string) => first.has(name.slice(0, name.lastIndexOf(".")));
  const inRest = (name: string) => !inFirst(name) || name.slice(0, name.lastIndexOf(".")) === again;
  const pick = (p: Params, keep: (name: string) => boolean): Params =>
    Object.fromEntries(Object.entries(p).filter(([name]) => keep(name)).map(([name, a]) => [name, a.ref]));

  const queries = (own: Params, x: np.Array, frozen: Params, t: Tables): Triple => {
    const p = { ...frozen, ...prepare(own) }, out = blockQueries(c, p, t, x);
    tree.dispose([p, t]);
    return out;
  };
  const rest = (own: Params, x: np.Array, a: np.Array, frozen: Params): np.Array => {
    const p = { ...frozen, ...prepare(own) }, y = blockRest(c, p, x, a);
    tree.dispose(p);
    return y;
  };
  const mix = (q: np.Array, k: np.Array, v: np.Array, t: Tables): np.Array => {
    const a = attend(t, q, k, v);
    tree.dispose(t);
    return a;
  };
  const runQueries = jit(queries), runMix = jit(mix), runRest = jit(rest);
  const backQueries = jit(valueAndGrad((own: Params, x: np.Array, frozen: Params, t: Tables, g: Triple) => {
    const [q, k, v] = queries(own, x, frozen, t);
    return np.sum(q.mul(g[0])).add(np.sum(k.mul(g[1]))).add(np.sum(v.mul(g[2])));
  }, { argnums: [0, 1] })) as unknown as Compiled<
    (...a: [...Parameters<typeof queries>, Triple]) => [np.Array, [Params, np.Array]]
  >;
  const backMix = jit(valueAndGrad(
    (q: np.Array, k: np.Array, v: np.Array, t: Tables, g: np.Array) => np.sum(mix(q, k, v, t).mul(g)),
    { argnums: [0, 1, 2] },
  )) as unknown as Compiled<(...a: [...Parameters<typeof mix>, np.Array]) => [np.Array, Triple]>;
  const backRest = jit(valueAndGrad(
    (own: Params, x: np.Array, a: np.Array, frozen: Params, g: np.Array) => np.sum(rest(own, x, a, frozen).mul(g)),
    { argnums: [0, 1, 2] },
  )) as unknown as Compiled<
    (...a: [...Parameters<typeof rest>, np.Array]) => [np.Array, [Params, np.Array, np.Array]]
  >;

  /** Positions without the mask: all that the first part reads; and the biases of attention. */
  const angles = (t: Tables) => pick(t as Params, (name) => name === "cos" || name === "sin") as unknown as Tables;
  const biases = (t: Tables) => pick(t as Params, (name) => name !== "cos" && name !== "sin") as unknown as Tables;
  return {
    forward(own, frozen, tables, x) {
      const qkv = runQueries(pick(own, inFirst), x.ref, pick(frozen, inFirst), angles(tables));
      const y = runRest(pick(own, inRest), x, runMix(...qkv, biases(tables)), pick(frozen, inRest));
      tree.dispose([own, frozen, tables]);
      return y;
    },
    backward(own, frozen, tables, x, g) {
      const [q, k, v] = runQueries(pick(own, inFirst), x.ref, pick(frozen, inFirst), angles(tables));
      const a = runMix(q.ref, k.ref, v.ref, biases(tables));
      const [s1, [ownRest, x1, ga]] = backRest(pick(own, inRest), x.ref, a, pick(frozen, inRest), g);
      const [s2, gqkv] = backMix(q, k, v, biases(tables), ga);
      const [s3, [ownFirst, x2]] = backQueries(pick(own, inFirst), x, pick(frozen, inFirst), angles(tables), gqkv);
      tree.dispose([own, frozen, tables, s1, s2, s3]);
      return { own: [ownFirst, ownRest], x: x1.add(x2) };
    },
    close: () => [runQueries, runMix, runRest, backQueries, backMix, backRest].forEach((f) => f.dispose()),
  };
}

type Compiled<F> = F & { dispose(): void };
