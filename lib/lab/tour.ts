// What the first notebook shows of a model: what it is, what it writes, and what one changed layer does to it.
import { LabError } from "../io/errors.ts";
import type { OnProgress } from "../io/progress.ts";
import { generate } from "../model/generate.ts";
import { perplexity, type TokenWindows } from "../model/perplexity.ts";
import type { LayerStudy } from "./layer_study.ts";
import { replacing, type Trial } from "./layer_trial.ts";
import { type Table, table } from "./table.ts";

/** A model in a few lines: family, sizes, and what a reader of results must know. */
export function modelTable(study: LayerStudy): Table {
  const { model, files, windows } = study, c = model.config;
  const linears = c.linears.reduce((sum, l) => sum + l.out * l.in, 0);
  const rows: (readonly [string, string])[] = [
    ["model", study.label],
    ["family", c.family],
    ["blocks", `${model.blocks}, ${c.linears.length} linear layers in each`],
    ["width", `${c.width}, vocabulary ${c.vocab}`],
    ["weights in the linear layers", `${(model.blocks * linears / 1e6).toFixed(1)} million`],
    ["calibration text", `${windows.label}: ${windows.windows} windows of ${windows.length} tokens`],
  ];
  return table(["what", "is"], files.note ? [...rows, ["note", files.note]] : rows);
}

/**
 * Text from the model: the prompt and what it adds, cut after a number of sentences.
 *
 * @param o.temperature 0: always the likeliest token. @param o.seed of the sampling.
 * @throws LabError "input" for a model without a tokenizer.
 */
export async function writeSentences(
  study: LayerStudy,
  prompt: string,
  o: { readonly sentences: number; readonly tokens: number; readonly temperature: number; readonly seed: number },
): Promise<string> {
  const { tokenizer, model } = study;
  if (!tokenizer) {
    throw new LabError("input", study.files.label, "has no tokenizer", "Put tokenizer.json into its folder.");
  }
  const ids = tokenizer.encode(prompt);
  const added = await generate(model, ids, {
    tokens: o.tokens,
    temperature: o.temperature,
    seed: o.seed,
    stop: tokenizer.eosId,
  });
  return firstSentences(tokenizer.decode([...ids, ...added]), o.sentences);
}

/**
 * The first sentences of a text, white space joined; all of it, with an ellipsis, where it has fewer ends.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { firstSentences } from "./tour.ts";
 * assert.equal(firstSentences("One. Two!\nThree? Four", 2), "One. Two!");
 * assert.equal(firstSentences("One. Tw", 2), "One. Tw…");
 * ```
 */
export function firstSentences(text: string, count: number): string {
  const flat = text.replace(/\s+/g, " ").trim(), ends = [...flat.matchAll(/[.!?]["”’']?(?=\s|$)/g)];
  const end = ends[count - 1];
  return end ? flat.slice(0, end.index + end[0].length) : `${flat}…`;
}

/** The perplexity of the model with one layer replaced. */
export interface Replacement {
  readonly label: string;
  readonly perplexity: number;
}

/**
 * Perplexity as the model is, and with the trials' layer replaced by each trial in turn.
 *
 * @param windows token ids to measure on.
 * @returns "float" first, then one entry a trial.
 */
export async function replacementPerplexities(
  study: LayerStudy,
  windows: TokenWindows,
  trials: readonly Trial[],
  onProgress?: OnProgress,
): Promise<Replacement[]> {
  const total = trials.length + 1, out: Replacement[] = [];
  const measure = async (label: string, trial: Trial | null) => {
    onProgress?.({ what: "perplexity", done: out.length, total, unit: "models" });
    const { perplexity: value } = await perplexity(study.model, windows, trial ? { weights: replacing(trial) } : {});
    out.push({ label, perplexity: value });
  };
  await measure("float", null);
  for (const trial of trials) await measure(trial.label, trial);
  onProgress?.({ what: "perplexity", done: total, total, unit: "models" });
  return out;
}

/** Those perplexities, with their distance from the float model. */
export function replacementTable(rows: readonly Replacement[], layer: string): Table {
  return table(
    ["weights of the one layer", "perplexity", "change (%)"],
    rows.map((r) => [r.label, r.perplexity.toFixed(3), (100 * (r.perplexity / rows[0].perplexity - 1)).toFixed(3)]),
    `Only ${layer} differs from row to row.`,
  );
}
