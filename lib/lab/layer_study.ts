// The layers of a float model one after another, each with its weights and the second moment of what flows into it:
// what notebooks look at before (and without) quantizing a whole model.
import { LabError } from "../io/errors.ts";
import type { ModelFiles } from "../io/open_model.ts";
import type { OnProgress } from "../io/progress.ts";
import type { Matrix } from "../io/tensor.ts";
import type { TextTokenizer } from "../io/text_tokenizer.ts";
import { openWindows, type TextWindows } from "../io/windows.ts";
import type { LinearInfo } from "../model/config.ts";
import { type LossGradients, openGradients } from "../model/gradient.ts";
import { type LanguageModel, openLanguageModel } from "../model/language_model.ts";
import { injectOutliers } from "../model/outliers.ts";
import type { TokenWindows } from "../model/perplexity.ts";
import type { LayerProblem } from "../quant/layer.ts";
import { resolveModel } from "./open.ts";
import { sampleInputs } from "./quantize.ts";

/** One linear layer of a float model; every method of the lab takes it as it is. */
export interface StudyLayer extends LayerProblem {
  /** For titles: the name, and what was done to the model where anything was. */
  readonly label: string;
  readonly block: number;
  readonly linear: LinearInfo;
  /** H (in, in) = 2/n · Σ XᵀX over n windows of the float model. */
  readonly hessian: Matrix;
  /** Tokens of a window: the mean square of input channel j is H_jj / (2 · windowLength). */
  readonly windowLength: number;
}

/** How much of which text. */
export interface StudyText {
  /** TEXT as on the command line. */
  readonly text: string;
  /** Windows; 0 means all there are. */
  readonly samples: number;
  /** Tokens of a window. */
  readonly seqLen: number;
}

/** What a study is opened with: the calibration text, and the seed of its windows. */
export interface StudyOptions extends StudyText {
  readonly seed: number;
  /** Factor of {@link injectOutliers}, 1 (the default) for the model as it is; every label then says so. */
  readonly injected?: number;
  /** Whether layers come with a sample of their inputs, for methods that need them. */
  readonly inputs?: boolean;
  /** Windows on which |∂L/∂W| is taken, for methods that need it; 0 (the default): none. */
  readonly gradient?: number;
  /** A local copy of a text that otherwise comes from the hub. */
  readonly localCopy?: string;
  readonly onProgress?: OnProgress;
}

/** A model with its calibration windows. Call `close` when done. */
export interface LayerStudy {
  readonly files: ModelFiles;
  /** For titles: the model, and what was done to it where anything was. */
  readonly label: string;
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer | null;
  /** The calibration windows. */
  readonly windows: TextWindows;
  /** Layers whose name ("5.self_attn.k_proj") matches, in the model's order; see {@link studyLayers}. */
  layers(pattern?: string, onProgress?: OnProgress): AsyncGenerator<StudyLayer>;
  /** The same, all held in memory: for a handful of layers. */
  collect(pattern?: string, onProgress?: OnProgress): Promise<StudyLayer[]>;
  /** Windows of a text that measures: its held-out part or test split. */
  evaluation(text: StudyText): Promise<TextWindows>;
  close(): void;
}

/**
 * Opens a model and its calibration text.
 *
 * @param spec a SPEC of a model. @param o the text and how much of it.
 * @throws LabError as resolveModel, openLanguageModel and openWindows do.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openStudy } from "./layer_study.ts";
 * const study = await openStudy("fixture", { text: "moby-dick", samples: 1, seqLen: 64, seed: 0 });
 * const [layer] = await study.collect("^0.self_attn.q_proj$");
 * assert.equal(layer.hessian.rows, layer.weight.cols);
 * study.close();
 * ```
 */
export async function openStudy(spec: string, o: StudyOptions): Promise<LayerStudy> {
  const plain = await resolveModel(spec, o.onProgress ? { onProgress: o.onProgress } : {}), factor = o.injected ?? 1;
  const files = factor === 1 ? plain : injectOutliers(plain, { factor });
  const tag = factor === 1 ? "" : `, outliers injected × ${factor}`;
  try {
    const model = await openLanguageModel(files), tokenizer = await files.tokenizer();
    const open = (t: StudyText, purpose: "calibration" | "evaluation") =>
      openWindows(t.text, {
        tokenizer,
        samples: t.samples,
        seqLen: t.seqLen,
        seed: o.seed,
        purpose,
        ...(o.localCopy ? { localCopy: o.localCopy } : {}),
      });
    const windows = await open(o, "calibration");
    const first = Math.min(o.gradient ?? 0, windows.windows), { length } = windows;
    const gradients = first > 0
      ? await openGradients(files, { ids: windows.ids.subarray(0, first * length), windows: first, length })
      : null;
    const common = { tag, seed: o.seed, inputs: o.inputs ?? false, gradients };
    const layers = (pattern?: string, onProgress?: OnProgress) =>
      studyLayers(model, windows, { pattern: pattern ?? "", ...common, ...(onProgress ? { onProgress } : {}) });
    return {
      files,
      label: `${files.label}${tag}`,
      model,
      tokenizer,
      windows,
      layers,
      collect: (pattern, onProgress) => Array.fromAsync(layers(pattern, onProgress)),
      evaluation: (t) => open(t, "evaluation"),
      close: () => {
        gradients?.close();
        model.close();
        files.source.close();
      },
    };
  } catch (e) {
    files.source.close();
    throw e;
  }
}

/**
 * Goes through a float model once and hands out its layers: embeddings in, per block the second moments of the inputs that
 * are wanted, then on to the next block. It stops after the last block with a match.
 *
 * @param model the float model. @param windows (windows·length) token ids.
 * @param o.pattern a regular expression over "5.self_attn.k_proj"; all layers without it.
 * @param o.inputs, o.gradients give each layer what some methods need besides.
 * @param o.tag is added to each label. @param o.seed goes into each layer, for the methods that draw at random.
 * @throws LabError "input" for a pattern that is no regular expression or matches nothing.
 */
export async function* studyLayers(
  model: LanguageModel,
  windows: TokenWindows,
  o: {
    readonly pattern?: string;
    readonly tag?: string;
    readonly seed?: number;
    readonly inputs?: boolean;
    readonly gradients?: LossGradients | null;
    readonly onProgress?: OnProgress;
  } = {},
): AsyncGenerator<StudyLayer> {
  const wanted = matchingLinears(model, o.pattern), last = Math.max(...wanted.keys());
  let hidden = await model.embed(windows.ids, windows.windows, windows.length);
  for (let index = 0; index <= last; index++) {
    o.onProgress?.({ what: "reading layers", done: index, total: last + 1, unit: "blocks" });
    const block = await model.openBlock(index), linears = wanted.get(index) ?? [];
    try {
      const inputs = [...new Set(linears.map((l) => l.input))], seen = new Map<string, Matrix>();
      const grams = linears.length > 0 ? await block.gram(hidden, inputs) : new Map<string, Matrix>();
      if (o.inputs) { for (const input of inputs) seen.set(input, sampleInputs(await block.capture(hidden, input))); }
      const gradient = linears.length > 0 ? await o.gradients?.block(index) : null;
      for (const linear of linears) {
        yield {
          name: `${index}.${linear.name}`,
          label: `${index}.${linear.name}${o.tag ?? ""}`,
          block: index,
          linear,
          weight: block.weight(linear.name),
          hessian: grams.get(linear.input)!,
          inputs: seen.get(linear.input) ?? null,
          gradient: gradient?.get(linear.name) ?? null,
          windowLength: windows.length,
          seed: o.seed ?? 0,
        };
      }
      if (index < last) hidden = await block.forward(hidden);
    } finally {
      block.close();
    }
  }
  o.onProgress?.({ what: "reading layers", done: last + 1, total: last + 1, unit: "blocks" });
}

/** The linears that match, by block. */
function matchingLinears(model: LanguageModel, pattern = ""): Map<number, LinearInfo[]> {
  let expression: RegExp;
  try {
    expression = new RegExp(pattern);
  } catch (cause) {
    const hint = "It is a regular expression, such as ^0. or q_proj$.";
    throw new LabError("input", "layers", `"${pattern}": ${(cause as Error).message}`, hint, { cause });
  }
  const found = new Map<number, LinearInfo[]>();
  for (let b = 0; b < model.blocks; b++) {
    const linears = model.linears(b).filter((l) => expression.test(`${b}.${l.name}`));
    if (linears.length > 0) found.set(b, linears);
  }
  if (found.size > 0) return found;
  const names = model.linears(0).map((l) => `0.${l.name}`).join(", ");
  throw new LabError("input", "layers", `"${pattern}" matches no layer`, `Block 0 of ${model.blocks} has ${names}.`);
}
