// A stopped training run on disk: one safetensors file with the weights, AdamW's moments, the step and the curve so far.
import { LabError } from "../io/errors.ts";
import { openSafetensors } from "../io/safetensors.ts";
import { writeSafetensors } from "../io/safetensors_write.ts";
import type { TrainRecipe, TrainState } from "./train.ts";

/** One point of a learning curve. */
export interface CurvePoint {
  /** Steps done. */
  readonly step: number;
  /** Mean loss of the steps since the last point, nats a token. */
  readonly trainLoss: number;
  /** Loss on windows of the held-out text, nats a token; null where it was not measured. */
  readonly heldOutLoss: number | null;
  /** Seconds of work up to here, without pauses. */
  readonly seconds: number;
}

/** What a checkpoint says besides the state. */
export interface Checkpoint {
  readonly recipe: TrainRecipe;
  /** SHA-256 of the training tokens. */
  readonly text: string;
  readonly curve: readonly CurvePoint[];
  readonly seconds: number;
}

const PARTS = ["weights", "mean", "square"] as const;

/**
 * Writes a checkpoint, whole or not at all.
 *
 * @param shapes names and shapes of the tensors in the order of `state`, from parameterShapes.
 * @throws LabError("storage") when it cannot be written.
 */
export async function saveCheckpoint(
  path: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  state: TrainState,
  c: Checkpoint,
): Promise<void> {
  const tensors = PARTS.flatMap((part) =>
    [...shapes].map(([name, shape], i) => ({ name: `${part}.${name}`, dtype: "F32", shape, data: state[part][i] }))
  );
  await writeSafetensors(path, tensors, { checkpoint: JSON.stringify({ ...c, step: state.step }) });
}

/**
 * Reads a checkpoint into `state`, so that the run goes on bit by bit as if it had never stopped.
 *
 * The number of steps and the length of the decay may differ from those the checkpoint was made with as long as it lies
 * on the plateau of both: up to there they change nothing.
 *
 * @returns the curve and the seconds up to here; null where there is no such file.
 * @throws LabError("resume") when the checkpoint is of another recipe or text, with the field that differs.
 */
export async function loadCheckpoint(
  path: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  state: TrainState,
  recipe: TrainRecipe,
  text: string,
): Promise<{ curve: CurvePoint[]; seconds: number } | null> {
  if (!await Deno.stat(path).catch(() => null)) return null;
  const file = openSafetensors(path);
  try {
    const c = JSON.parse(file.metadata.get("checkpoint") ?? "null") as Checkpoint & { step: number } | null;
    if (c === null) throw new LabError("format", path, "is no checkpoint of a training run");
    const differs = differentField(c.recipe, recipe, c.step) ?? (c.text === text ? null : "text");
    if (differs !== null) {
      const key = differs as keyof TrainRecipe, was = JSON.stringify(c.recipe[key]), is = JSON.stringify(recipe[key]);
      const problem = differs === "text" ? "was trained on another text" : `was made with ${differs} ${was}, not ${is}`;
      throw new LabError("resume", path, problem, "Start anew with another --work folder.");
    }
    for (const part of PARTS) {
      for (const [i, name] of [...shapes.keys()].entries()) {
        state[part][i].set((await file.read(`${part}.${name}`)).data);
      }
    }
    state.step = c.step;
    return { curve: [...c.curve], seconds: c.seconds };
  } finally {
    file.close();
  }
}

/** The first field in which two recipes differ that matters up to `step`; null where none does. */
function differentField(a: TrainRecipe, b: TrainRecipe, step: number): keyof TrainRecipe | null {
  const turn = (r: TrainRecipe) => (r.outlierStage?.step ?? r.steps) - r.decay;
  const plateau = step <= Math.min(turn(a), turn(b));
  for (const key of Object.keys({ ...a, ...b }) as (keyof TrainRecipe)[]) {
    if (plateau && (key === "steps" || key === "decay" || key === "lengthInDecay" || key === "outlierStage")) continue;
    if (JSON.stringify(a[key]) !== JSON.stringify(b[key])) return key;
  }
  return null;
}
