// The text of a tuning: running text cut into windows, or questions with answers, a line of JSON each.
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { sha256Hex } from "../io/digest.ts";
import { LabError } from "../io/errors.ts";
import type { ModelFiles } from "../io/open_model.ts";
import { openText } from "../io/text.ts";
import type { TextTokenizer } from "../io/text_tokenizer.ts";
import { openWindows } from "../io/windows.ts";
import { takeWindows, type TuneItem, type TuneText, windowsOfItems, windowsOfTokens } from "../model/tune_text.ts";

/** The lab's own license: legal English, unlike the embedded model's books, and in every clone. */
const LICENSE = fileURLToPath(new URL("../../LICENSE", import.meta.url));

/** A text to tune on, and one to measure on. */
export interface TuneTexts {
  readonly train: TuneText;
  readonly heldOut: TuneText | null;
  /** The training text for people. */
  readonly label: string;
  /** SHA-256 of the training windows and of what they ask for. */
  readonly sha256: string;
}

/** A question whose answer a program can check. */
export interface QuestionItem {
  readonly prompt: string;
  readonly answer: string;
}

/** Where texts come from. */
export interface TuneTextOptions {
  /** TEXT, a .jsonl file of {"prompt", "answer"}, or `license`. */
  readonly data: string;
  /** The same, to measure on; "" for none. Absent: the last tenth of the windows of a file, the end of a book. */
  readonly heldOut?: string;
  /** Tokens a window. */
  readonly length: number;
  readonly seed: number;
  readonly localCopy?: string;
}

/**
 * Opens the texts of a tuning.
 *
 * @throws LabError "input" for a text without one full window or an item that fits none, as openText for names and files.
 */
export async function openTuneTexts(files: ModelFiles, o: TuneTextOptions): Promise<TuneTexts> {
  const tokenizer = await files.tokenizer();
  const open = async (text: string, purpose: "calibration" | "evaluation") => {
    if (text.endsWith(".safetensors")) {
      return await openWindows(text, { tokenizer, purpose, samples: 1, seqLen: o.length, seed: o.seed });
    }
    if (!tokenizer) {
      const hint = "Add its tokenizer.json, or give a .safetensors file with input_ids (windows, length).";
      throw new LabError("input", text, "cannot be cut into tokens, the model has no tokenizer", hint);
    }
    if (text.endsWith(".jsonl")) {
      return { ...questionWindows(await readQuestions(text), tokenizer, o.length, basename(text)) };
    }
    const { label, text: whole } = await openText(text === "license" ? LICENSE : text, {
      purpose,
      ...(o.localCopy ? { localCopy: o.localCopy } : {}),
    });
    if (whole === null) {
      throw new LabError("input", label, "comes as documents, not as one text", "Save a part of it as a text file.");
    }
    return { ...windowsOfTokens(Int32Array.from(tokenizer.encode(whole)), o.length, label), label };
  };
  const all = await open(o.data, "calibration"), label = "label" in all ? all.label : basename(o.data);
  const book = o.data === "moby-dick" || o.data === "sotu";
  let train: TuneText = all, heldOut: TuneText | null = null;
  if (o.heldOut) heldOut = await open(o.heldOut, "evaluation");
  else if (o.heldOut === undefined && book) heldOut = await open(o.data, "evaluation");
  else if (o.heldOut === undefined && all.windows >= 10) {
    const cut = all.windows - Math.floor(all.windows / 10), list = Array.from({ length: all.windows }, (_, i) => i);
    [train, heldOut] = [takeWindows(all, list.slice(0, cut)), takeWindows(all, list.slice(cut))];
  }
  return { train, heldOut, label, sha256: textSha256(train) };
}

/** SHA-256 of a text's windows and of what they ask for. */
export function textSha256({ ids, windows, length, mask }: TuneText): string {
  return sha256Hex(`${windows} × ${length}: ${ids.join()}; ${mask?.join("") ?? "all"}`);
}

/**
 * Questions as windows, one each: prompt, answer, end-of-text token where the model has one; the answer and the end are
 * asked for.
 *
 * @throws LabError "input" as windowsOfItems.
 */
export function questionWindows(
  items: readonly QuestionItem[],
  tokenizer: TextTokenizer,
  length: number,
  label: string,
): TuneText {
  const end = tokenizer.eosId === null ? [] : [tokenizer.eosId];
  const tokens = items.map(({ prompt, answer }): TuneItem => {
    // Tokenized apart, so that the prompt is the same tokens when the answer is not known yet.
    return { prompt: tokenizer.encode(prompt), answer: [...tokenizer.encode(answer), ...end] };
  });
  return windowsOfItems(tokens, length, end[0] ?? 0, label);
}

async function readQuestions(path: string): Promise<QuestionItem[]> {
  const text = await Deno.readTextFile(path).catch((cause) => {
    throw new LabError("input", path, "cannot be read", "Give a .jsonl file.", { cause });
  });
  return text.split("\n").filter((line) => line.trim() !== "").map((line, i) => {
    try {
      const { prompt, answer } = JSON.parse(line) as Partial<QuestionItem>;
      if (typeof prompt === "string" && typeof answer === "string") return { prompt, answer };
    } catch { /* said below */ }
    throw new LabError("format", `${path}, line ${i + 1}`, 'is no {"prompt": "…", "answer": "…"}');
  });
}
