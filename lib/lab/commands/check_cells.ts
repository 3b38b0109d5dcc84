import { checkCells } from "../cells.ts";
import { runCommand } from "../command.ts";
import { normalizeNotebook } from "../notebook_format.ts";
import { findNotebooks } from "../notebooks.ts";
import { labPaths, shortPath } from "../paths.ts";

const info = {
  name: "deno task check-cells",
  summary: "Type-checks and lints the code cells of notebooks, and checks their committed form.",
  options: {
    write: {
      help: "first bring the notebooks into the committed form (drops logs, counters and figures without a picture)",
    },
  },
  positionals: "[NOTEBOOK…]",
};

await runCommand(info, async (input) => {
  const paths = input.positionals.length > 0 ? input.positionals : await findNotebooks(labPaths().notebooks);
  let failed = 0;
  for (const path of paths) {
    if (input.on("write")) await Deno.writeTextFile(path, normalizeNotebook(await Deno.readTextFile(path), path));
    const problems = await checkCells(path);
    console.log(`${shortPath(path)}: ${problems.length === 0 ? "well" : "FAILED"}`);
    for (const p of problems) console.log(`  ${p.replaceAll("\n", "\n  ")}`);
    if (problems.length > 0) failed++;
  }
  return failed > 0 ? 1 : 0;
});
