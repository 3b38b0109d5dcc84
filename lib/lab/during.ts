// A progress display around one call, so that a cell stays one line.
import type { OnProgress } from "../io/progress.ts";
import { progress, type ProgressOptions } from "./progress.ts";

/**
 * Runs work under a progress display that ends with it, well or not.
 *
 * @param label what is being done: "second moments".
 * @param work gets the callback that lib/io, lib/model and lib/lab report to.
 * @param o for tests: clock and screen of the display.
 * @returns what the work gives; its error is thrown on.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { during } from "./during.ts";
 * let text = "";
 * const value = await during("counting", (report) => {
 *   report({ what: "counting", done: 3, total: 3, unit: "sheep" });
 *   return Promise.resolve(3);
 * }, { write: (t) => text += t, isTerminal: true });
 * assert.equal(value, 3);
 * assert.match(text, /3 sheep/);
 * ```
 */
export async function during<T>(
  label: string,
  work: (onProgress: OnProgress) => Promise<T>,
  o: Partial<ProgressOptions> = {},
): Promise<T> {
  const display = progress(label, { total: 0, unit: "steps", ...o });
  try {
    return await work(display.onProgress);
  } finally {
    await display.finish();
  }
}
