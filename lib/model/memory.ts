// How much memory a run will take, said before it starts.
import type { ModelConfig } from "./config.ts";
import { blockShapes } from "./forward.ts";

/** What a run is, as far as memory goes. */
export interface MemoryRequest {
  readonly windows: number;
  readonly length: number;
  /** Whether Hessians are taken and layers quantized. */
  readonly quantize: boolean;
}

/** Peak bytes by part, and in words. */
export interface MemoryEstimate {
  /** Embedding table and head, kept; plus the part of the head in use and its logits. */
  readonly ends: number;
  /** One block's weights, in the lab and in jax: two blocks. */
  readonly blocks: number;
  /** Hidden states of all windows, before and after a block. */
  readonly hidden: number;
  /** What two batches of windows hold inside a block. */
  readonly activations: number;
  /** Hessians of a block, their sums, and the factorization of the largest. */
  readonly hessians: number;
  readonly total: number;
  readonly sentence: string;
}

const tokensAtOnce = 512, vocabAtOnce = 16384;
const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const gb = (bytes: number) => bytes < 1e8 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;

/**
 * Estimates the peak of a perplexity or a quantization that streams block by block, in float32.
 *
 * It counts arrays; the runtime itself adds about 0.15 GB.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { modelConfig } from "./families.ts";
 * import { estimateMemory } from "./memory.ts";
 * const config = modelConfig({ model_type: "llama", hidden_size: 576, num_attention_heads: 9, num_key_value_heads: 3,
 *   num_hidden_layers: 30, intermediate_size: 1536, vocab_size: 49152, max_position_embeddings: 8192,
 *   tie_word_embeddings: true });
 * const e = estimateMemory(config, { windows: 32, length: 512, quantize: false });
 * assert.equal(e.blocks, 2 * 4 * (3 * 576 * 1536 + 2 * 576 * 576 + 2 * 192 * 576 + 2 * 576));
 * assert.match(e.sentence, /about 0\.\d\d GB at the peak/);
 * ```
 */
export function estimateMemory(c: ModelConfig, r: MemoryRequest): MemoryEstimate {
  const batch = Math.max(1, Math.floor(tokensAtOnce / r.length)) * r.length, part = Math.min(c.vocab, vocabAtOnce);
  const table = c.vocab * c.embedWidth;
  const ends = 4 * (table * (c.tied ? 1 : 2) + part * c.embedWidth + part * r.length);
  const blocks = 2 * 4 * [...blockShapes(c).values()].reduce((sum, shape) => sum + count(shape), 0);
  const hidden = 2 * 4 * r.windows * r.length * c.width;
  const scores = Math.min(r.length * r.length * c.heads, 3 * r.length * r.length * c.heads / c.kvHeads);
  const perToken = 6 * c.width + 4 * c.heads * c.headDim + 3 * c.ffn;
  const activations = 2 * 4 * (batch * perToken + scores * (batch / r.length));
  const inputs = new Map(c.linears.map((l) => [l.input, l.in]));
  const squares = [...inputs.values()].map((n) => n * n), largest = Math.max(...squares);
  const hessians = r.quantize ? 4 * squares.reduce((a, b) => a + 1.6 * b, 0) + (4 + 8 + 4) * largest : 0;
  const total = ends + blocks + hidden + activations + hessians;
  const parts = [
    `${gb(ends)} embeddings and head`,
    `${gb(blocks)} two blocks`,
    `${gb(hidden)} hidden states of ${r.windows} × ${r.length} tokens`,
    `${gb(activations)} inside a block`,
    ...(r.quantize ? [`${gb(hessians)} Hessians`] : []),
  ];
  const sentence = `about ${gb(total)} at the peak: ${parts.join(", ")}`;
  return { ends, blocks, hidden, activations, hessians, total, sentence };
}
