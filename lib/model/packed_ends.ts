// The two ends of the packed runtime: token ids to vectors on the way in; final norm, head and likelihoods on the way out.
import type { Floats } from "../io/tensor.ts";
import { bindArgmax, type LogitsPart, winnersWords } from "../kernels/argmax.ts";
import { bindEmbed } from "../kernels/embed.ts";
import type { DeviceLinear } from "../kernels/linear.ts";
import { bindNll, NLL_PARTS } from "../kernels/token_nll.ts";
import type { Workspace } from "./packed_block.ts";
import type { Chain, ChainStep } from "./packed_chain.ts";

/** How embeddings and head lie on the device; "auto": in 16 bits where that changes no value, else in 32. */
export type TableType = "auto" | "f16" | "f32";

/** Rows first … first + rows − 1 of a table of the vocabulary. */
interface Part {
  readonly first: number;
  readonly rows: number;
}

function dtypeOf(data: Floats, wanted: TableType): "f16" | "f32" {
  if (wanted !== "auto") return wanted;
  for (const x of data) if (Math.f16round(x) !== x) return "f32";
  return "f16";
}

/** Parts of a table that fit a buffer each; an even number of rows, so that 16-bit pairs stay whole. */
function partsOf(chain: Chain, rows: number, width: number): Part[] {
  const most = Math.max(2, Math.floor(chain.gpu.maxBytes / (width * 4) / 2) * 2), parts: Part[] = [];
  for (let first = 0; first < rows; first += most) parts.push({ first, rows: Math.min(most, rows - first) });
  return parts;
}

/** A table's rows as 32-bit words: float32 bits, or two 16-bit floats each. */
function tableWords(data: Floats, dtype: "f16" | "f32"): Uint32Array<ArrayBuffer> {
  if (dtype === "f32") return new Uint32Array(data.slice().buffer);
  const halves = new Float16Array(Math.ceil(data.length / 2) * 2);
  halves.set(data);
  return new Uint32Array(halves.buffer);
}

/** Ids on the device to the residual stream; what the first block reads in `w.normed` where norms come after. */
export async function embedSteps(chain: Chain, w: Workspace, ids: GPUBuffer, type: TableType): Promise<ChainStep[]> {
  const { config: c, step } = chain, { names } = c, steps: ChainStep[] = [];
  const full = (name: string) => names.base + name;
  const gather = async (name: string, width: number, positionOffset: number | null, add: boolean, out: GPUBuffer) => {
    const data = await chain.tensor(`${full(name)}.weight`), dtype = dtypeOf(data, type);
    for (const { first, rows } of partsOf(chain, data.length / width, width)) {
      const words = tableWords(data.subarray(first * width, (first + rows) * width), dtype);
      const table = chain.upload("ends", words, `${name}, rows from ${first}`);
      const spec = { width, first, rows, dtype, positionOffset, add };
      steps.push(chain.costing(await bindEmbed(chain.gpu, spec, { step, ids, table, out }), width * 10));
    }
  };
  const offset = c.positions.kind === "learned" ? c.positions.offset : 0;
  if (names.projectIn === null) {
    await gather(names.embed, c.width, null, false, chain.residual);
    if (names.positions !== null) await gather(names.positions, c.width, offset, true, chain.residual);
  } else { // positions are the residual that the projected embeddings are added to
    const narrow = chain.scratch(c.embedWidth, "embeddings"), wide = w.down;
    await gather(names.embed, c.embedWidth, null, false, narrow);
    const name = `${full(names.projectIn)}.weight`;
    const projection = await chain.open("ends", await chain.dense(name, c.width, c.embedWidth));
    steps.push(chain.apply(projection, narrow, wide));
    if (names.positions !== null) await gather(names.positions, c.width, offset, false, chain.residual);
    chain.leave([wide], null);
  }
  if (names.embedNorm !== null) steps.push(await chain.norm([full(names.embedNorm)], [w.normed], { keep: true }));
  if (c.normAfter) steps.push(await chain.norm([], [w.normed]));
  return steps;
}

/** The head on the device. */
export interface Head {
  /** From the residual stream to the logits of the last vector. */
  readonly last: readonly ChainStep[];
  /** Logits (rows) of each part of the vocabulary, after `last`. */
  readonly logits: readonly LogitsPart[];
  /** From the logits of the last vector to the next token, in ids[0] and written[position]. */
  readonly pick: readonly ChainStep[];
  /** From the residual stream to what likelihoods are made of; made when first asked for. */
  scoring(targets: GPUBuffer): Promise<{ readonly steps: readonly ChainStep[]; readonly parts: readonly GPUBuffer[] }>;
}

/**
 * Final norm, projection and head.
 *
 * @param ids token ids of the next pass. @param written (positions) u32.
 */
export async function openHead(
  chain: Chain,
  w: Workspace,
  type: TableType,
  ids: GPUBuffer,
  written: GPUBuffer,
): Promise<Head> {
  const { config: c, step } = chain, { names } = c;
  const data = await chain.tensor(c.tied ? `${names.base}${names.embed}.weight` : `${names.head}.weight`);
  const dtype = dtypeOf(data, type), pieces: (Part & { linear: DeviceLinear })[] = [];
  for (const part of partsOf(chain, c.vocab, c.embedWidth)) {
    const rows = data.slice(part.first * c.embedWidth, (part.first + part.rows) * c.embedWidth);
    const linear = await chain.open("ends", { data: rows, rows: part.rows, cols: c.embedWidth }, dtype);
    pieces.push({ ...part, linear });
  }
  const projection = names.projectOut === null
    ? null
    : await chain.open("ends", await chain.dense(`${names.base}${names.projectOut}.weight`, c.embedWidth, c.width));
  const finalNorm = names.finalNorm && names.base + names.finalNorm;

  /** Steps up to what the head reads, for the last vector or all. */
  const finish = async (last: boolean): Promise<{ steps: ChainStep[]; x: GPUBuffer }> => {
    const rows = last ? 1 : chain.vectors, normed = last ? chain.scratch(c.width, "last vector", 1) : w.normed;
    const steps = [await chain.norm([finalNorm], [normed], { last, ends: true })];
    if (projection === null) return { steps, x: normed };
    const x = chain.scratch(c.embedWidth, "projected", rows);
    steps.push(chain.apply(projection, normed, x, last ? 1 : undefined));
    return { steps, x };
  };
  const one = await finish(true), logits: LogitsPart[] = [];
  for (const { linear, first, rows } of pieces) {
    const buffer = chain.scratch(rows, "logits", 1);
    one.steps.push(chain.apply(linear, one.x, buffer, 1));
    logits.push({ buffer, first, rows });
  }
  const winners = chain.scratch(winnersWords(logits.length), "likeliest tokens", 1);
  const pick = await bindArgmax(chain.gpu, logits, { step, winners, ids, written });
  return {
    last: one.steps,
    logits,
    pick: pick.map((kernel) => chain.costing(kernel, c.vocab)),
    async scoring(targets) {
      const { steps, x } = await finish(false), parts: GPUBuffer[] = [];
      for (const { linear, first, rows } of pieces) {
        const all = chain.scratch(rows, "logits of all vectors");
        const part = chain.scratch(NLL_PARTS * 4, "parts of likelihoods");
        const nll = await bindNll(chain.gpu, { first, rows }, { logits: all, targets, parts: part });
        steps.push(chain.apply(linear, x, all), chain.costing(nll, rows * 10));
        parts.push(part);
      }
      return { steps, parts };
    },
  };
}
