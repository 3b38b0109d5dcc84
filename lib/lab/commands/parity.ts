// deno task parity: a model's logits and likelihoods against another implementation's.
import { join } from "node:path";
import { LabError } from "../../io/errors.ts";
import { checkParity, type Parity } from "../../model/parity.ts";
import { runCommand } from "../command.ts";
import { resolveModel } from "../open.ts";
import { labPaths, shortPath } from "../paths.ts";

const INFO = {
  name: "deno task parity",
  summary: "Compares models with the logits and likelihoods that another implementation computed: a line a case.",
  positionals: "[DIR … | --model SPEC FILE …]",
  options: {
    model: { value: "SPEC", help: "the model that FILE is about (input_ids, and nll or logits); see owq eval --help" },
  },
  more:
    "DIR: a model's folder with expected.safetensors, or a folder of such folders; fixtures/golden/models by default." +
    "\nExit code 1 where a likelihood (without any: a logit) differs by more than 1e-3.",
};

const tolerance = 1e-3;
const isFile = (path: string) => Deno.stat(path).then((s) => s.isFile, () => false);

/** The models' folders meant by a name: itself, or those in it. */
async function modelFolders(name: string): Promise<string[]> {
  if (await isFile(join(name, "expected.safetensors"))) return [name];
  const found: string[] = [];
  try {
    for await (const entry of Deno.readDir(name)) {
      if (await isFile(join(name, entry.name, "expected.safetensors"))) found.push(join(name, entry.name));
    }
  } catch (cause) {
    throw new LabError("storage", name, "is not a folder one can read", "", { cause });
  }
  if (found.length === 0) throw new LabError("input", name, "has no expected.safetensors, nor has a folder in it");
  return found.sort();
}

await runCommand(INFO, async (input) => {
  const spec = input.text("model"), cases: [string, () => Promise<Parity>][] = [];
  if (spec !== undefined) {
    if (input.positionals.length === 0) throw new LabError("input", "--model", "needs a FILE to compare with");
    for (const file of input.positionals) {
      cases.push([`${spec} ${shortPath(file)}`, async () => await checkParity(await resolveModel(spec), file)]);
    }
  } else {
    const named = input.positionals.length > 0 ? input.positionals : [join(labPaths().root, "fixtures/golden/models")];
    for (const name of named) {
      for (const folder of await modelFolders(name)) cases.push([shortPath(folder), () => checkParity(folder)]);
    }
  }
  let failed = 0;
  for (const [name, run] of cases) {
    try {
      const r = await run(), worst = Number.isNaN(r.nll) ? r.logits : r.nll, passed = worst <= tolerance;
      if (!passed) failed++;
      const logits = Number.isNaN(r.logits) ? "" : `, logits by ${r.logits.toExponential(1)}`;
      const nll = Number.isNaN(r.nll) ? "no nll" : `nll differs by ${r.nll.toExponential(1)}`;
      const text = `${r.windows} × ${r.length} tokens, mean nll ${r.meanNll.toFixed(4)}`;
      console.log(`${passed ? "pass" : "FAIL"}  ${name} (${r.family}): ${nll}${logits}; ${text}`);
    } catch (e) {
      if (!(e instanceof LabError)) throw e;
      failed++;
      console.log(`FAIL  ${name}: ${e.message}`);
    }
  }
  console.log(`${cases.length - failed} passed, ${failed} failed (tolerance ${tolerance} on nll)`);
  return failed > 0 ? 1 : 0;
});
