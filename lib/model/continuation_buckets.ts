// Texts in two parts on their way through a model: those of one length together, each block opened once for all of them.
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Hidden, LanguageModel } from "./language_model.ts";
import { openBlockWith, type OtherWeights } from "./perplexity.ts";
import { withoutBlocks } from "./skip_blocks.ts";

/** A text in two parts, as token ids; the context holds at least one token. */
export interface Continuation {
  readonly context: readonly number[];
  readonly continuation: readonly number[];
}

/** Texts are filled up at the end to a multiple of this; what follows a token cannot change its likelihood. At 32 a tenth more
 * of the lab's own questions is filling, at 1 every length is compiled anew. */
const lengthStep = 8;

/** Texts of one length. */
export interface Bucket {
  /** Tokens of each, filling included. */
  readonly length: number;
  /** Which requests. */
  readonly members: readonly number[];
  /** (members, length) */
  readonly ids: Int32Array;
  readonly hidden: Hidden;
}

/** Where the buckets of several ways through a model stand after its last block. */
export interface Runs {
  /** One a skip set, in their order. */
  readonly runs: readonly (readonly Bucket[])[];
  /** After each of the blocks asked for, nothing skipped. */
  readonly exits: ReadonlyMap<number, readonly Bucket[]>;
}

/**
 * Sends texts through a model several times at once, each time without other blocks. Ways that have skipped the same so far are
 * one: a prefix is computed once, and each block opened once for all.
 *
 * @param requests contexts and continuations of one token at least. @param skips blocks that each way leaves out; [] is the model.
 * @param o.exits numbers of blocks behind which to keep the states of the whole model.
 * @returns hidden states (members, length, width) of each way; equal requests make equal buckets.
 * @throws LabError "input" for an empty part of a request, and as withoutBlocks.
 */
export async function runBuckets(
  model: LanguageModel,
  requests: readonly Continuation[],
  skips: readonly (readonly number[])[],
  o: { readonly exits?: readonly number[]; readonly weights?: OtherWeights; readonly onProgress?: OnProgress } = {},
): Promise<Runs> {
  const sets = [[], ...skips].map((skip) => (withoutBlocks(model, skip), new Set(skip)));
  const buckets = await startBuckets(model, requests), exits = new Map<number, readonly Bucket[]>();
  const keepExit = (index: number, states: readonly Hidden[]) => {
    if (o.exits?.includes(index)) exits.set(index, buckets.map((b, i) => ({ ...b, hidden: states[i] })));
  };
  const wanted = o.exits?.length ? sets : sets.slice(1); // the whole model, for its exits
  let ways: { readonly members: readonly Set<number>[]; readonly states: readonly Hidden[] }[] = [
    { members: wanted, states: buckets.map((b) => b.hidden) },
  ];
  for (let index = 0; index < model.blocks; index++) {
    const block = await openBlockWith(model, index, o.weights), next: typeof ways = [];
    for (const { members, states } of ways) {
      const skipping = members.filter((s) => s.has(index)), going = members.filter((s) => !s.has(index));
      if (skipping.length > 0) next.push({ members: skipping, states });
      if (going.length === 0) continue;
      const moved: Hidden[] = [];
      for (const h of states) moved.push(await block.forward(h));
      next.push({ members: going, states: moved });
      if (going.includes(sets[0])) keepExit(index, moved);
    }
    ways = next;
    block.close();
    o.onProgress?.({ what: "scoring continuations", done: index + 1, total: model.blocks, unit: "blocks" });
  }
  const runs = sets.slice(1).map((set) => {
    const { states } = ways.find((way) => way.members.includes(set))!;
    return buckets.map((b, i) => ({ ...b, hidden: states[i] }));
  });
  return { runs, exits };
}

async function startBuckets(model: LanguageModel, requests: readonly Continuation[]): Promise<Bucket[]> {
  const byLength = new Map<number, number[]>(), most = model.config.maxPositions ?? Infinity;
  for (const [i, r] of requests.entries()) {
    if (r.context.length === 0 || r.continuation.length === 0) {
      throw new LabError("input", `continuation ${i}`, "needs a context and a continuation of one token at least");
    }
    const whole = r.context.length + r.continuation.length;
    const length = Math.max(whole, Math.min(most, Math.ceil(whole / lengthStep) * lengthStep));
    byLength.set(length, [...byLength.get(length) ?? [], i]);
  }
  const out: Bucket[] = [];
  for (const [length, members] of byLength) {
    const ids = new Int32Array(members.length * length);
    members.forEach((i, w) => ids.set([...requests[i].context, ...requests[i].continuation], w * length));
    out.push({ length, members, ids, hidden: await model.embed(ids, members.length, length) });
  }
  return out;
}

/** One token of a continuation: which member, which id, and the position whose logits predict it. */
export interface Predicted {
  readonly member: number;
  readonly id: number;
  readonly row: number;
}

/** All tokens of a bucket's continuations, member after member. */
export function predictions(b: Bucket, requests: readonly Continuation[]): Predicted[] {
  return b.members.flatMap((i, member) =>
    requests[i].continuation.map((id, t) => ({
      member,
      id,
      row: member * b.length + requests[i].context.length - 1 + t,
    }))
  );
}

/** The hidden states that predict these tokens, one behind the other as one window, and `spare` empty ones at its end. */
export function statesAt(b: Bucket, part: readonly Predicted[], spare = 0): Hidden {
  const { width, data } = b.hidden, length = part.length + spare, states = new Float32Array(length * width);
  part.forEach(({ row }, k) => states.set(data.subarray(row * width, (row + 1) * width), k * width));
  return { data: states, windows: 1, length, width };
}
