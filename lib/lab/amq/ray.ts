// Ray, a Python engine for clusters, in a virtual environment of its own: made only when asked, and no part of the kit's setup.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { labCache } from "../../io/cache.ts";
import { LabError } from "../../io/errors.ts";
import { findProgram, runProcess } from "../process.ts";

/** What is installed when it is asked for. */
const RAY = "ray==2.60.0";

/** The driver: rounds as Ray tasks. */
const DRIVER = fileURLToPath(new URL("../python/amq_on_ray.py", import.meta.url));

/**
 * A Python that has Ray: the one in OWQ_RAY_PYTHON, else that of the lab's own environment.
 *
 * @returns its path; null where there is none.
 */
export async function rayPython(): Promise<string | null> {
  const own = Deno.build.os === "windows" ? join("Scripts", "python.exe") : join("bin", "python");
  const python = Deno.env.get("OWQ_RAY_PYTHON") ?? join(labCache(), "ray", own);
  const found = await runProcess([python, "-c", "import ray"]).then((r) => r.code === 0, () => false);
  return found ? python : null;
}

/**
 * Makes an environment with Ray in the lab's cache, some 300 MB.
 *
 * @returns its Python. @throws LabError "input" where there is no Python, "network" where the packages do not arrive.
 */
export async function installRay(onLine: (line: string) => void = () => {}): Promise<string> {
  const python = Deno.env.get("OWQ_PYTHON") ?? await findProgram(["python3", "python"]),
    folder = join(labCache(), "ray");
  if (python === null) throw new LabError("input", "Python", "found neither python3 nor python on PATH", "Install it.");
  onLine(`making ${folder} with ${RAY}`);
  const pip = ["-m", "pip", "install", "--no-input", "--progress-bar", "off", RAY];
  for (const step of [["-m", "venv", folder], pip]) {
    const runner = step === pip
      ? join(folder, Deno.build.os === "windows" ? "Scripts/python.exe" : "bin/python")
      : python;
    const r = await runProcess([runner, ...step], { env: { PIP_DISABLE_PIP_VERSION_CHECK: "1" } });
    if (r.code === 0) continue;
    const last = (r.stderr || r.stdout).trim().split("\n").at(-1) ?? "";
    throw new LabError("network", RAY, `did not install (${last})`, "Name a Python that has Ray in OWQ_RAY_PYTHON.");
  }
  const found = await rayPython();
  if (found) return found;
  throw new LabError("network", RAY, "is installed and cannot be imported", "Name another Python in OWQ_PYTHON.");
}

/**
 * Runs the rounds of a study's archives on Ray.
 *
 * @param args of the driver, such as --out DIR --name amq --workers 2. @param onLine hears its lines.
 * @throws LabError "input" where there is no Ray; "resume" with the driver's last words where it fails.
 */
export async function runOnRay(args: readonly string[], onLine: (line: string) => void): Promise<void> {
  const python = await rayPython();
  if (!python) {
    const hint =
      "Add --install to put it into an environment of its own, or name a Python that has it in OWQ_RAY_PYTHON.";
    throw new LabError("input", "Ray", "is not installed", hint);
  }
  // Ray asks its makers for news and reports usage unless told.
  const env = { RAY_USAGE_STATS_ENABLED: "0", PYTHONUNBUFFERED: "1" };
  const r = await runProcess([python, DRIVER, "--deno", Deno.execPath(), ...args], { env, onLine });
  if (r.code !== 0) {
    const last = r.stderr.trim().split("\n").at(-1) ?? "";
    throw new LabError("resume", "the Ray driver", `ended with ${r.code} (${last})`, "The same command goes on.");
  }
}
