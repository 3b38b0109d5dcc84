// One block as a chain of dispatches: norm, queries-keys-values, rotary and cache, attention, output, norm, MLP.
import type { Floats, Matrix } from "../io/tensor.ts";
import { bindActivation } from "../kernels/activation.ts";
import { bindGroupAttention } from "../kernels/attention_group.ts";
import { bindMix } from "../kernels/attention_mix.ts";
import { bindScores, firstKey } from "../kernels/attention_scores.ts";
import type { PackedMatrix } from "../kernels/packed_matrix.ts";
import { bindRotary, quadsOf } from "../kernels/rotary.ts";
import { stackDense, stackPacked } from "../kernels/stack_rows.ts";
import type { LinearInfo, ModelConfig } from "./config.ts";
import type { Chain, ChainStep } from "./packed_chain.ts";
import { blockPrefix } from "./parameters.ts";
import { alibiBias, rotaryTables } from "./positions.ts";

/**
 * The stored weights (out, in) of a linear by its tensor's name in the file, without ".weight"; null: dense, as the file
 * has them.
 */
export type StoredLinear = (tensor: string) => Promise<PackedMatrix | Matrix | null>;

/** What attention reads besides a block's cache. */
export type Attention =
  | { readonly kind: "group"; readonly queries: GPUBuffer }
  | { readonly kind: "lanes"; readonly queries: GPUTexture; readonly scores: GPUTexture };

/** What all blocks share: buffers between their dispatches, tables of positions. */
export interface Workspace {
  readonly capacity: number;
  readonly attention: Attention;
  readonly normed: GPUBuffer;
  readonly normed2: GPUBuffer;
  readonly outputs: Map<string, GPUBuffer>;
  readonly mixed: GPUBuffer;
  readonly attended: GPUBuffer;
  readonly hidden: GPUBuffer;
  readonly down: GPUBuffer;
  readonly turns: { readonly data: Floats; readonly buffer: GPUBuffer } | null;
  readonly alibi: { readonly data: Floats; readonly buffer: GPUBuffer } | null;
}

/** cos and sin of each position's angles as wgsl/rotary.wgsl reads them: (capacity, dim / 2, 2). */
function turnsOf(c: ModelConfig, capacity: number): Floats | null {
  if (c.positions.kind !== "rotary") return null;
  const half = c.headDim / 2, { cos, sin } = rotaryTables(c.positions, c.headDim, 0, capacity);
  const turns = new Float32Array(capacity * c.headDim);
  for (let t = 0; t < capacity; t++) {
    for (let i = 0; i < half; i++) {
      turns.set([cos[t * c.headDim + i], sin[t * c.headDim + half + i]], 2 * (t * half + i));
    }
  }
  return turns;
}

/** Opens what all blocks share. */
export function openWorkspace(chain: Chain, capacity: number): Workspace {
  const { config: c } = chain, kind = chain.kernels.form, quads = quadsOf(c.headDim), rows = chain.vectors * c.heads;
  const attention: Attention = kind === "group" ? { kind, queries: chain.scratch(c.heads * 4 * quads, "queries") } : {
    kind,
    queries: chain.texels("workspace", "queries", quads, rows),
    scores: chain.texels("workspace", `attention scores of ${capacity} positions`, Math.ceil(capacity / 4), rows),
  };
  const table = (data: Floats | null, label: string) =>
    data && { data, buffer: chain.upload("rest", data, `${label} of ${capacity} positions`) };
  return {
    capacity,
    attention,
    normed: chain.scratch(c.width, "normed"),
    normed2: chain.scratch(c.parallel ? c.width : 1, "normed for the MLP"),
    outputs: new Map(),
    mixed: chain.scratch(c.heads * c.headDim, "attention"),
    attended: chain.scratch(c.width, "attention output"),
    hidden: chain.scratch(c.ffn, "MLP hidden"),
    down: chain.scratch(c.width, "MLP output"),
    turns: table(turnsOf(c, capacity), "rotary angles"),
    alibi: table(alibiBias(c, capacity), "alibi biases"),
  };
}

/** The cache of a block, with what goes through it. */
function openCache(chain: Chain, w: Workspace, index: number) {
  const { config: c } = chain, quads = quadsOf(c.headDim), { attention, capacity } = w;
  const name = (what: string) => `${what} of block ${index} for ${capacity} positions`;
  if (attention.kind === "group") {
    const open = (what: string) => chain.cache(c.kvHeads * capacity * quads * 16, name(what));
    return { ...attention, keys: open("keys"), values: open("values") };
  }
  const open = (what: string) => chain.texels("cache", name(what), capacity, c.kvHeads * quads);
  return { ...attention, keys: open("keys"), values: open("values") };
}

/** Where a linear's output lies: its rows may be part of a stacked linear's. */
interface Output {
  readonly buffer: GPUBuffer;
  readonly stride: number;
  readonly at: number;
}

/** What weak columns may take more in a stack of linears that have different ones, as a share of the codes' bytes. */
const WEAK_SHARE = 0.1;

/** Linears of one input, as one where their stored forms allow it, else one after another. */
async function linearsOf(
  chain: Chain,
  w: Workspace,
  input: GPUBuffer,
  what: string,
  parts: readonly { readonly info: LinearInfo; readonly weights: PackedMatrix | Matrix }[],
): Promise<{ steps: ChainStep[]; outputs: Output[] }> {
  const buffer = (name: string, width: number) => {
    const key = `${name} ${width}`, known = w.outputs.get(key);
    if (known) return known;
    const made = chain.scratch(width, name);
    w.outputs.set(key, made);
    return made;
  };
  const dense = parts.flatMap(({ weights }) => "data" in weights ? [weights] : []);
  const packed = parts.flatMap(({ weights }) => "data" in weights ? [] : [weights]);
  const stacked = dense.length === parts.length
    ? stackDense(dense)
    : packed.length === parts.length
    ? stackPacked(packed, WEAK_SHARE)
    : null;
  if (stacked) {
    const out = buffer(what, stacked.rows), outputs: Output[] = [];
    let at = 0;
    for (const { info } of parts) {
      outputs.push({ buffer: out, stride: stacked.rows, at });
      at += info.out;
    }
    return { steps: [chain.apply(await chain.open("linears", stacked), input, out)], outputs };
  }
  const steps: ChainStep[] = [], outputs: Output[] = [];
  for (const [i, { info, weights }] of parts.entries()) {
    const out = buffer(`${what} ${i}`, info.out);
    steps.push(chain.apply(await chain.open("linears", weights), input, out));
    outputs.push({ buffer: out, stride: info.out, at: 0 });
  }
  return { steps, outputs };
}

/** The biases of the query, key and value linears in the order (queries, keys, values) of heads; null where there is none. */
function headBias(c: ModelConfig, biases: readonly (Floats | null)[]): Floats | null {
  const d = c.headDim, group = c.heads / c.kvHeads, out = new Float32Array((c.heads + 2 * c.kvHeads) * d);
  if (biases.every((b) => b === null)) return null;
  if (biases.length === 3) {
    const [q, k, v] = biases, keys = c.kvHeads * d;
    if (q) out.set(q);
    if (k) out.set(k, c.heads * d);
    if (v) out.set(v, c.heads * d + keys);
    return out;
  }
  const fused = biases[0]!;
  for (let kh = 0; kh < c.kvHeads; kh++) {
    const row = (i: number) => fused.subarray((kh * (group + 2) + i) * d, (kh * (group + 2) + i + 1) * d);
    for (let g = 0; g < group; g++) out.set(row(g), (kh * group + g) * d);
    out.set(row(group), (c.heads + kh) * d);
    out.set(row(group + 1), (c.heads + c.kvHeads + kh) * d);
  }
  return out;
}

/** The dispatches of block `index`, in order. */
export async function blockSteps(
  chain: Chain,
  w: Workspace,
  index: number,
  stored: StoredLinear,
): Promise<ChainStep[]> {
  const { gpu, config: c, step, unread } = chain, { names } = c, prefix = blockPrefix(c, index);
  const steps: ChainStep[] = [], find = (name: string) => c.linears.find((l) => l.name === name)!;
  const weights = async (name: string) => {
    const info = find(name), tensor = `${prefix}${name}.weight`;
    const own = await stored((chain.names.get(tensor) ?? tensor).replace(/\.weight$/, ""));
    return { info, weights: own ?? await chain.dense(tensor, info.out, info.in) };
  };
  const bias = (name: string) => chain.optional(`${prefix}${name}.bias`);
  const full = (name: string | null) => name && prefix + name;

  const keep = c.normAfter || c.residualAfterNorm, twice = c.parallel && names.norm2 !== null;
  if (!c.normAfter) {
    const norms = [full(names.norm1), ...twice ? [full(names.norm2)] : []];
    steps.push(await chain.norm(norms, [w.normed, w.normed2], { keep }));
  }

  const parts = [];
  for (const name of names.qkv) parts.push(await weights(name));
  const qkv = await linearsOf(chain, w, w.normed, "queries, keys, values", parts);
  steps.push(...qkv.steps);
  const d = c.headDim, group = c.heads / c.kvHeads, fused = names.qkv.length === 1;
  const [q, k, v] = fused ? [qkv.outputs[0], qkv.outputs[0], qkv.outputs[0]] : qkv.outputs;
  const stepOf = (own: number) => (fused ? group + 2 : own) * d;
  const biases = [];
  for (const name of names.qkv) biases.push(await bias(name));
  const attentionBias = headBias(c, biases);
  const shape = { heads: c.heads, keyHeads: c.kvHeads, dim: d, capacity: w.capacity };
  const store = openCache(chain, w, index);
  const rotary = await bindRotary(gpu, {
    ...shape,
    q: { stride: q.stride, at: q.at, step: stepOf(group) },
    k: { stride: k.stride, at: k.at + (fused ? group * d : 0), step: stepOf(1) },
    v: { stride: v.stride, at: v.at + (fused ? (group + 1) * d : 0), step: stepOf(1) },
    bias: attentionBias,
    turns: w.turns?.data ?? null,
    scale: 1 / Math.sqrt(d),
  }, {
    step,
    q: q.buffer,
    k: k.buffer,
    v: v.buffer,
    bias: attentionBias ? chain.upload("rest", attentionBias, "biases of queries, keys, values") : unread,
    turns: w.turns?.buffer ?? unread,
  }, store);
  steps.push(chain.costing(rotary, (c.heads + 2 * c.kvHeads) * d * 20));

  const attention = { ...shape, window: c.windows[index], bias: w.alibi?.data ?? null };
  const operations = (start: number, vectors: number) =>
    vectors * (start + vectors - firstKey(c.windows[index], start)) * c.heads * (2 * d + 10);
  const alibi = w.alibi?.buffer ?? unread;
  if (store.kind === "group") {
    const { record } = await bindGroupAttention(gpu, attention, { step, ...store, bias: alibi, mixed: w.mixed });
    steps.push({ record, operations: (s, n) => 2 * operations(s, n) });
  } else {
    const scores = await bindScores(gpu, attention, { step, ...store, bias: alibi });
    const mix = await bindMix(gpu, attention, { step, ...store, mixed: w.mixed });
    steps.push({ record: scores.record, operations }, { record: mix.record, operations });
  }
  const output = await chain.open("linears", (await weights(names.output)).weights);
  steps.push(chain.apply(output, w.mixed, w.attended));
  chain.leave([w.attended], await bias(names.output));

  if (!c.parallel) {
    const norm = c.normAfter ? names.norm1 : names.norm2 ?? names.norm1;
    steps.push(await chain.norm([full(norm)], [w.normed], { keep }));
  }
  const mlpNames = names.gate === null ? [names.up] : [names.gate, names.up], mlpParts = [];
  for (const name of mlpNames) mlpParts.push(await weights(name));
  const mlp = await linearsOf(chain, w, twice ? w.normed2 : w.normed, "gate and up", mlpParts);
  steps.push(...mlp.steps);
  const up = mlp.outputs[mlp.outputs.length - 1], gate = names.gate === null ? null : mlp.outputs[0];
  const upBias = await bias(names.up), gateBias = names.gate === null ? null : await bias(names.gate);
  const mlpBias = upBias || gateBias ? new Float32Array((gate ? 2 : 1) * c.ffn) : null;
  if (upBias) mlpBias!.set(upBias);
  if (gateBias) mlpBias!.set(gateBias, c.ffn);
  const activation = await bindActivation(gpu, { width: c.ffn, kind: c.activation, gate, up, bias: mlpBias }, {
    step,
    gate: gate?.buffer ?? unread,
    up: up.buffer,
    bias: mlpBias ? chain.upload("rest", mlpBias, "biases of the MLP") : unread,
    out: w.hidden,
  });
  steps.push(chain.costing(activation, c.ffn * 30));
  const down = await chain.open("linears", (await weights(names.down)).weights);
  steps.push(chain.apply(down, w.hidden, w.down));
  chain.leave([w.down], await bias(names.down));
  if (c.normAfter) steps.push(await chain.norm([full(names.norm2 ?? names.norm1)], [w.normed], { keep }));
  return steps;
}
