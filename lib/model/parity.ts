// A model folder against the logits and likelihoods another implementation computed for it.
import { join } from "node:path";
import { LabError } from "../io/errors.ts";
import { openSafetensors } from "../io/safetensors.ts";
import { openShardedSafetensors } from "../io/safetensors_index.ts";
import type { TensorSource } from "../io/source.ts";
import type { Tensor } from "../io/tensor.ts";
import { type LanguageModel, type ModelInput, type ModelOptions, openLanguageModel } from "./language_model.ts";

/** How far a model is from what was expected. */
export interface Parity {
  readonly family: string;
  readonly windows: number;
  readonly length: number;
  /** The largest differences; NaN where the file holds none to compare with. */
  readonly logits: number;
  readonly nll: number;
  /** Mean of our nll, in nats a token. */
  readonly meanNll: number;
}

/** Reads config.json and the weights of a Hugging Face folder, sharded or not. */
async function openFolder(folder: string): Promise<ModelInput> {
  const text = await Deno.readTextFile(join(folder, "config.json")).catch((cause) => {
    throw new LabError("storage", folder, "has no readable config.json", "Name a model's folder.", { cause });
  });
  const sharded = await Deno.stat(join(folder, "model.safetensors.index.json")).then(() => true, () => false);
  const source = sharded ? openShardedSafetensors(folder) : openSafetensors(join(folder, "model.safetensors"));
  return { label: folder, config: JSON.parse(text), source };
}

/** The largest |a − b|; infinite where either is NaN. */
function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>, what: string): number {
  if (a.length !== b.length) throw new LabError("format", what, `holds ${b.length} values, expected ${a.length}`);
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i] - b[i]);
    if (!(d <= most)) most = Number.isNaN(d) ? Infinity : d;
  }
  return most;
}

/** Compares an opened model with a file of `input_ids` and `nll`, `logits` or both; `label` is for messages. */
export async function compareWithExpected(
  model: LanguageModel,
  expected: TensorSource,
  label: string,
): Promise<Parity> {
  const ids = await expected.read("input_ids");
  if (ids.shape.length !== 2) throw new LabError("format", label, `input_ids has shape [${ids.shape.join(", ")}]`);
  const [windows, length] = ids.shape, list = Int32Array.from(ids.data);
  let h = await model.embed(list, windows, length);
  for (let i = 0; i < model.blocks; i++) {
    const block = await model.openBlock(i);
    h = await block.forward(h);
    block.close();
  }
  const optional = async (name: string): Promise<Tensor | null> =>
    expected.tensors.has(name) ? await expected.read(name) : null;
  const nll = await model.scoreHidden(h, list),
    wantNll = await optional("nll"),
    wantLogits = await optional("logits");
  if (!wantNll && !wantLogits) throw new LabError("format", label, "holds neither nll nor logits");
  return {
    family: model.family,
    windows,
    length,
    logits: wantLogits ? largestDifference((await model.logits(h)).data, wantLogits.data, `${label} logits`) : NaN,
    nll: wantNll ? largestDifference(nll, wantNll.data, `${label} nll`) : NaN,
    meanNll: nll.reduce((sum, x) => sum + x, 0) / nll.length,
  };
}

/**
 * Compares a model with a file of `input_ids` (windows, length) and `nll` (windows, length − 1), `logits` (windows,
 * length, vocab), or both.
 *
 * @param where a folder with config.json and weights (and expected.safetensors), or an opened model.
 * @param file the expected values; `expected.safetensors` in the folder unless told.
 * @throws LabError where something is missing or of another shape.
 */
export async function checkParity(where: string | ModelInput, file?: string, o: ModelOptions = {}): Promise<Parity> {
  const files = typeof where === "string" ? await openFolder(where) : where;
  const path = file ?? join(String(where), "expected.safetensors"), expected = openSafetensors(path);
  const model = await openLanguageModel(files, o);
  try {
    return await compareWithExpected(model, expected, path);
  } finally {
    model.close();
    expected.close();
    files.source.close();
  }
}
