// Gradients of a model's loss with respect to the weights of its linears, block by block: no more than one block's weights
// and one window's activations are in memory at a time.
import { defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import { type Floats, type Matrix, matrix } from "../io/tensor.ts";
import { modelConfig } from "./families.ts";
import {
  block,
  blockPrefix,
  blockShapes,
  logits,
  makeTables,
  parameterShapes,
  type Params,
  type Tables,
} from "./forward.ts";
import { embedOnHost } from "./head.ts";
import type { ModelInput } from "./language_model.ts";

/** Windows of token ids. */
export interface GradientText {
  /** (windows · length) */
  readonly ids: Int32Array;
  readonly windows: number;
  readonly length: number;
}

/** Gradients of the mean negative log-likelihood of the next token. */
export interface LossGradients {
  /** The loss of each window, nats a token. */
  readonly losses: readonly number[];
  /** Mean over the windows of |∂L/∂W| (out, in), for each linear of a block by its name inside the block. */
  block(index: number): Promise<Map<string, Matrix>>;
  /** Frees what was compiled. */
  close(): void;
}

type BlockLoss = (w: Params, x: np.Array, rest: Params, tables: Tables, g: np.Array) => np.Array;
type Both<A, B> = (...a: Parameters<BlockLoss>) => [np.Array, [A, B]];

/**
 * Goes forward and back once and remembers what flows into and back out of each block; a block's own gradients are
 * computed when asked for.
 *
 * With h_b what enters block b and g_b = ∂L/∂h_{b+1}: ∂L/∂W = ∂/∂W Σ block_b(h_b) ⊙ g_b, and g_{b−1} = ∂/∂h_b of the same.
 *
 * @param files the float model. @param text a few windows: each is a sample of its own, its |gradient| counts.
 * @throws LabError "input" for windows of fewer than two tokens, "numeric" where a gradient is not finite.
 */
export async function openGradients(files: ModelInput, text: GradientText): Promise<LossGradients> {
  await init("wasm");
  defaultDevice("wasm");
  const c = modelConfig(files.config), { windows, length } = text, size = length * c.width;
  if (length < 2) throw new LabError("input", files.label, `windows of ${length} tokens have no next token to predict`);
  const shapes = parameterShapes(c), linears = c.linears.map((l) => `${l.name}.weight`);
  const read = async (name: string) => {
    const bare = name.startsWith(c.names.base) ? name.slice(c.names.base.length) : name;
    return await files.source.read(files.source.tensors.has(name) ? name : bare);
  };
  const upload = async (names: Iterable<string>, prefix = ""): Promise<Params> => {
    const p: Params = {};
    for (const name of names) p[name] = array((await read(prefix + name)).data, shapes.get(prefix + name) ?? []);
    return p;
  };
  const blockParams = async (b: number): Promise<[linears: Params, rest: Params]> => {
    const all = await upload(blockShapes(c).keys(), blockPrefix(c, b)), own: Params = {}, rest: Params = {};
    for (const [name, a] of Object.entries(all)) (linears.includes(name) ? own : rest)[name] = a;
    return [own, rest];
  };
  const tablesOf = (b: number) => makeTables(c, 0, length, c.windows[b]);
  const part = (data: Floats, w: number) => array(data.slice(w * size, (w + 1) * size), [1, length, c.width]);

  const forward = jit((p: Params, t: Tables, x: np.Array) => {
    const y = block(c, p, t, x);
    tree.dispose([p, t]);
    return y;
  });
  const loss: BlockLoss = (w, x, rest, tables, g) => {
    const y = block(c, { ...w, ...rest }, tables, x);
    tree.dispose([w, rest, tables]);
    return np.sum(y.mul(g));
  };
  const backward = jit(valueAndGrad(loss, { argnums: [0, 1] })) as unknown as Both<Params, np.Array> & {
    dispose(): void;
  };
  const head = jit(valueAndGrad((h: np.Array, p: Params, targets: np.Array) => {
    const scores = logits(c, p, h.slice([], [0, length - 1])).reshape([length - 1, c.vocab]);
    tree.dispose(p);
    const chosen = np.sum(scores.ref.mul(nn.oneHot(targets, c.vocab)), -1);
    return np.mean(nn.logsumexp(scores, -1).sub(chosen));
  }));

  // Forward: what enters each block, and what leaves the last.
  const flow: Floats[] = [await embedOnHost(c, read, text.ids, length)];
  for (let b = 0; b < c.blocks; b++) {
    const [own, rest] = await blockParams(b),
      p = { ...own, ...rest },
      t = tablesOf(b),
      out = new Float32Array(windows * size);
    for (let w = 0; w < windows; w++) {
      out.set(await forward(refs(p), refs(t), part(flow[b], w)).data() as Floats, w * size);
    }
    tree.dispose([p, t]);
    flow.push(out);
  }
  // Back: what the loss asks of each block's output.
  const outer = [...shapes.keys()].filter((name) => !isInBlock(c.blocks, name, (b) => blockPrefix(c, b)));
  const p = await upload(outer),
    back: Floats[] = Array.from({ length: c.blocks }, () => new Float32Array(windows * size));
  const losses: number[] = [];
  for (let w = 0; w < windows; w++) {
    const targets = np.array(text.ids.slice(w * length + 1, (w + 1) * length), {
      shape: [length - 1],
      dtype: np.int32,
    });
    const [value, g] = head(part(flow[c.blocks], w), refs(p), targets);
    losses.push((await value.data())[0]);
    back[c.blocks - 1].set(await g.data() as Floats, w * size);
  }
  tree.dispose(p);
  const through = async (b: number, each: (g: Params, x: np.Array, w: number) => Promise<void>) => {
    const [own, rest] = await blockParams(b), t = tablesOf(b);
    for (let w = 0; w < windows; w++) {
      const [value, [g, x]] = backward(refs(own), part(flow[b], w), refs(rest), refs(t), part(back[b], w));
      value.dispose();
      await each(g, x, w);
    }
    tree.dispose([own, rest, t]);
  };
  for (let b = c.blocks - 1; b > 0; b--) {
    await through(b, async (g, x, w) => {
      tree.dispose(g);
      back[b - 1].set(await x.data() as Floats, w * size);
    });
  }
  return {
    losses,
    async block(index) {
      const found = new Map(c.linears.map((l) => [l.name, matrix(l.out, l.in)]));
      await through(index, async (g, x) => {
        x.dispose();
        for (const [name, m] of found) {
          const values = await g[`${name}.weight`].data() as Floats;
          for (let i = 0; i < values.length; i++) m.data[i] += Math.abs(values[i]) / windows;
        }
      });
      for (const [name, m] of found) {
        const bad = m.data.findIndex((v) => !Number.isFinite(v));
        if (bad >= 0) throw new LabError("numeric", `${index}.${name}`, `its gradient is ${m.data[bad]} at ${bad}`);
      }
      return found;
    },
    close: () => [forward, backward, head].forEach((f) => f.dispose()),
  };
}

function array(data: Floats, shape: readonly number[]): np.Array {
  return np.array(data, { shape: [...shape] });
}

/** The same arrays once more, to be consumed. */
function refs<T extends { [name: string]: np.Array | undefined }>(p: T): T {
  return Object.fromEntries(Object.entries(p).map(([name, a]) => [name, a!.ref])) as T;
}

function isInBlock(blocks: number, name: string, prefix: (b: number) => string): boolean {
  for (let b = 0; b < blocks; b++) if (name.startsWith(prefix(b))) return true;
  return false;
}
