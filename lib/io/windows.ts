// Texts as windows of token ids: what calibration feeds through a model and what perplexity is measured on.
import { basename } from "node:path";
import { sha256Hex } from "./digest.ts";
import { LabError } from "./errors.ts";
import { type Rng, rng } from "./rng.ts";
import { openSafetensors } from "./safetensors.ts";
import { type OpenedText, openText, type TextOptions } from "./text.ts";
import type { TextTokenizer } from "./text_tokenizer.ts";

/** Equal windows of token ids. */
export interface TextWindows {
  /** (windows, length), row-major. */
  readonly ids: Int32Array<ArrayBuffer>;
  readonly windows: number;
  readonly length: number;
  /** The text and the part of it, for people: "wikitext2 test". */
  readonly label: string;
  /** SHA-256 of the ids as little-endian 32-bit integers, in hexadecimal: goes into every result's provenance. */
  readonly sha256: string;
}

/** What to cut. */
export interface WindowsOptions extends TextOptions {
  /** Null where a model has none; then only a safetensors file of ids will do. */
  readonly tokenizer: TextTokenizer | null;
  /** Number of windows; 0 means all, for evaluation only. */
  readonly samples: number;
  /** Tokens a window. */
  readonly seqLen: number;
  /** Decides where calibration windows lie; evaluation ignores it. */
  readonly seed: number;
}

/** Of C4's documents, this many times `samples` are kept to choose from: one in some fifteen turns out longer than a window. */
const RESERVOIR = 64;

/**
 * Opens a text and cuts it into windows.
 *
 * Evaluation takes windows side by side from the start, the first `samples` of them (0: all), and drops the tail that fills none.
 * Calibration takes `samples` windows at random places of the tokenized text, uniform over all starts, from the stream
 * "calibration windows" of `seed`; of C4, random places in random documents longer than a window. A `.safetensors` file with
 * `input_ids` (windows, length) is taken as it is, whatever the other options say.
 *
 * @param text see lib/io/text.ts; or a safetensors file.
 * @throws LabError "input" when the text holds fewer tokens than were asked for (with both counts), when a number does not fit or a
 *   tokenizer is needed and missing; "format", "network" and "storage" as the text's own reader does.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openWindows } from "./windows.ts";
 * const bytes = { encode: (t: string) => [...new TextEncoder().encode(t)], decode: () => "", vocabSize: 256, bosId: null, eosId: null };
 * const w = await openWindows("moby-dick", { tokenizer: bytes, samples: 4, seqLen: 16, seed: 0, purpose: "calibration" });
 * assert.equal(w.ids.length, 4 * 16);
 * ```
 */
export async function openWindows(text: string, o: WindowsOptions): Promise<TextWindows> {
  if (text.endsWith(".safetensors")) return idsOfFile(text);
  const whole = (value: number, least: number) => Number.isSafeInteger(value) && value >= least;
  if (!whole(o.seqLen, 2)) throw new LabError("input", "sequence length", `${o.seqLen} is no integer of at least 2`);
  if (!whole(o.samples, o.purpose === "calibration" ? 1 : 0)) {
    const least = o.purpose === "calibration" ? "at least 1" : "0 (all) or more";
    throw new LabError("input", `${o.purpose} samples`, `${o.samples} is no integer of ${least}`);
  }
  if (!o.tokenizer) {
    const hint = "Add its tokenizer.json, or give a .safetensors file with input_ids (windows, length).";
    throw new LabError("input", text, "cannot be cut into tokens, the model has no tokenizer", hint);
  }
  const { tokenizer } = o, encode = (text: string) => tokenizer.encode(text), opened = await openText(text, o);
  if (opened.documents) return await drawDocuments(opened, opened.documents, encode, o);
  const ids = Int32Array.from(encode(opened.text ?? "")), { seqLen, samples } = o;
  const fit = Math.min(Math.floor(ids.length / seqLen), opened.maxWindows);
  if (fit < Math.max(samples, 1)) throw tooShort(opened.label, ids.length, Math.max(samples, 1), fit, o);
  if (o.purpose === "evaluation") {
    const windows = samples === 0 ? fit : samples;
    return finish(ids.slice(0, windows * seqLen), windows, seqLen, opened.label);
  }
  const out = new Int32Array(samples * seqLen), random = rng(o.seed, "calibration windows");
  for (let i = 0; i < samples; i++) {
    const start = random.int(ids.length - seqLen + 1);
    out.set(ids.subarray(start, start + seqLen), i * seqLen);
  }
  return finish(out, samples, seqLen, opened.label);
}

function finish(ids: Int32Array<ArrayBuffer>, windows: number, length: number, label: string): TextWindows {
  const bytes = new DataView(new ArrayBuffer(ids.length * 4));
  ids.forEach((id, i) => bytes.setInt32(i * 4, id, true));
  return { ids, windows, length, label, sha256: sha256Hex(new Uint8Array(bytes.buffer)) };
}

function idsOfFile(path: string): TextWindows {
  const file = openSafetensors(path);
  try {
    const { data, shape } = file.readInts("input_ids"), label = basename(path);
    if (shape.length !== 2 || shape[0] < 1 || shape[1] < 2) {
      throw new LabError(
        "format",
        `${label}: input_ids`,
        `has the shape [${shape.join(", ")}]`,
        "It must be (windows, length).",
      );
    }
    const bad = data.findIndex((id) => id < 0);
    if (bad >= 0) {
      const at = `(${Math.floor(bad / shape[1])}, ${bad % shape[1]})`;
      throw new LabError("format", `${label}: input_ids`, `${data[bad]} at ${at} is no token id`);
    }
    return finish(data, shape[0], shape[1], label);
  } finally {
    file.close();
  }
}

function tooShort(label: string, tokens: number, wanted: number, fit: number, o: WindowsOptions): LabError {
  const problem = `its ${tokens} tokens make ${fit} windows of ${o.seqLen} where ${wanted} were asked for`;
  const shorter = Math.floor(tokens / wanted);
  const hint = fit > 0 ? `Ask for at most ${fit} windows${shorter >= 2 ? `, or for windows of ${shorter}` : ""}.` : "";
  return new LabError("input", label, problem, hint || "Ask for shorter windows, or give a longer text.");
}

/** Uniform documents among those longer than a window, in each a uniform place. */
async function drawDocuments(
  opened: OpenedText,
  documents: AsyncIterable<string>,
  encode: (text: string) => number[],
  o: WindowsOptions,
): Promise<TextWindows> {
  const { samples, seqLen, seed } = o, random = rng(seed, "calibration windows");
  const { kept, seen } = await sampleLong(documents, samples * RESERVOIR, seqLen, rng(seed, "calibration documents"));
  const out = new Int32Array(samples * seqLen);
  let found = 0;
  for (const i of random.permutation(kept.length)) {
    const ids = encode(kept[i]);
    if (ids.length <= seqLen) continue;
    const start = random.int(ids.length - seqLen + 1);
    out.set(ids.slice(start, start + seqLen), found * seqLen);
    if (++found === samples) return finish(out, samples, seqLen, opened.label);
  }
  const problem = `only ${found} of the ${kept.length} documents tried (of ${seen}) are longer than ${seqLen} tokens`;
  throw new LabError("input", opened.label, problem, "Ask for shorter or fewer windows.");
}

/** Reservoir sampling (Vitter 1985, algorithm R): every long document is kept with the same chance, in one pass. */
async function sampleLong(
  documents: AsyncIterable<string>,
  size: number,
  seqLen: number,
  random: Rng,
): Promise<{ kept: string[]; seen: number }> {
  const kept: string[] = [];
  let long = 0, seen = 0;
  for await (const text of documents) {
    seen++;
    // A token holds at least a byte, and a UTF-16 unit makes at most three: shorter ones cannot be long enough.
    if (text.length * 3 < seqLen) continue;
    long++;
    if (kept.length < size) kept.push(text);
    else {
      const i = random.int(long);
      if (i < size) kept[i] = text;
    }
  }
  return { kept, seen };
}
