// Jupyter, made once: a virtual environment with pinned packages and a kernel that is the very Deno running this task.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LabError } from "../io/errors.ts";
import { sha256Hex } from "../io/digest.ts";
import { findProgram, runProcess } from "./process.ts";
import { labPaths } from "./paths.ts";

/** The name of our kernel; notebooks carry it in their metadata. */
export const KERNEL_NAME = "owq-lab";

/** Before 2.9 the kernel reported failing cells as fine (denoland/deno#35356). */
const OLDEST_DENO = [2, 9];
const OLDEST_PYTHON = [3, 10];

/** A ready environment; paths are absolute. */
export interface JupyterEnvironment {
  readonly venv: string;
  readonly python: string;
  readonly jupyterLab: string;
  /** What made it: compared to know whether anything is left to do. */
  readonly stamp: string;
}

/**
 * Makes sure that Jupyter and our kernel are installed; does nothing, in milliseconds, when they are.
 *
 * Needs the network only when packages are missing. Two calls at once wait for each other.
 *
 * @param o.venv where the environment lies or shall lie; the clone's `.venv` by default.
 * @param o.onLine hears one line a step, for people.
 * @param o.force installs again whatever the stamp says.
 * @throws LabError "input" for an old Deno or Python, "storage" where venv or pip are missing, "network" when packages do not arrive.
 */
export async function ensureJupyter(
  o: { venv?: string; onLine?: (line: string) => void; force?: boolean } = {},
): Promise<JupyterEnvironment> {
  checkDeno(Deno.version.deno);
  const venv = o.venv ?? labPaths().venv, say = o.onLine ?? (() => {});
  const requirements = new URL("./requirements.txt", import.meta.url);
  const stamp = sha256Hex(`${await Deno.readTextFile(requirements)}\nvenv format 1`);
  const bin = (name: string) =>
    Deno.build.os === "windows" ? join(venv, "Scripts", `${name}.exe`) : join(venv, "bin", name);
  const ready = { venv, python: bin("python"), jupyterLab: bin("jupyter-lab"), stamp };
  await Deno.mkdir(venv, { recursive: true });
  using lock = await Deno.open(join(venv, "owq-lab.lock"), { create: true, write: true });
  await lock.lock(true);
  if (o.force || !await isDone(ready)) {
    const python = await findPython();
    say(`making ${venv} with ${python}`);
    await makeVenv(python, venv);
    await installPackages(ready.python, requirements, say);
    await Deno.writeTextFile(join(venv, "owq-lab.stamp"), stamp);
  }
  await installKernel(venv);
  await installSettings(venv);
  return ready;
}

/** Refuses a Deno whose kernel hides failing cells. */
export function checkDeno(version: string): void {
  const [major, minor] = version.split(".").map(Number);
  if (major > OLDEST_DENO[0] || (major === OLDEST_DENO[0] && minor >= OLDEST_DENO[1])) return;
  throw new LabError(
    "input",
    `Deno ${version}`,
    `is too old, the lab needs ${OLDEST_DENO.join(".")} or later (older kernels report failing cells as fine)`,
    "Run the task with `npx -y deno@2.9.6 task …`.",
  );
}

async function isDone(e: JupyterEnvironment): Promise<boolean> {
  const stamp = await Deno.readTextFile(join(e.venv, "owq-lab.stamp")).catch(() => "");
  // The interpreter behind the link may have gone with an upgrade of the system's Python.
  return stamp === e.stamp && await Deno.stat(e.python).then((s) => s.isFile, () => false);
}

async function findPython(): Promise<string> {
  const wanted = Deno.env.get("OWQ_PYTHON");
  const python = wanted ?? await findProgram(["python3", "python"]);
  const hint = "Install Python 3.10 or later, or name one in the environment variable OWQ_PYTHON.";
  if (python === null) throw new LabError("input", "Python", "found neither python3 nor python on PATH", hint);
  const code = "import sys; print('.'.join(map(str, sys.version_info[:3])))";
  const r = await runProcess([python, "-c", code]).catch((e) => ({ code: 1, stdout: "", stderr: String(e) }));
  if (r.code !== 0) throw new LabError("input", python, `does not run (${lastLine(r.stderr)})`, hint);
  const [major, minor] = r.stdout.trim().split(".").map(Number);
  if (major < OLDEST_PYTHON[0] || (major === OLDEST_PYTHON[0] && minor < OLDEST_PYTHON[1])) {
    throw new LabError("input", python, `is Python ${r.stdout.trim()}, Jupyter needs 3.10 or later`, hint);
  }
  return python;
}

async function makeVenv(python: string, venv: string): Promise<void> {
  const r = await runProcess([python, "-m", "venv", venv]);
  if (r.code === 0) return;
  const text = r.stdout + r.stderr;
  const missing = /ensurepip|No module named '?venv/.test(text);
  throw new LabError(
    "storage",
    `${python} -m venv`,
    missing ? "this Python comes without ensurepip" : `failed (${lastLine(text)})`,
    missing
      ? "On Debian or Ubuntu: apt-get install python3-venv. Elsewhere name a whole Python in OWQ_PYTHON."
      : "Remove the folder .venv and try again, or name another Python in OWQ_PYTHON.",
  );
}

async function installPackages(python: string, requirements: URL, say: (line: string) => void): Promise<void> {
  say("installing JupyterLab (about 100 packages, once; later runs need no network)");
  let packages = 0;
  const r = await runProcess(
    [python, "-m", "pip", "install", "--no-input", "--progress-bar", "off", "-r", fileURLToPath(requirements)],
    {
      env: { PIP_DISABLE_PIP_VERSION_CHECK: "1" },
      onLine: (line) => {
        if (/^Collecting /.test(line) && ++packages % 20 === 0) say(`  ${packages} packages found`);
        if (/^Installing collected/.test(line)) say(`  unpacking ${line.split(",").length} packages`);
      },
    },
  );
  if (r.code === 0) return;
  const problem = r.stderr.split("\n").find((l) => l.startsWith("ERROR")) ?? lastLine(r.stderr);
  throw new LabError(
    "network",
    "pip install",
    `the packages of lib/lab/requirements.txt did not install (${problem.trim()})`,
    "Check the network or pip's index settings, then run `deno task setup` again: it goes on where it stopped.",
  );
}

/**
 * The kernel's specification: the same Deno as now, interrupts by message (SIGINT would kill it), output without colour codes.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { kernelSpec } from "./setup.ts";
 * assert.equal(kernelSpec("/usr/bin/deno").argv[0], "/usr/bin/deno");
 * ```
 */
export function kernelSpec(deno: string) {
  return {
    argv: [deno, "jupyter", "--kernel", "--conn", "{connection_file}"],
    display_name: "OWQ lab (Deno)",
    language: "typescript",
    interrupt_mode: "message",
    env: { NO_COLOR: "1" },
  };
}

async function installKernel(venv: string): Promise<void> {
  const folder = join(venv, "share", "jupyter", "kernels", KERNEL_NAME);
  await writeIfChanged(folder, "kernel.json", JSON.stringify(kernelSpec(Deno.execPath()), null, 1));
}

/** JupyterLab asks on its first start whether it may fetch news; a lab that works offline need not. */
async function installSettings(venv: string): Promise<void> {
  const settings = {
    "@jupyterlab/apputils-extension:notification": { fetchNews: "false", checkForUpdates: false },
  };
  const folder = join(venv, "share", "jupyter", "lab", "settings");
  await writeIfChanged(folder, "overrides.json", JSON.stringify(settings, null, 1));
}

async function writeIfChanged(folder: string, name: string, text: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const path = join(folder, name);
  if (await Deno.readTextFile(path).catch(() => null) !== text) await Deno.writeTextFile(path, text);
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
