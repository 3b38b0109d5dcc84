import { LabError } from "../../io/errors.ts";
import { runCommand } from "../command.ts";
import { findNotebooks, runAndCompare } from "../notebooks.ts";
import { storedPage } from "../notebook_store.ts";
import { labPaths, shortPath } from "../paths.ts";
import { ensureJupyter } from "../setup.ts";

const info = {
  name: "deno task notebooks",
  summary:
    "Runs notebooks in a fresh kernel, writes executed copies and pages to out/, compares their numbers with the stored ones.",
  options: {
    only: { value: "START", help: "just notebooks whose name begins so, such as 03; may be repeated", multiple: true },
    model: { value: "SPEC", help: "fixture (default), smollm2, a folder, a .gguf file, hf:owner/name" },
    set: { value: "KEY=VALUE", help: "another value for a notebook's parameter; may be repeated", multiple: true },
    budget: { value: "SECONDS", help: "for each notebook; 300 on the embedded model, else 14400" },
    write: {
      help: "store the new numbers in notebooks/records, and tables and figures in the notebook, instead of comparing",
    },
    pages: { help: "run nothing: make pages in out/ from what is committed for the model" },
  },
};

await runCommand(info, async (input) => {
  const model = input.text("model") ?? Deno.env.get("OWQ_MODEL") ?? "fixture";
  const budget = Number(input.text("budget") ?? (model === "fixture" ? 300 : 14_400));
  if (!(budget > 0)) throw new LabError("input", `--budget ${input.text("budget")}`, "is not a number of seconds");
  const parameters = Object.fromEntries(
    input.all("set").map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new LabError("input", `--set ${text}`, "is not of the form key=value");
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
  const paths = await findNotebooks(labPaths().notebooks, input.all("only"));
  if (input.on("pages")) {
    for (const path of paths) console.log(shortPath(await storedPage(path, model)));
    return 0;
  }
  const jupyter = await ensureJupyter({ onLine: console.log });
  let failed = 0;
  for (const path of paths) {
    const outcome = await runAndCompare(path, { jupyter, model, parameters, budget, write: input.on("write") });
    if (outcome.problems.length > 0) failed++;
  }
  console.log(`${paths.length - failed} notebooks passed, ${failed} failed`);
  return failed > 0 || paths.length === 0 ? 1 : 0;
});
