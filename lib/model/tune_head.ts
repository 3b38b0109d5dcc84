// The end of a model forward and back: final norm, head, likelihood of the next token. The head's derivative is written down,
// ∂nll/∂logits = softmax − e_target: derived by jax-js, it computes exponentials anew inside each product (eight times slower).
import { jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import type { ModelConfig } from "./config.ts";
import { linear, norm, type Params } from "./forward.ts";

/** What the head gives back, all for the sum of nll times a scale. */
export interface HeadGradients {
  /** Negative log-likelihoods (n), in nats, not scaled. */
  readonly nll: np.Array;
  /** By the trained tensors between the blocks and the head. */
  readonly own: Params;
  /** By what leaves the last block (n, width). */
  readonly h: np.Array;
  /** By the table (V, E) and by the targets' rows of it (n, E); null where the table is frozen. */
  readonly table: { readonly all: np.Array; readonly target: np.Array } | null;
}

/** Compiled passes. All arguments are consumed. */
export interface HeadPasses {
  /** h (n, width), table (V, E), the targets' rows of it (n, E) → negative log-likelihoods (n), in nats. */
  loss(own: Params, frozen: Params, table: np.Array, h: np.Array, target: np.Array): np.Array;
  /** The likeliest ids (n). */
  guess(own: Params, frozen: Params, table: np.Array, h: np.Array): np.Array;
  backward(
    own: Params,
    frozen: Params,
    table: np.Array,
    h: np.Array,
    target: np.Array,
    scale: number,
    tableToo: boolean,
  ): HeadGradients;
  close(): void;
}

/** Names of the tensors between the last block and the head. */
export function headTensors(c: ModelConfig): string[] {
  const { base, finalNorm, projectOut } = c.names, found: string[] = [];
  if (finalNorm !== null) found.push(`${base}${finalNorm}.weight`);
  if (finalNorm !== null && c.norm.kind === "layer") found.push(`${base}${finalNorm}.bias`);
  if (projectOut !== null) found.push(`${base}${projectOut}.weight`);
  return found;
}

/** Compiles the passes; each compiles once more for every new shape. */
export function compileHead(c: ModelConfig): HeadPasses {
  const { base, finalNorm, projectOut } = c.names;
  const finish = (own: Params, h: np.Array, frozen: Params): np.Array => {
    const p = { ...frozen, ...own };
    const y = finalNorm === null ? h : norm(c, p, base + finalNorm, h);
    const out = projectOut === null ? y : linear(p, base + projectOut, y);
    tree.dispose(p);
    return out;
  };
  // The target's row comes from outside: its logit then needs no row of ones and zeros as wide as the vocabulary.
  const likelihood = (
    y: np.Array,
    table: np.Array,
    target: np.Array,
  ): [nll: np.Array, logits: np.Array, most: np.Array] => {
    const logits = np.matmul(y.ref, np.transpose(table)), sum = nn.logsumexp(logits.ref, -1);
    return [sum.ref.sub(np.sum(y.mul(target), -1)), logits, sum];
  };
  const runFinish = jit(finish);
  const runLoss = jit((y: np.Array, table: np.Array, target: np.Array) => {
    const [nll, logits, sum] = likelihood(y, table, target);
    tree.dispose([logits, sum]);
    return nll;
  });
  const runGuess = jit((y: np.Array, table: np.Array) => np.argmax(np.matmul(y, np.transpose(table)), -1));
  const runShares = jit((y: np.Array, table: np.Array, target: np.Array): [np.Array, np.Array] => {
    const [nll, logits, sum] = likelihood(y, table, target);
    return [nll, np.exp(logits.sub(sum.reshape([sum.shape[0], 1])))];
  });
  const byState = jit((shares: np.Array, table: np.Array, target: np.Array, scale: np.Array) =>
    np.matmul(shares, table).sub(target).mul(scale)
  );
  const byTable = jit((shares: np.Array, y: np.Array, scale: np.Array) =>
    np.matmul(np.transpose(shares), y.mul(scale))
  );
  const back = jit(valueAndGrad(
    (own: Params, h: np.Array, frozen: Params, g: np.Array) => np.sum(finish(own, h, frozen).mul(g)),
    { argnums: [0, 1] },
  )) as unknown as
    & ((own: Params, h: np.Array, frozen: Params, g: np.Array) => [np.Array, [Params, np.Array]])
    & { dispose(): void };
  return {
    loss: (own, frozen, table, h, target) => runLoss(runFinish(own, h, frozen), table, target),
    guess: (own, frozen, table, h) => runGuess(runFinish(own, h, frozen), table),
    backward(own, frozen, table, h, target, scale, tableToo) {
      const y = runFinish(refs(own), h.ref, refs(frozen)), factor = np.array(Float32Array.of(scale));
      const [nll, shares] = runShares(y.ref, table.ref, target.ref);
      const g = byState(shares.ref, table, target, factor.ref);
      const forTable = tableToo
        ? { all: byTable(shares, y.ref, factor), target: y.mul(-scale) }
        : (tree.dispose([shares, y, factor]), null);
      const [value, [byOwn, byInput]] = back(own, h, frozen, g);
      value.dispose();
      return { nll, own: byOwn, h: byInput, table: forTable };
    },
    close: () => [runFinish, runLoss, runGuess, runShares, byState, byTable, back].forEach((f) => f.dispose()),
  };
}

function refs(p: Params): Params {
  return Object.fromEntries(Object.entries(p).map(([name, a]) => [name, a.ref]));
}
