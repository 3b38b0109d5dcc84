// Python's own libraries as judges of our files: a script goes in, its standard output comes back. Only tests use it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const python = fileURLToPath(
  new URL(Deno.build.os === "windows" ? "../.venv/Scripts/python.exe" : "../.venv/bin/python", import.meta.url),
);

/** Runs a Python script of the virtual environment; fails with Python's own words where the script fails. */
export async function runPython(script: string, ...args: string[]): Promise<string> {
  try {
    Deno.statSync(python);
  } catch {
    assert.fail("There is no Python in .venv: run deno task setup");
  }
  const { success, stdout, stderr } = await new Deno.Command(python, { args: ["-c", script, ...args] }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assert.ok(success, `Python failed:\n${text(stderr)}`);
  return text(stdout);
}

/** A folder that is gone when `use` has ended. */
export async function inTempFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    return await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
