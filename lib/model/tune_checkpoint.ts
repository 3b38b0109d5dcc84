// A stopped tuning on disk: one safetensors file with the trained values, AdamW's moments, the step and the curve so far.
import { LabError } from "../io/errors.ts";
import { openSafetensors } from "../io/safetensors.ts";
import { writeSafetensors } from "../io/safetensors_write.ts";
import type { TunePoint, TuneRecipe, TuneState } from "./tune.ts";
import type { TuneLeaf } from "./tune_leaves.ts";

/** What a run is made of besides its state. */
export interface TuneOrigin {
  readonly recipe: TuneRecipe;
  /** "wct", "lora rank 8 alpha 16", …: what is trained. */
  readonly trains: string;
  /** The base for people, and its fingerprint. */
  readonly base: string;
  readonly baseSha256: string;
  /** SHA-256 of the training windows and their mask. */
  readonly text: string;
}

const PARTS = ["values", "mean", "square"] as const;

/**
 * Writes a checkpoint, whole or not at all.
 *
 * @throws LabError("storage") when it cannot be written.
 */
export async function saveTuning(
  path: string,
  leaves: readonly TuneLeaf[],
  state: TuneState,
  origin: TuneOrigin,
  curve: readonly TunePoint[],
): Promise<void> {
  const tensors = PARTS.flatMap((part) =>
    leaves.map(({ name, shape }, i) => ({ name: `${part}.${name}`, dtype: "F32", shape, data: state[part][i] }))
  );
  await writeSafetensors(path, tensors, { tuning: JSON.stringify({ ...origin, step: state.step, curve }) });
}

/**
 * Reads a checkpoint into `state`, so that the run goes on bit by bit as if it had never stopped. Under a constant schedule
 * the number of steps may differ from the one it was made with.
 *
 * @returns the curve up to here; null where there is no such file.
 * @throws LabError("resume") when the checkpoint is of another base (named with both), text, way or recipe.
 */
export async function loadTuning(
  path: string,
  leaves: readonly TuneLeaf[],
  state: TuneState,
  origin: TuneOrigin,
): Promise<TunePoint[] | null> {
  if (!await Deno.stat(path).catch(() => null)) return null;
  const file = openSafetensors(path);
  try {
    const was = JSON.parse(file.metadata.get("tuning") ?? "null") as
      | TuneOrigin & { step: number; curve: TunePoint[] }
      | null;
    if (was === null) throw new LabError("format", path, "is no checkpoint of a tuning");
    const problem = difference(was, origin);
    if (problem) throw new LabError("resume", path, problem, "Choose another --out, or what it was begun with.");
    for (const part of PARTS) {
      for (const [i, { name }] of leaves.entries()) state[part][i].set((await file.read(`${part}.${name}`)).data);
    }
    state.step = was.step;
    return was.curve;
  } finally {
    file.close();
  }
}

function difference(was: TuneOrigin, is: TuneOrigin): string | null {
  if (was.baseSha256 !== is.baseSha256) return differentBases(was, is);
  if (was.trains !== is.trains) return `trains ${was.trains}, not ${is.trains}`;
  if (was.text !== is.text) return "was begun on another text";
  const constant = was.recipe.schedule === "constant";
  for (const key of Object.keys({ ...was.recipe, ...is.recipe }) as (keyof TuneRecipe)[]) {
    if (key === "steps" && constant) continue;
    if (was.recipe[key] !== is.recipe[key]) return `was begun with ${key} ${was.recipe[key]}, not ${is.recipe[key]}`;
  }
  return null;
}

/** The sentence about two bases that are not one. */
export function differentBases(
  was: Pick<TuneOrigin, "base" | "baseSha256">,
  is: Pick<TuneOrigin, "base" | "baseSha256">,
): string {
  const name = (o: typeof was) => `"${o.base}" (${o.baseSha256.slice(0, 12)})`;
  return `was made on the base ${name(was)}, this one is ${name(is)}`;
}
