import { join } from "node:path";
import { LabError } from "../../io/errors.ts";
import type { ModelFiles } from "../../io/open_model.ts";
import { TUNE_METHODS } from "../../model/tune_leaves.ts";
import { type TuneRecipe, tuneRecipe } from "../../model/tune.ts";
import { type CommandInput, runCommand } from "../command.ts";
import { formatSeconds } from "../format.ts";
import { resolveModel } from "../open.ts";
import { labPaths } from "../paths.ts";
import { progress } from "../progress.ts";
import {
  costOf,
  describeWay,
  LEARNING_RATES,
  LORA_ALPHA,
  trainableOf,
  tuneModel,
  type TuneReport,
  type TuneWay,
} from "../tune_run.ts";
import { secondsOfStep } from "../tune_time.ts";
import { mergeTuned, openTuned } from "../tuned.ts";
import { openTuneTexts, type TuneTexts } from "../tune_text.ts";
import { number } from "./owq_options.ts";

const INFO = {
  name: "deno task owq tune",
  summary: "Fine-tunes a quantized model: its weak columns alone (wct), a LoRA on it, or everything.",
  options: {
    model: { value: "PACKED", help: "a folder that `owq quantize` wrote; for lora and full any model" },
    method: { value: TUNE_METHODS.join("|"), help: "what is trained; wct by default; none only measures" },
    rank: {
      value: "K",
      help: "lora: its rank, 8 by default; wct: refuse a base with other than K weak columns a linear",
    },
    alpha: { value: "A", help: `lora: scale α, of α/rank; ${LORA_ALPHA} by default` },
    data: {
      value: "TEXT",
      help:
        "a text file, a .jsonl file of prompts and answers, a .safetensors with input_ids, moby-dick, sotu, wikitext2, ptb, license",
    },
    text: { value: "TEXT", help: "the same as --data" },
    "held-out": { value: "TEXT", help: "to measure on, as --data; by default the last tenth of it (a book's own end)" },
    "seq-len": { value: "L", help: "tokens a window; 128 by default" },
    "local-copy": { value: "FILE", help: "a local copy of a text that otherwise comes from the hub" },
    steps: { value: "N", help: "steps of AdamW; 100 by default" },
    batch: { value: "N", help: "windows that go through together; 4 by default" },
    accumulate: { value: "N", help: "batches a step; 1 by default" },
    lr: {
      value: "RATE",
      help: `learning rate; by default ${
        Object.entries(LEARNING_RATES).slice(0, 3).map(([m, r]) => `${m} ${r}`).join(", ")
      }`,
    },
    schedule: { value: "constant|cosine", help: "after the warm-up; constant by default" },
    warmup: { value: "N", help: "steps in which the rate rises; 5 by default" },
    "weight-decay": { value: "W", help: "0 by default" },
    clip: { value: "NORM", help: "largest norm of a gradient; 0.3 by default" },
    seed: { value: "S", help: "seed of the order of windows and of a LoRA's start; 0 by default" },
    "measure-every": { value: "N", help: "measure the held-out text after every N steps, not only before and after" },
    out: { value: "DIR", help: "folder of the run; out/tuned/… by default" },
    resume: { help: "go on with the run in DIR" },
    merge: { value: "DIR2", help: "wct: also write the packed model with the tuned columns in their place" },
    "dry-run": { help: "count trained values, optimizer bytes, memory and time; nothing is trained" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
  more: [
    "DIR/tuned.safetensors holds the tuned values alone and is bound to its base; one base serves many such files.",
    "Columns are those of the base: `owq quantize --bits 3 --rank 8` chooses eight of each linear by sensitivity, and",
    "`--calib TEXT` lets the text of the task choose them. `owq eval --model PACKED --tuned FILE` measures one. Ctrl-C loses nothing: run the same command with --resume.",
  ].join("\n"),
};

/** `owq tune`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const json = input.on("json"), way = wayOf(input), recipe = recipeOf(input, way), spec = input.text("model");
    if (spec === undefined) {
      throw new LabError("input", "--model", "is missing", "A folder that `owq quantize --rank 8 --out DIR` wrote.");
    }
    const data = input.text("data") ?? input.text("text");
    if (data === undefined) throw new LabError("input", "--data", "is missing", "A text file, or moby-dick or sotu.");
    const files = await resolveModel(spec), length = number(input, "seq-len") ?? 128;
    try {
      // What needs no text is checked first: tokenizing a book takes seconds.
      const trainable = await trainableOf(files, way, way.method === "wct" ? number(input, "rank") : undefined);
      const cost = costOf(files, trainable, recipe, length),
        heldOut = input.text("held-out"),
        copy = input.text("local-copy");
      const texts = await openTuneTexts(files, {
        data,
        length,
        seed: recipe.seed,
        ...(heldOut === undefined ? {} : { heldOut }),
        ...(copy === undefined ? {} : { localCopy: copy }),
      });
      if (input.on("dry-run")) {
        const seconds = await secondsOfStep(files, trainable, recipe, length);
        const plan = {
          model: files.label,
          method: way.method,
          recipe,
          cost,
          seconds: { step: seconds, total: seconds * recipe.steps },
        };
        return console.log(json ? JSON.stringify(plan) : describePlan(plan, texts));
      }
      return await run(input, files, way, recipe, texts, spec);
    } finally {
      files.source.close();
    }
  }, args);
}

async function run(
  input: CommandInput,
  files: ModelFiles,
  way: TuneWay,
  recipe: TuneRecipe,
  texts: TuneTexts,
  spec: string,
): Promise<number | void> {
  const json = input.on("json"),
    out = input.text("out") ?? join(labPaths().out, "tuned", runName(spec, way, texts, recipe));
  const bar = progress("tuning", { total: recipe.steps, unit: "steps" }), stop = new AbortController();
  let working = false; // before the first report there is no line to end
  Deno.addSignalListener("SIGINT", () => {
    if (stop.signal.aborted) Deno.exit(130);
    stop.abort();
    console.error("\nstopping after this step (Ctrl-C again: at once); a checkpoint is kept");
  });
  let report: TuneReport, latest = "";
  try {
    report = await tuneModel({
      files,
      way,
      recipe,
      train: texts.train,
      heldOut: texts.heldOut,
      task: texts.label,
      out,
      resume: input.on("resume"),
      measureEvery: number(input, "measure-every") ?? 0,
      signal: stop.signal,
      onPoint: (p) => {
        latest = p.loss === null
          ? ""
          : `loss ${p.loss.toFixed(3)}${p.heldOut === null ? "" : `, held out ${p.heldOut.toFixed(3)}`}`;
      },
      onProgress: (p) => {
        working = true;
        bar.onProgress({ ...p, what: latest ? `tuning, ${latest}` : p.what });
      },
      onLine: (line) => json ? undefined : console.log(line),
    });
  } catch (e) {
    if (working) await bar.finish("stopped");
    if (!stop.signal.aborted) throw e;
    console.error(`Stopped. Go on with the same command and --resume --out ${out}`);
    return 130;
  }
  await bar.finish(`${report.steps} steps`);
  const merge = input.text("merge");
  if (merge !== undefined) {
    const tuned = await openTuned(join(out, "tuned.safetensors"), files);
    await mergeTuned(files, tuned, merge);
    tuned.close();
  }
  if (json) return console.log(JSON.stringify(report));
  console.log(describeReport(report));
  console.log(
    `\ntuned values, report, checkpoint: ${out}${merge === undefined ? "" : `\nmerged packed model: ${merge}`}`,
  );
}

function wayOf(input: CommandInput): TuneWay {
  const text = input.text("method") ?? "wct", method = TUNE_METHODS.find((m) => m === text);
  if (!method) throw new LabError("input", "--method", `"${text}"`, `It takes ${TUNE_METHODS.join(", ")}.`);
  if (method !== "lora") return { method };
  return { method, rank: number(input, "rank") ?? 8, alpha: number(input, "alpha") ?? LORA_ALPHA };
}

function recipeOf(input: CommandInput, way: TuneWay): TuneRecipe {
  const given = {
    steps: "steps",
    batch: "batch",
    accumulate: "accumulate",
    warmup: "warmup",
    weightDecay: "weight-decay",
    clip: "clip",
    seed: "seed",
  } as const;
  const numbers = Object.entries(given).flatMap(([key, option]) => {
    const value = number(input, option);
    return value === undefined ? [] : [[key, value]];
  });
  const schedule = input.text("schedule") as TuneRecipe["schedule"] | undefined;
  return tuneRecipe({
    learningRate: number(input, "lr") ?? LEARNING_RATES[way.method],
    ...Object.fromEntries(numbers),
    ...(schedule === undefined ? {} : { schedule }),
  });
}

const mb = (bytes: number) => bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;

interface TunePlan extends Pick<TuneReport, "model" | "method" | "recipe" | "cost"> {
  readonly seconds: { readonly step: number; readonly total: number };
}

function describePlan(p: TunePlan, { label, train, heldOut }: TuneTexts): string {
  const { cost, recipe, seconds } = p;
  return [
    `${p.model}, ${p.method} on ${label}: ${train.windows} windows of ${train.length} tokens, ${
      heldOut?.windows ?? 0
    } held out`,
    `trained values      ${cost.values} (${cost.percent.toFixed(2)} % of the model)`,
    `optimizer           ${mb(cost.optimizerBytes)}, with values and gradients ${mb(cost.trainedBytes)}`,
    `memory              about ${mb(cost.peakBytes)}: frozen base ${mb(cost.baseBytes)}, activations ${
      mb(cost.activationBytes)
    }; and 0.3 GB of the runtime`,
    `time                about ${formatSeconds(seconds.step)} a step, ${
      formatSeconds(seconds.total)
    } for ${recipe.steps} steps`,
  ].join("\n");
}

function describeReport(r: TuneReport): string {
  const { cost, heldOut: h } = r, first = r.curve.find((p) => p.loss !== null)?.loss, last = r.curve.at(-1)?.loss;
  const way = r.method === "lora" ? describeWay({ method: "lora", rank: r.rank ?? 0, alpha: r.alpha ?? 0 }) : r.method;
  return [
    `${r.model}, ${way}${r.method === "wct" ? `, ${r.rank} columns` : ""}, on ${r.task}: ${r.steps} steps`,
    ...(first === undefined ? [] : [`training loss       ${first!.toFixed(4)} → ${last?.toFixed(4)} nats a token`]),
    ...(h
      ? [
        `held-out perplexity ${Math.exp(h.base).toFixed(3)} → ${
          Math.exp(h.stored).toFixed(3)
        } (values as stored, in 16 bits)`,
      ]
      : []),
    `trained values      ${cost.values} (${cost.percent.toFixed(2)} %), optimizer ${mb(cost.optimizerBytes)}`,
    `memory              ${mb(r.residentBytes)} resident, ${
      mb(cost.peakBytes)
    } counted for base, training and activations`,
    `time                ${formatSeconds(r.seconds.step)} a step, ${formatSeconds(r.seconds.total)} in all`,
  ].join("\n");
}

/** A folder name that says what the run is. */
function runName(spec: string, way: TuneWay, texts: TuneTexts, recipe: TuneRecipe): string {
  const clean = (s: string) => s.replace(/^.*[/\\](?=[^/\\])/, "").replace(/[^\w.-]+/g, "-");
  return `${clean(spec)}-${clean(describeWay(way))}-${clean(texts.label)}-lr${recipe.learningRate}-seed${recipe.seed}`;
}
