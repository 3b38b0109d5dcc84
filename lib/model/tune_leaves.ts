// What is trained of a quantized model, and what stays as it is. For a linear y = x·Ŵᵀ of the base, x (…, in), Ŵ (out, in):
//   wct   y = x·Ŵ₀ᵀ + x[:, ids]·Cᵀ     C (out, k), the weak columns, begin as stored; Ŵ₀ is Ŵ with those columns 0
//   lora  y = x·Ŵᵀ + α/r · (x·Aᵀ)·Bᵀ   A (r, in) Gaussian, B (out, r) begins as 0
//   full  y = x·Wᵀ                     W begins as Ŵ; so do norms, biases and the embedding
// wct and lora are one path beside the frozen matrix (forward.ts, linear): the weak columns are a LoRA whose A is fixed to
// rows of the identity. ∂L/∂C = gᵀ·x[:, ids] is the dense ∂L/∂W at those columns, and costs k/in of it.
import { LabError } from "../io/errors.ts";
import { rng } from "../io/rng.ts";
import type { Floats, Tensor } from "../io/tensor.ts";
import type { ModelConfig } from "./config.ts";
import { blockPrefix, blockShapes, parameterShapes } from "./parameters.ts";

/** What to train. */
export type Trainable =
  /** `ids`: the weak columns of each linear, by its tensor's name without ".weight"; ascending. */
  | { readonly method: "wct"; readonly ids: ReadonlyMap<string, Int32Array> }
  | { readonly method: "lora"; readonly rank: number; readonly alpha: number }
  | { readonly method: "full" }
  | { readonly method: "none" };

/** The names of the ways to tune. */
export const TUNE_METHODS = ["wct", "lora", "full", "none"] as const;

/** One trained tensor. */
export interface TuneLeaf {
  /** The name of its linear's or parameter's tensor with what it is: NAME.side_out, NAME.side_in, or NAME itself. */
  readonly name: string;
  /** Its block; −1 outside the blocks. */
  readonly block: number;
  /** Its name among the parameters of its block; outside the blocks the same as `name`. */
  readonly inner: string;
  readonly shape: readonly number[];
  /** Whether weight decay applies: to matrices, not to gains and biases. */
  readonly decays: boolean;
}

/**
 * The trained tensors, in the order of the model.
 *
 * @param c the model. @param t what to train.
 * @returns a leaf a linear with weak columns (out, k), two a linear (r, in) and (out, r), or one a parameter.
 * @throws LabError "input" for a rank that a linear has no room for, columns that do not exist, a base without weak columns,
 *   or full tuning of a family whose embedding is no plain table.
 * @see papers.md 1.1, weak column tuning (Lee et al., arXiv 2306.02272); Hu et al. 2021, arXiv 2106.09685.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { modelConfig } from "./families.ts";
 * import { tuneLeaves } from "./tune_leaves.ts";
 * const c = modelConfig({ model_type: "llama", vocab_size: 8, hidden_size: 4, intermediate_size: 8,
 *   num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 16, tie_word_embeddings: true });
 * const [a, b] = tuneLeaves(c, { method: "lora", rank: 2, alpha: 16 });
 * assert.deepEqual([a.shape, b.shape], [[2, 4], [4, 2]]);
 * assert.throws(() => tuneLeaves(c, { method: "lora", rank: 5, alpha: 16 }), /rank: 5 does not fit 0.self_attn.q_proj/);
 * ```
 */
export function tuneLeaves(c: ModelConfig, t: Trainable): TuneLeaf[] {
  switch (t.method) {
    case "none":
      return [];
    case "wct":
      return columnLeaves(c, t.ids);
    case "lora":
      return linearsOf(c).flatMap(({ block, name, prefix, out, in: width }) => {
        if (!Number.isInteger(t.rank) || t.rank < 1 || t.rank > Math.min(out, width)) {
          const problem = `${t.rank} does not fit ${block}.${name}, whose matrix is (${out}, ${width})`;
          throw new LabError("input", "rank", problem, `Ask for 1 to ${Math.min(out, width)}.`);
        }
        const leaf = (part: string, shape: number[]) => leafOf(block, prefix, `${name}.${part}`, shape);
        return [leaf("side_in", [t.rank, width]), leaf("side_out", [out, t.rank])];
      });
    case "full":
      return fullLeaves(c);
  }
}

function leafOf(block: number, prefix: string, inner: string, shape: readonly number[]): TuneLeaf {
  return { name: prefix + inner, block, inner, shape, decays: shape.length === 2 };
}

/** All linears of all blocks. */
function linearsOf(c: ModelConfig) {
  return Array.from(
    { length: c.blocks },
    (_, block) => c.linears.map((l) => ({ ...l, block, prefix: blockPrefix(c, block) })),
  ).flat();
}

function columnLeaves(c: ModelConfig, ids: ReadonlyMap<string, Int32Array>): TuneLeaf[] {
  const leaves = linearsOf(c).flatMap(({ block, name, prefix, out, in: width }) => {
    const own = ids.get(prefix + name) ?? new Int32Array(0), bad = own.find((id) => id < 0 || id >= width);
    if (own.length > width || new Set(own).size < own.length) {
      throw new LabError("input", "rank", `${own.length} columns do not fit ${block}.${name}, which has ${width}`);
    }
    if (bad !== undefined) throw new LabError("input", `${block}.${name}`, `weak column ${bad} of ${width}`);
    return own.length === 0 ? [] : [leafOf(block, prefix, `${name}.side_out`, [out, own.length])];
  });
  if (leaves.length > 0) return leaves;
  const hint = "Quantize with OWQ and columns to tune: owq quantize --method owq --bits 3 --rank 8.";
  throw new LabError("input", "wct", "the base has no weak columns in any linear", hint);
}

function fullLeaves(c: ModelConfig): TuneLeaf[] {
  if (c.positions.kind !== "rotary" || c.names.embedNorm !== null || c.embedWidth !== c.width) {
    const problem = `full tuning knows rotary positions and plain embeddings only, this ${c.family} differs`;
    throw new LabError("input", "full", problem, "Take wct or lora, or a model of the LLaMA kind.");
  }
  const inBlock = new Map<string, TuneLeaf>();
  for (let b = 0; b < c.blocks; b++) {
    const prefix = blockPrefix(c, b);
    for (const [name, shape] of blockShapes(c)) inBlock.set(prefix + name, leafOf(b, prefix, name, shape));
  }
  return [...parameterShapes(c)].map(([name, shape]) => inBlock.get(name) ?? leafOf(-1, "", name, shape));
}

/**
 * The values that training begins with: the stored weak columns, A Gaussian with deviation 1/√in and B zero, or the
 * dequantized weights. A tuned model is at first the base itself.
 *
 * @param read a tensor of the base by its name, float32. @param seed of A.
 * @returns one array a leaf, in the order of {@link tuneLeaves}.
 */
export async function startValues(
  c: ModelConfig,
  t: Trainable,
  read: (name: string) => Promise<Tensor>,
  seed: number,
): Promise<Floats[]> {
  const values: Floats[] = [];
  for (const { name, shape } of tuneLeaves(c, t)) {
    const n = shape.reduce((a, b) => a * b, 1), linear = name.replace(/\.side_(in|out)$/, "");
    if (t.method === "wct") {
      const w = await read(`${linear}.weight`), ids = t.ids.get(linear)!, width = w.shape[1];
      const of = (_: unknown, i: number) => w.data[Math.floor(i / ids.length) * width + ids[i % ids.length]];
      values.push(Float32Array.from({ length: n }, of));
    } else if (t.method === "full") values.push((await read(name)).data.slice());
    else if (name.endsWith(".side_out")) values.push(new Float32Array(n));
    else {
      const random = rng(seed, `lora ${name}`), deviation = 1 / Math.sqrt(shape[1]);
      values.push(Float32Array.from({ length: n }, () => deviation * random.normal()));
    }
  }
  return values;
}
