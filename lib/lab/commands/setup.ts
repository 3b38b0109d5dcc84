import { runCommand } from "../command.ts";
import { shortPath } from "../paths.ts";
import { ensureJupyter } from "../setup.ts";

const info = {
  name: "deno task setup",
  summary: "Installs Jupyter and the lab's kernel into .venv; does nothing when they are there.",
  options: { force: { help: "install again" } },
};

await runCommand(info, async (input) => {
  const e = await ensureJupyter({ onLine: console.log, force: input.on("force") });
  console.log(`Jupyter is ready in ${shortPath(e.venv)}, its kernel runs Deno ${Deno.version.deno}`);
});
