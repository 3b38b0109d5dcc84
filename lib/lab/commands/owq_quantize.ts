import { join } from "node:path";
import { LabError } from "../../io/errors.ts";
import { openKernels } from "../../kernels/kernels.ts";
import { runCommand } from "../command.ts";
import { memoryOf, openExperiment, runExperiment } from "../experiment.ts";
import { type Report } from "../report.ts";
import { describePlan, describeReport } from "../report_text.ts";
import { labPaths } from "../paths.ts";
import { progress } from "../progress.ts";
import type { Recipe } from "../recipe.ts";
import { saveFolder } from "../save.ts";
import { estimateTime } from "../time_estimate.ts";
import { device, DEVICES, RECIPE_OPTIONS, recipeOf } from "./owq_options.ts";

const INFO = {
  name: "deno task owq quantize",
  summary: "One experiment: quantizes a model and measures perplexity before and after.",
  options: {
    ...RECIPE_OPTIONS,
    device: { value: DEVICES.join("|"), help: "where the kernels run; auto by default" },
    out: { value: "DIR", help: "folder of the run: report.json and the packed model; out/runs/… by default" },
    resume: { help: "go on with the run in DIR" },
    save: { value: "hf", help: "also write DIR/hf, an ordinary Hugging Face folder (dequantized, float32)" },
    "dry-run": { help: "say what would be done: columns, stored bits, memory, time" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
  more: "Ctrl-C loses nothing: run the same command with --resume. DIR is then a model: `owq eval --model DIR`.",
};

/** `owq quantize`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const json = input.on("json"), say = (line: string) => json ? undefined : console.log(line);
    const recipe = await recipeOf(input);
    const save = input.text("save");
    if (save !== undefined && save !== "hf") throw new LabError("input", "--save", `"${save}"`, "It takes hf.");
    if (input.on("dry-run")) return await dryRun(recipe, device(input.text("device")), json);
    const out = input.text("out") ?? join(labPaths().out, "runs", runName(recipe));
    const bar = progress("quantizing", { total: 0, unit: "blocks" });
    const stop = new AbortController();
    let working = false; // before the first report there is no line to end
    Deno.addSignalListener("SIGINT", () => {
      if (stop.signal.aborted) Deno.exit(130);
      stop.abort();
      console.error("\nstopping after this layer (Ctrl-C again: at once); finished blocks are kept");
    });
    try {
      const report = await runExperiment(recipe, {
        out,
        device: device(input.text("device")),
        resume: input.on("resume"),
        onProgress: (p) => {
          working = true;
          bar.onProgress(p);
        },
        onLine: say,
        signal: stop.signal,
        ...localCopy(input.text("local-copy")),
      });
      await bar.finish("done");
      if (save === "hf") await saveFolder(out, join(out, "hf"));
      printReport(report, out, json);
    } catch (e) {
      if (working) await bar.finish("stopped");
      if (!stop.signal.aborted) throw e;
      console.error(`Stopped. Go on with the same command and --resume --out ${out}`);
      return 130;
    }
  }, args);
}

function localCopy(path: string | undefined) {
  return path === undefined ? {} : { localCopy: path };
}

function printReport(report: Report, out: string, json: boolean): void {
  if (json) console.log(JSON.stringify(report));
  else console.log(`${describeReport(report)}\n\nreport and packed model: ${out}`);
}

async function dryRun(recipe: Recipe, where: "auto" | "gpu" | "cpu", json: boolean): Promise<void> {
  const x = await openExperiment(recipe), kernels = await openKernels(where);
  try {
    const memory = memoryOf(x), time = await estimateTime(x, kernels);
    if (json) {
      const { blocks, ...plan } = x.plan;
      const layers = blocks.flat().map(({ linear, ...p }) => ({ ...p, out: linear.out, in: linear.in }));
      console.log(JSON.stringify({ recipe, ...plan, layers, memory, seconds: time }));
    } else console.log(describePlan(x, memory, time));
  } finally {
    kernels.close();
    x.close();
  }
}

/** A folder name that says what the run is. */
function runName(r: Recipe): string {
  const model = r.model.replace(/^.*[/\\](?=[^/\\])/, "").replace(/[^\w.-]+/g, "-");
  const set = (r.rank === null ? "" : `-rank${r.rank}`) + (r.injected === 1 ? "" : `-injected${r.injected}`) +
    (r.linearBits ? "-by-linear" : "");
  return `${model}-${r.method}-${r.bits}${set}-seed${r.seed}`;
}
