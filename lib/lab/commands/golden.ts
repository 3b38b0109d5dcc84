// deno task golden: the reference's own numbers against ours, on every path this machine has.
import { join } from "node:path";
import { LabError } from "../../io/errors.ts";
import { type Kernels, openKernels } from "../../kernels/kernels.ts";
import { runCommand } from "../command.ts";
import { replayGolden } from "../golden.ts";
import { holds } from "../golden_check.ts";
import { labPaths, shortPath } from "../paths.ts";

const INFO = {
  name: "deno task golden",
  summary: "Replays golden cases on each available path (TypeScript twins, GPU): a line a case.",
  positionals: "[FILE.safetensors | FOLDER …]",
  options: {
    device: { value: "all|cpu|gpu", help: "which path; all that there are by default" },
    verbose: { help: "show every comparison, not only those that fail" },
  },
  more:
    "Without files: the cases in fixtures/golden/owq and methods. Exit code 1 outside the tolerances or where a method is unknown.",
};

/** The files meant by the arguments: files as they are, folders by their *.safetensors. */
async function goldenFiles(names: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const name of names) {
    const stat = await Deno.stat(name).catch(() => null);
    if (!stat) throw new LabError("storage", name, "no such file or folder");
    if (stat.isFile) files.push(name);
    else for await (const e of Deno.readDir(name)) if (e.name.endsWith(".safetensors")) files.push(join(name, e.name));
  }
  return files.sort();
}

await runCommand(INFO, async (input) => {
  const device = input.text("device") ?? "all";
  const own = ["owq", "methods"].map((folder) => join(labPaths().root, "fixtures/golden", folder));
  const named = input.positionals.length > 0 ? input.positionals : own;
  const files = await goldenFiles(named);
  if (files.length === 0) throw new LabError("input", named.join(", "), "no golden case there");
  const paths: Kernels[] = [];
  if (device !== "gpu") paths.push(await openKernels("cpu"));
  if (device === "gpu") paths.push(await openKernels("gpu"));
  if (device === "all") {
    // "gpu", not "auto": every shader is checked, also where a twin would be the faster choice.
    const gpu = await openKernels("gpu").catch((e) => console.log(`the GPU path is NOT checked: ${e.message}`));
    if (gpu) paths.push(gpu);
  }
  let failed = 0;
  for (const file of files) {
    for (const kernels of paths) {
      const start = performance.now();
      const line = `${shortPath(file)} on ${kernels.device}`;
      try {
        const r = await replayGolden(file, kernels);
        if (!r.passed) failed++;
        console.log(
          `${r.passed ? "pass" : "FAIL"}  ${line}, ${r.checks.length} checks, ${
            ((performance.now() - start) / 1000).toFixed(1)
          } s`,
        );
        for (const c of r.checks) {
          if (holds(c) && !input.on("verbose")) continue;
          console.log(
            `      ${holds(c) ? " " : "!"} ${c.what}: ${c.value} (${
              c.sense === "max" ? "at most" : "at least"
            } ${c.bound})`,
          );
        }
      } catch (e) {
        if (!(e instanceof LabError)) throw e;
        failed++;
        console.log(`FAIL  ${line}: ${e.message}`);
      }
    }
  }
  const n = files.length * paths.length;
  console.log(
    `${n - failed} passed, ${failed} failed (${files.length} cases; ${paths.map((p) => p.description).join("; ")})`,
  );
  for (const p of paths) p.close();
  return failed > 0 ? 1 : 0;
});
