import { relative } from "node:path";
import { runCommand } from "../command.ts";
import { findNotebooks } from "../notebooks.ts";
import { labPaths } from "../paths.ts";
import { ensureJupyter } from "../setup.ts";

const info = {
  name: "deno task lab",
  summary: "Opens JupyterLab at the first notebook.",
  options: {
    "no-browser": { help: "only print the address" },
    port: { value: "N", help: "8888 by default, or the next that is free" },
  },
};

await runCommand(info, async (input) => {
  const { root, notebooks } = labPaths();
  const jupyter = await ensureJupyter({ onLine: console.log });
  const [first] = await findNotebooks(notebooks);
  const page = first ? `/lab/tree/${relative(root, first).replaceAll("\\", "/")}` : "/lab/tree/notebooks";
  const args = [`--ServerApp.root_dir=${root}`, `--LabApp.default_url=${page}`];
  if (input.on("no-browser")) args.push("--no-browser");
  if (input.text("port")) args.push(`--port=${input.text("port")}`);
  if (Deno.build.os !== "windows" && Deno.uid() === 0) args.push("--allow-root");
  Deno.addSignalListener("SIGINT", () => {}); // Ctrl-C is for JupyterLab, which asks and then ends; we end after it
  const env = { JUPYTER_PREFER_ENV_PATH: "1" };
  return (await new Deno.Command(jupyter.jupyterLab, { args, cwd: root, env }).spawn().status).code;
});
