// What a model is tuned on: equal windows of tokens, and which of their tokens it is asked for.
import { LabError } from "../io/errors.ts";
import { rng } from "../io/rng.ts";

/** Windows of token ids; lib/io's TextWindows fits where every token is asked for. */
export interface TuneText {
  /** (windows · length) */
  readonly ids: Int32Array;
  readonly windows: number;
  readonly length: number;
  /** (windows · length): 1 where the model is asked for this token, 0 where it is only given; absent: all are asked for. */
  readonly mask?: Uint8Array;
}

/** A question with its answer, as token ids. */
export interface TuneItem {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}

/**
 * Windows side by side, from the first token on; a tail that fills none is dropped.
 *
 * @param tokens the text (n). @param length tokens a window, at least 2. @param label for messages.
 * @throws LabError "input" when the text does not fill one window, with both counts.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { windowsOfTokens } from "./tune_text.ts";
 * assert.equal(windowsOfTokens(Int32Array.of(1, 2, 3, 4, 5), 2, "doc").windows, 2);
 * assert.throws(() => windowsOfTokens(Int32Array.of(1), 2, "doc"), /doc: its 1 tokens fill no window of 2/);
 * ```
 */
export function windowsOfTokens(tokens: Int32Array, length: number, label: string): TuneText {
  if (!Number.isSafeInteger(length) || length < 2) {
    throw new LabError("input", "window", `${length} tokens`, "It takes at least 2.");
  }
  const windows = Math.floor(tokens.length / length);
  if (windows < 1) {
    const hint = tokens.length >= 2
      ? `Give a longer text, or windows of at most ${tokens.length} tokens.`
      : "Give a longer text.";
    throw new LabError("input", label, `its ${tokens.length} tokens fill no window of ${length}`, hint);
  }
  return { ids: tokens.slice(0, windows * length), windows, length };
}

/**
 * One window an item: the question, the answer, padding. Only the answer's tokens are asked for.
 *
 * @param length tokens a window; the longest item must fit. @param padding a token id to fill up with; it is never asked for
 *   and, behind the answer, never read by a token that is. @param label for messages.
 * @throws LabError "input" for an item that is too long, has no answer or no question.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { windowsOfItems } from "./tune_text.ts";
 * const t = windowsOfItems([{ prompt: [5, 6], answer: [7] }], 4, 0, "doc");
 * assert.deepEqual([[...t.ids], [...t.mask!]], [[5, 6, 7, 0], [0, 0, 1, 0]]);
 * ```
 */
export function windowsOfItems(
  items: readonly TuneItem[],
  length: number,
  padding: number,
  label: string,
): TuneText & { readonly mask: Uint8Array } {
  if (items.length < 1) throw new LabError("input", label, "has no items");
  const ids = new Int32Array(items.length * length).fill(padding), mask = new Uint8Array(ids.length);
  items.forEach(({ prompt, answer }, i) => {
    const size = prompt.length + answer.length;
    if (prompt.length < 1 || answer.length < 1) {
      throw new LabError("input", `${label}, item ${i}`, "lacks a question or an answer");
    }
    if (size > length) {
      throw new LabError("input", `${label}, item ${i}`, `its ${size} tokens do not fit a window of ${length}`);
    }
    ids.set(prompt, i * length);
    ids.set(answer, i * length + prompt.length);
    mask.fill(1, i * length + prompt.length, i * length + size);
  });
  return { ids, windows: items.length, length, mask };
}

/** The chosen windows of a text, in the order given. */
export function takeWindows(text: TuneText, which: readonly number[]): TuneText {
  const { length } = text, ids = new Int32Array(which.length * length), mask = new Uint8Array(ids.length);
  which.forEach((w, i) => {
    ids.set(text.ids.subarray(w * length, (w + 1) * length), i * length);
    if (text.mask) mask.set(text.mask.subarray(w * length, (w + 1) * length), i * length);
  });
  return { ids, windows: which.length, length, ...(text.mask ? { mask } : {}) };
}

/** How many tokens a text asks for: the first of a window never counts, nothing comes before it. */
export function askedTokens({ windows, length, mask }: TuneText): number {
  if (!mask) return windows * (length - 1);
  let n = 0;
  for (let i = 0; i < mask.length; i++) if (mask[i] && i % length > 0) n++;
  return n;
}

/**
 * Which windows come next: each pass over the text takes all of them once, in a random order of its own. Depends on its
 * arguments alone, so a resumed run goes on with the same windows.
 *
 * @param windows how many there are. @param first how many were taken before. @param count how many to take.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { nextWindows } from "./tune_text.ts";
 * assert.deepEqual(nextWindows(3, 1, 0, 3).sort(), [0, 1, 2]);
 * assert.deepEqual(nextWindows(3, 1, 0, 5).slice(2), nextWindows(3, 1, 2, 3));
 * ```
 */
export function nextWindows(windows: number, seed: number, first: number, count: number): number[] {
  const out: number[] = [];
  let pass = -1, order = new Int32Array(0);
  for (let i = first; i < first + count; i++) {
    if (Math.floor(i / windows) !== pass) {
      pass = Math.floor(i / windows);
      order = rng(seed, `tuning windows, pass ${pass}`).permutation(windows);
    }
    out.push(order[i % windows]);
  }
  return out;
}
