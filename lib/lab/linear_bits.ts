// Bits of single linears as data: a JSON object {"0.self_attn.q_proj": 4, …}, from a file or in place.
import { LabError } from "../io/errors.ts";

/** Linear → whole bits of a code, by "block.linear". */
export type LinearBits = Readonly<Record<string, number>>;

/** Widths of a code that a plan may name. */
const LEAST = 2, MOST = 8;

/**
 * Checks bits by linear: whole, 2 to 8.
 *
 * @param value what JSON.parse gave. @param place for messages.
 * @throws LabError "input" that names the linear and its value; which linears a model has is planBlock's business.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { checkLinearBits } from "./linear_bits.ts";
 * assert.deepEqual(checkLinearBits({ "0.q": 4 }, "plan.json"), { "0.q": 4 });
 * assert.throws(() => checkLinearBits({ "0.q": 3.5 }, "plan.json"), /plan\.json: 0\.q: 3\.5 is no whole number/);
 * ```
 */
export function checkLinearBits(value: unknown, place: string): LinearBits {
  const hint = 'It is an object such as {"0.self_attn.q_proj": 4}.';
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new LabError("input", place, "is no object from linears to bits", hint);
  }
  const entries = Object.entries(value);
  if (entries.length === 0) throw new LabError("input", place, "names no linear", hint);
  for (const [name, bits] of entries) {
    if (!/^\d+\.\S+$/.test(name)) throw new LabError("input", place, `"${name}" is no linear of a block`, hint);
    if (Number.isInteger(bits) && bits >= LEAST && bits <= MOST) continue;
    const problem = `${JSON.stringify(bits)} is no whole number from ${LEAST} to ${MOST}`;
    throw new LabError("input", `${place}: ${name}`, problem, "Bits are those of a code.");
  }
  return Object.fromEntries(entries);
}

/**
 * Reads bits by linear from a file, or from the text itself where that begins with "{". A file that `owq amq models` wrote has
 * them in its field `linearBits`.
 *
 * @param text a path or JSON.
 * @throws LabError "storage" for a file that cannot be read, "format" for no JSON, else as {@link checkLinearBits}.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readLinearBits } from "./linear_bits.ts";
 * assert.deepEqual(await readLinearBits('{"0.q": 4, "1.q": 2}'), { "0.q": 4, "1.q": 2 });
 * ```
 */
export async function readLinearBits(text: string): Promise<LinearBits> {
  const inPlace = text.trimStart().startsWith("{"), place = inPlace ? "--linear-bits" : text;
  const json = inPlace ? text : await Deno.readTextFile(text).catch((cause) => {
    throw new LabError("storage", text, "cannot be read", "Give the path of a JSON file, or the object itself.", {
      cause,
    });
  });
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new LabError("format", place, `is no JSON (${(cause as Error).message})`, "", { cause });
  }
  const inner = (value as { linearBits?: unknown } | null)?.linearBits;
  return checkLinearBits(inner ?? value, place);
}
