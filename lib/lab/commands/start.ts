import { LabError } from "../../io/errors.ts";
import { runCommand } from "../command.ts";
import { findNotebooks, runAndCompare } from "../notebooks.ts";
import { labPaths, shortPath } from "../paths.ts";
import { recordTable } from "../record_table.ts";
import { ensureJupyter } from "../setup.ts";
import { tableText } from "../table.ts";

const info = {
  name: "deno task start",
  summary: "The main job: OWQ on a language model, run by a real notebook, with a table here and pictures in a page.",
  options: { model: { value: "SPEC", help: "fixture (the embedded model, default), smollm2, a folder, a .gguf file" } },
};

await runCommand(info, async (input) => {
  const model = input.text("model") ?? "fixture";
  const jupyter = await ensureJupyter({ onLine: console.log });
  const [path] = await findNotebooks(labPaths().notebooks, ["03"]);
  console.log(`running ${shortPath(path)} on ${model === "fixture" ? "the embedded model" : model}`);
  const { run, problems } = await runAndCompare(path, { jupyter, model, budget: model === "fixture" ? 300 : 14_400 });
  if (run.failure || !run.record) throw new LabError("input", shortPath(path), "did not run to its end", problems[0]);
  const result = recordTable(run.record);
  if (result) console.log(`\n${tableText(result)}\n`);
  console.log(`The page with the plots: ${run.page}`);
  console.log(`Go on:
  deno task lab                                  change a number in a notebook and run it again
  deno task notebooks --only 03 --model smollm2  the same on a real language model
  deno task owq --help                           quantize your own model`);
  return problems.length > 0 ? 1 : 0;
});
