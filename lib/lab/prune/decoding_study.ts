// Notebook PruneCD: one model, its amateurs, and ways to decode by contrast, on questions with one right answer.
import { LabError } from "../../io/errors.ts";
import type { OnProgress } from "../../io/progress.ts";
import type { TextTokenizer } from "../../io/text_tokenizer.ts";
import { openWindows } from "../../io/windows.ts";
import type { Continuation } from "../../model/continuation_buckets.ts";
import { type ContrastOptions, contrastToken, plausibleTokens } from "../../model/contrast.ts";
import { contrastText } from "../../model/contrast_text.ts";
import { likeliest } from "../../model/generate.ts";
import { type LanguageModel, openLanguageModel } from "../../model/language_model.ts";
import { logSoftmax } from "../../model/log_softmax.ts";
import type { Answer, Question } from "../../model/multiple_choice.ts";
import { answerPruned } from "../../model/pruned_answers.ts";
import { withoutBlocks } from "../../model/skip_blocks.ts";
import type { Row } from "../compare.ts";
import { resolveModel } from "../open.ts";
import { packedFolders } from "../sweep.ts";
import { openTask } from "../tasks/score.ts";
import type { Development } from "./choose_blocks.ts";

/** A model with the questions to choose blocks on and others to judge by. */
export interface DecodingStudy {
  readonly label: string;
  readonly note: string;
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer;
  readonly task: string;
  readonly development: Development;
  readonly test: readonly Question[];
  close(): void;
}

/**
 * Opens a model and a task; its first questions are for development, the others for the test.
 *
 * @param o.text of the perplexity filter, `windows` of `seqLen` tokens of its calibration part.
 * @throws LabError as resolveModel, openTask and openWindows; "input" where the model has no tokenizer, or no question is left.
 */
export async function openDecodingStudy(
  spec: string,
  o: {
    readonly task: string;
    readonly development: number;
    readonly test: number;
    readonly text: string;
    readonly windows: number;
    readonly seqLen: number;
    readonly seed: number;
  },
): Promise<DecodingStudy> {
  const files = await resolveModel(spec), tokenizer = await files.tokenizer();
  if (!tokenizer) {
    throw new LabError("input", files.label, "has no tokenizer", "Put its tokenizer.json into the folder.");
  }
  const { questions, name } = await openTask(o.task, { items: o.development + o.test, seed: o.seed });
  if (o.development < 1 || questions.length <= o.development) {
    const problem = `has ${questions.length} questions, of which ${o.development} are for development`;
    throw new LabError("input", `the task ${o.task}`, problem, "Both parts need one at least.");
  }
  const { seqLen: length, seed } = o;
  const w = await openWindows(o.text, { tokenizer, samples: o.windows, seqLen: length, seed, purpose: "calibration" });
  const texts = Array.from({ length: w.windows }, (_, i): Continuation => {
    const [first, ...rest] = w.ids.subarray(i * w.length, (i + 1) * w.length);
    return { context: [first], continuation: rest };
  });
  const model = await openLanguageModel(files);
  return {
    label: files.label,
    note: files.note,
    model,
    tokenizer,
    task: name,
    development: { texts, questions: questions.slice(0, o.development) },
    test: questions.slice(o.development),
    close: () => {
      model.close();
      files.source.close();
    },
  };
}

/** Answers of one way to decode. */
export interface DecodingRow {
  readonly label: string;
  /** Blocks that its amateur leaves out; null where there is none. */
  readonly skip: readonly number[] | null;
  readonly answers: readonly Answer[];
}

/** PruneCD's strength β as weights: (1 + β) ln p − β ln p of the amateur. */
export const strengthOf = (beta: number): ContrastOptions => ({ expert: 1 + beta, amateur: beta });

/**
 * Puts the test's questions to the model, to each pruned self alone, to each contrast, and to DoLa.
 *
 * @param sets of blocks, by label. @param o.exits DoLa's candidates; without them there is no DoLa.
 * @returns the model first, then per set "… alone" and the set's contrast, DoLa last.
 */
export async function compareDecoding(
  study: DecodingStudy,
  sets: Readonly<Record<string, readonly number[]>>,
  o: {
    readonly beta: number;
    readonly alpha: number;
    readonly exits?: readonly number[];
    readonly onProgress?: OnProgress;
  },
): Promise<{ readonly rows: DecodingRow[]; readonly picked: readonly number[] }> {
  const names = Object.keys(sets), skips = names.map((n) => sets[n]);
  const contrast = { ...strengthOf(o.beta), plausibility: o.alpha };
  const found = await answerPruned(study.model, study.tokenizer, study.test, {
    skips,
    contrast,
    ...(o.exits ? { exits: o.exits } : {}),
    ...(o.onProgress ? { onProgress: o.onProgress } : {}),
  });
  const rows: DecodingRow[] = [{ label: "the model", skip: null, answers: found.expert }];
  names.forEach((name, i) => {
    rows.push({ label: `${name} alone`, skip: skips[i], answers: found.amateurs[i] });
    rows.push({ label: name, skip: skips[i], answers: found.contrasts[i] });
  });
  if (found.dola) rows.push({ label: "DoLa", skip: null, answers: found.dola });
  return { rows, picked: found.picked };
}

/** The contrast with one set at several thresholds of plausibility. */
export async function sweepPlausibility(
  study: DecodingStudy,
  skip: readonly number[],
  o: { readonly beta: number; readonly alphas: readonly number[]; readonly onProgress?: OnProgress },
): Promise<{ readonly alpha: number; readonly row: DecodingRow }[]> {
  const contrast = o.alphas.map((plausibility) => ({ ...strengthOf(o.beta), plausibility }));
  const skips = o.alphas.map(() => skip); // one way through the blocks, judged several times
  const report = o.onProgress ? { onProgress: o.onProgress } : {};
  const { contrasts } = await answerPruned(study.model, study.tokenizer, study.test, { skips, contrast, ...report });
  return o.alphas.map((alpha, i) => ({ alpha, row: { label: `PruneCD, α ${alpha}`, skip, answers: contrasts[i] } }));
}

/**
 * The same comparison on quantized models, beside what the float model has answered already.
 *
 * @param known compareDecoding's rows of the float model. @param rows finished experiments whose packed models still lie in out/runs. @param o.study as openDecodingStudy's.
 */
export async function compareQuantized(
  known: readonly DecodingRow[],
  rows: readonly Row[],
  sets: Readonly<Record<string, readonly number[]>>,
  o: {
    readonly study: Parameters<typeof openDecodingStudy>[1];
    readonly beta: number;
    readonly alpha: number;
    readonly onProgress?: OnProgress;
  },
): Promise<{ readonly label: string; readonly rows: readonly DecodingRow[] }[]> {
  const asked = ["the model", ...Object.keys(sets).flatMap((name) => [`${name} alone`, name])];
  const out = [{ label: "float", rows: known.filter((r) => asked.includes(r.label)) }];
  const folders = await packedFolders(rows.map((r) => r.recipe));
  for (const [i, row] of rows.entries()) {
    const study = await openDecodingStudy(folders[i], o.study);
    try {
      out.push({ label: row.label, rows: (await compareDecoding(study, sets, o)).rows });
    } finally {
      study.close();
    }
  }
  return out;
}

/** One written token, as each of three saw it. */
export interface TokenView {
  readonly written: string;
  /** What the model alone would have written here, with its probability. */
  readonly expert: readonly [string, number];
  readonly amateur: readonly [string, number];
  /** How many tokens were plausible. */
  readonly plausible: number;
}

/**
 * A text by contrast, token by token: what the model would say, what its amateur would, and what is written.
 *
 * @param skip blocks that the amateur leaves out. @param tokens to write.
 */
export async function watchContrast(
  study: Pick<DecodingStudy, "model" | "tokenizer">,
  skip: readonly number[],
  prompt: string,
  o: { readonly beta: number; readonly alpha: number; readonly tokens: number },
): Promise<TokenView[]> {
  const { model, tokenizer } = study, ids = tokenizer.encode(prompt), capacity = ids.length + o.tokens;
  const contrast = { ...strengthOf(o.beta), plausibility: o.alpha }, views: TokenView[] = [];
  const expert = await model.openDecoder({ capacity });
  const amateur = await withoutBlocks(model, skip).openDecoder({ capacity });
  try {
    for (let next = ids; views.length < o.tokens;) {
      const p = await expert.append(next), q = await amateur.append(next), id = contrastToken(p, q, contrast);
      views.push({
        written: tokenizer.decode([id]),
        expert: likeliestToken(tokenizer, p),
        amateur: likeliestToken(tokenizer, q),
        plausible: plausibleTokens(p, o.alpha).reduce((n, kept) => n + kept, 0),
      });
      if (id === tokenizer.eosId) break;
      next = [id];
    }
  } finally {
    expert.close();
    amateur.close();
  }
  return views;
}

function likeliestToken(tokenizer: TextTokenizer, logits: Float32Array): [string, number] {
  const id = likeliest(logits);
  return [tokenizer.decode([id]), Math.exp(logSoftmax(logits)[id])];
}

/** Seconds a token of greedy decoding and of contrast with each set, in turns so that a busy machine is busy for all. */
export async function decodingTimes(
  study: Pick<DecodingStudy, "model" | "tokenizer">,
  sets: Readonly<Record<string, readonly number[]>>,
  o: { readonly prompt: string; readonly tokens: number; readonly rounds: number },
): Promise<Record<string, number[]>> {
  const { model, tokenizer } = study, prompt = tokenizer.encode(o.prompt), capacity = prompt.length + o.tokens;
  const times: Record<string, number[]> = {};
  const timed = async (name: string, write: () => Promise<unknown>) => {
    const begun = performance.now();
    await write();
    (times[name] ??= []).push((performance.now() - begun) / 1000 / o.tokens);
  };
  for (let round = 0; round <= o.rounds; round++) {
    for (const [name, skip] of [["the model", null] as const, ...Object.entries(sets)]) {
      const expert = await model.openDecoder({ capacity });
      const amateur = skip && await withoutBlocks(model, skip).openDecoder({ capacity });
      await timed(name, async () => {
        if (amateur) return await contrastText(expert, amateur, prompt, { tokens: o.tokens });
        for (let next: readonly number[] = prompt, i = 0; i < o.tokens; i++) {
          next = [likeliest(await expert.append(next))];
        }
      });
      expert.close();
      amateur?.close();
    }
  }
  for (const name of Object.keys(times)) times[name].shift(); // the first round compiles
  return times;
}
