// Notebook 11: what quantizing a model costs, counted: operations by stage, bytes by part. Nothing here is measured.
import type { ModelConfig } from "../model/config.ts";
import { modelConfig } from "../model/families.ts";
import { addBits, columnsForTarget, storageOf, type StoredBits } from "../quant/budget.ts";

/** Where the time of OWQ goes, in the order of work. */
export const COST_STAGES = ["forward", "gram", "sensitivity", "search", "factor", "sweep", "objective"] as const;
export type CostStage = (typeof COST_STAGES)[number];

/** Operations by stage: multiply-adds, for the two searches tried levels (one weight on one grid). */
export type Operations = Readonly<Record<CostStage, number>>;

/** How a run of OWQ is set, as far as its cost goes. */
export interface CostSettings {
  /** Bits of a code. */
  readonly bits: number;
  /** Ranges tried by the final search of a row, and by the coarser one of the score. */
  readonly steps: number;
  readonly sensitivitySteps: number;
}

/** OWQ's own settings at 3 bits. */
export const COST_SETTINGS: CostSettings = { bits: 3, steps: 100, sensitivitySteps: 40 };

/**
 * Operations of quantizing one layer (out, in), its H given.
 *
 *     sensitivity: out · in · 40 · 2ᵇ tries      search: out · in · 100 · 2ᵇ tries
 *     factor: in³ / 6                              sweep: out · in² / 2
 *     objective: 2 · out · in², tr(DHDᵀ) of the result and of round-to-nearest
 *
 * @returns counts; `forward` and `gram` are 0.
 * Source: research/performance.md section 3; the count of tries is the reference's full search.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { layerOperations } from "./quantization_cost.ts";
 * assert.equal(layerOperations(4, 6).factor, 36);
 * assert.equal(layerOperations(4, 6).search, 4 * 6 * 100 * 8);
 * ```
 */
export function layerOperations(out: number, width: number, s: CostSettings = COST_SETTINGS): Operations {
  const tries = out * width * 2 ** s.bits;
  return {
    forward: 0,
    gram: 0,
    sensitivity: tries * s.sensitivitySteps,
    search: tries * s.steps,
    factor: width ** 3 / 6,
    sweep: out * width ** 2 / 2,
    objective: 2 * out * width ** 2,
  };
}

/**
 * Operations of letting N tokens through one block once: each weight once a token, and 2 · L multiply-adds of attention for
 * each channel of the heads, L the length of a window.
 */
export function blockForward(c: ModelConfig, tokens: number, length: number): number {
  const weights = c.linears.reduce((a, l) => a + l.out * l.in, 0);
  return tokens * (weights + 2 * length * c.heads * c.headDim);
}

/** Operations of the second moments of one block's inputs: N · d² / 2 for each different input, one triangle of H. */
export function blockGram(c: ModelConfig, tokens: number): number {
  const inputs = new Map(c.linears.map((l) => [l.input, l.in]));
  return [...inputs.values()].reduce((a, d) => a + tokens * d * d / 2, 0);
}

/**
 * Operations of quantizing a whole model by OWQ.
 *
 * @param tokens of the calibration text. @param length of its windows. Each block is gone through twice: once to see what flows
 * in, once more with quantized weights. Linears with the same input share H and its factor only where they have no weak columns of
 * their own, so the factor is counted for every linear.
 */
export function modelOperations(
  c: ModelConfig,
  tokens: number,
  length: number,
  s: CostSettings = COST_SETTINGS,
): Operations {
  const sum = { forward: 2 * blockForward(c, tokens, length), gram: blockGram(c, tokens) };
  const layers = c.linears.map((l) => layerOperations(l.out, l.in, s));
  return Object.fromEntries(COST_STAGES.map((stage) => {
    const own = stage === "forward" || stage === "gram" ? sum[stage] : 0;
    return [stage, c.blocks * layers.reduce((a, l) => a + l[stage], own)];
  })) as Record<CostStage, number>;
}

/** A stage's time on one device: fixed cost of a layer, and seconds an operation. */
export interface CostFit {
  /** Seconds that every layer takes, whatever its size. */
  readonly fixed: number;
  readonly perOperation: number;
}

/**
 * t = fixed + perOperation · operations with the least squared *relative* error, neither below zero.
 *
 * @param points of one stage, two at least. @throws RangeError for fewer.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fitCost } from "./quantization_cost.ts";
 * const fit = fitCost([10, 100, 1000].map((operations) => ({ operations, seconds: 2 + 0.5 * operations })));
 * assert(Math.abs(fit.fixed - 2) < 1e-9 && Math.abs(fit.perOperation - 0.5) < 1e-12);
 * ```
 */
export function fitCost(points: readonly { readonly operations: number; readonly seconds: number }[]): CostFit {
  if (points.length < 2) throw new RangeError(`a fit of ${points.length} points`);
  let s1 = 0, s2 = 0, n1 = 0, x1 = 0, x2 = 0; // normal equations of a/t + c·x/t = 1
  for (const { operations: x, seconds: t } of points) {
    const u = 1 / t, v = x / t;
    s1 += u;
    s2 += v;
    n1 += u * u;
    x1 += u * v;
    x2 += v * v;
  }
  const det = n1 * x2 - x1 * x1, fixed = (s1 * x2 - s2 * x1) / det, perOperation = (s2 * n1 - s1 * x1) / det;
  if (det > 0 && fixed >= 0 && perOperation > 0) return { fixed, perOperation };
  return { fixed: 0, perOperation: s2 / x2 };
}

/**
 * The exponent of a power law through two points: ln(t₂/t₁) / ln(n₂/n₁).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { powerOf } from "./quantization_cost.ts";
 * assert.equal(powerOf([2, 4], [3, 24]), 3);
 * ```
 */
export function powerOf([n1, n2]: readonly number[], [t1, t2]: readonly number[]): number {
  return Math.log2(t2 / t1) / Math.log2(n2 / n1);
}

/** What a model of some shape stores, in bits by part, and beside it. */
export interface ModelStorage {
  /** Of the blocks' linears. */
  readonly stored: StoredBits;
  /** The same with every weight in 16 bits, embeddings and head not counted. */
  readonly half: number;
  /** Embeddings and head, in bits at 16 a value. */
  readonly ends: number;
  readonly weakColumns: number;
}

/**
 * What OWQ stores of a model: exactly, since it follows from shapes.
 *
 * @param target nominal bits, such as 3.01. @param scaleBits of a row's scale.
 */
export function modelStorage(c: ModelConfig, target: number, scaleBits = 16): ModelStorage {
  const bits = Math.floor(target), columns = columnsForTarget(c.linears, bits, target);
  const block = c.linears.map((l) =>
    storageOf({
      rows: l.out,
      cols: l.in,
      bits,
      groupSize: 0,
      weak: columns.get(l.name)!,
      scaleBits,
      groupMap: false,
    })
  );
  const stored = addBits(Array.from({ length: c.blocks }, () => block).flat());
  return {
    stored,
    half: 16 * stored.weights,
    ends: 16 * c.vocab * c.embedWidth * (c.tied ? 1 : 2),
    weakColumns: c.blocks * [...columns.values()].reduce((a, k) => a + k, 0),
  };
}

const opt = (width: number, blocks: number, heads: number) =>
  modelConfig({
    model_type: "opt",
    hidden_size: width,
    word_embed_proj_dim: width,
    ffn_dim: 4 * width,
    num_attention_heads: heads,
    num_hidden_layers: blocks,
    vocab_size: 50272,
    max_position_embeddings: 2048,
    do_layer_norm_before: true,
    activation_function: "relu",
    tie_word_embeddings: true,
  });

/** Models of the paper by name: shapes as their own config.json has them; OPT-175B's from its paper (arXiv 2205.01068). */
export function paperModels(): Map<string, ModelConfig> {
  const llama = modelConfig({
    model_type: "llama",
    hidden_size: 4096,
    intermediate_size: 11008,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    vocab_size: 32000,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
  });
  return new Map([["LLaMA-7B", llama], ["OPT-66B", opt(9216, 64, 72)], ["OPT-175B", opt(12288, 96, 96)]]);
}
