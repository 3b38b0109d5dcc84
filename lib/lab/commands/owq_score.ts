import { LabError } from "../../io/errors.ts";
import { atomicWriteText } from "../../io/atomic.ts";
import { type LanguageModel, openLanguageModel } from "../../model/language_model.ts";
import type { AnswerOptions } from "../../model/multiple_choice.ts";
import type { MeanWithError } from "../../model/scorer.ts";
import { withoutBlocks } from "../../model/skip_blocks.ts";
import { type CommandInput, runCommand } from "../command.ts";
import { resolveModel } from "../open.ts";
import { progress } from "../progress.ts";
import { OWN_TASKS } from "../tasks/own_tasks.ts";
import { openTask, sampleRow, scoreTask, taskLines } from "../tasks/score.ts";
import { MODEL_OPTION, number } from "./owq_options.ts";

const INFO = {
  name: "deno task owq score",
  summary: "Multiple-choice and cloze accuracy of a model, plain or packed, with lm-evaluation-harness's arithmetic.",
  options: {
    model: MODEL_OPTION,
    task: { value: "TASK", help: "one of the kit's own (below; swapped-words by default) or a .jsonl file" },
    items: { value: "N", help: "questions: the first N of a file, all by default; 300 of the kit's own" },
    seed: { value: "S", help: "seed of the kit's own tasks; 0 by default" },
    "amateur-skip": {
      value: "I,J",
      help: "score by contrast with the same model without these blocks, as PruneCD's amateur; numbers from 0",
    },
    plausibility: { value: "A", help: "with it: tokens of at least A times the largest probability; 0.1 by default" },
    strength: {
      value: "B",
      help: "with it: (1 + B) ln p − B ln p of the amateur; without: ln p − ln p of the amateur, as DoLa",
    },
    samples: { value: "FILE", help: "write each question with its log-likelihoods, as the harness logs samples" },
    write: { value: "FILE", help: "write the task's rows as JSON lines, score nothing" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
  more: [
    "The kit's own tasks, from the held-out text:",
    ...Object.entries(OWN_TASKS).map(([name, what]) => `  ${name.padEnd(14)} ${what}`),
    "A file holds a question a line: samples that lm_eval logged (--log_samples: any task, its own prompts), rows of HellaSwag,",
    "PIQA, Winogrande, BoolQ, ARC, OpenBookQA or LAMBADA, {query, choices, gold}, or {context, continuation}.",
  ].join("\n"),
};

const share = (name: string, m: MeanWithError) =>
  `${name.padEnd(9)} ${(100 * m.mean).toFixed(1)} %   95 % confidence ${(100 * m.low).toFixed(1)} to ${
    (100 * m.high).toFixed(1)
  } %   standard error ${(100 * m.standardError).toFixed(2)} %`;

/** The amateur that the options name, if any. */
function contrastOptions(model: LanguageModel, input: CommandInput): Pick<AnswerOptions, "amateur" | "contrast"> {
  const list = input.text("amateur-skip"),
    plausibility = number(input, "plausibility"),
    strength = number(input, "strength");
  if (list === undefined) {
    if (plausibility === undefined && strength === undefined) return {};
    throw new LabError("input", "--plausibility and --strength", "need an amateur", "Such as --amateur-skip 1,2.");
  }
  const blocks = list.split(",").filter((b) => b.trim() !== "").map(Number);
  const contrast = {
    ...(plausibility === undefined ? {} : { plausibility }),
    ...(strength === undefined ? {} : { expert: 1 + strength, amateur: strength }),
  };
  return { amateur: withoutBlocks(model, blocks), contrast };
}

/** `owq score`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const begun = performance.now(), items = number(input, "items"), seed = number(input, "seed") ?? 0;
    const task = await openTask(input.text("task") ?? "swapped-words", {
      seed,
      ...(items === undefined ? {} : { items }),
    });
    const rowsFile = input.text("write"), samplesFile = input.text("samples");
    if (rowsFile !== undefined) {
      await atomicWriteText(rowsFile, taskLines(task.rows));
      console.log(`${rowsFile}: ${task.rows.length} rows of ${task.name}`);
      return;
    }
    const files = await resolveModel(input.text("model") ?? "fixture"), tokenizer = await files.tokenizer();
    if (!tokenizer) {
      throw new LabError("input", files.label, "has no tokenizer", "Put its tokenizer.json into the folder.");
    }
    const model = await openLanguageModel(files), bar = progress("scoring", { total: 0, unit: "blocks" });
    const contrasted = contrastOptions(model, input), o = { ...contrasted, onProgress: bar.onProgress };
    const { answers, score } = await scoreTask(model, tokenizer, task, o);
    await bar.finish(`${task.questions.length} questions`);
    if (samplesFile !== undefined) {
      await atomicWriteText(samplesFile, taskLines(answers.map((a, i) => sampleRow(task, i, a))));
    }
    const seconds = (performance.now() - begun) / 1000;
    if (input.on("json")) {
      const provenance = {
        modelSha256: await files.source.sha256(),
        taskSha256: task.sha256,
        deno: Deno.version.deno,
      };
      const { amateur, contrast } = contrasted, by = amateur ? { amateur: amateur.label, contrast } : {};
      console.log(
        JSON.stringify({ model: files.label, note: files.note, task: task.name, ...by, ...score, seconds, provenance }),
      );
    } else {
      const { acc, accNorm, accBytes, chance } = score;
      console.log(
        `${files.label}${files.note ? ` (${files.note})` : ""} on ${task.name}, ${score.questions} questions`,
      );
      if (contrasted.amateur) console.log(`scored by contrast with ${contrasted.amateur.label}`);
      console.log(share("acc", acc));
      if (accNorm) console.log(share("acc_norm", accNorm));
      if (accBytes) console.log(share("acc_bytes", accBytes));
      console.log(
        chance === null
          ? `perplexity ${score.perplexity?.toFixed(3)} of the right continuations`
          : `by chance ${(100 * chance).toFixed(1)} %`,
      );
      if (score.truncated) console.log(`${score.truncated} contexts lost their beginning, so that they fit the model`);
      console.log(`${seconds.toFixed(1)} s`);
    }
    model.close();
    files.source.close();
  }, args);
}
