import assert from "node:assert/strict";
import { checkDeno, ensureJupyter, kernelSpec } from "../../lib/lab/setup.ts";

/** A program that answers as a Python would. */
async function fakePython(folder: string, script: string): Promise<string> {
  const path = `${folder}/python3`;
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

async function withPython(script: string, check: (error: Promise<unknown>) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir(), before = Deno.env.get("OWQ_PYTHON");
  try {
    Deno.env.set("OWQ_PYTHON", await fakePython(folder, script));
    await check(ensureJupyter({ venv: `${folder}/venv` }));
  } finally {
    before === undefined ? Deno.env.delete("OWQ_PYTHON") : Deno.env.set("OWQ_PYTHON", before);
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("checkDeno() refuses the versions whose kernel hides failing cells", () => {
  assert.throws(() => checkDeno("2.8.3"), /too old/);
  for (const good of ["2.9.0", "2.10.1", "3.0.0"]) checkDeno(good);
});

Deno.test("kernelSpec() interrupts by message and forbids colour codes", () => {
  const spec = kernelSpec("/d");
  assert.equal(spec.interrupt_mode, "message");
  assert.equal(spec.env.NO_COLOR, "1");
});

Deno.test("ensureJupyter() says what to install when Python lacks ensurepip", () =>
  withPython(
    `case "$*" in *venv*) echo "The virtual environment was not created because ensurepip is not available"; exit 1;; *) echo 3.12.1;; esac`,
    async (e) => await assert.rejects(e, /without ensurepip.*apt-get install python3-venv/s),
  ));

Deno.test("ensureJupyter() refuses an old Python by its version", () =>
  withPython("echo 3.8.10", async (e) => await assert.rejects(e, /is Python 3\.8\.10, Jupyter needs 3\.10/)));

Deno.test("ensureJupyter() passes on why pip failed and leaves no stamp behind", async () => {
  const script = `
case "$*" in
  *"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
  *pip*) echo "ERROR: No matching distribution found for jupyterlab" >&2; exit 1;;
  *) echo 3.12.1;;
esac`;
  await withPython(script, async (e) => await assert.rejects(e, /No matching distribution.*deno task setup/s));
});

Deno.test("ensureJupyter() has nothing to do the second time and points the kernel at this very Deno", async () => {
  await ensureJupyter({ onLine: console.log });
  const said: string[] = [];
  const e = await ensureJupyter({ onLine: (line) => said.push(line) });
  assert.deepEqual(said, []);
  const spec = JSON.parse(await Deno.readTextFile(`${e.venv}/share/jupyter/kernels/owq-lab/kernel.json`));
  assert.equal(spec.argv[0], Deno.execPath());
});
