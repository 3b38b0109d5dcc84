import assert from "node:assert/strict";
import { countJUnit, runOnceMoreAfterSignal } from "../../lib/lab/gate.ts";
import { runProcess } from "../../lib/lab/process.ts";

async function count(files: Record<string, string>) {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${name}`, text);
    const r = await runProcess([Deno.execPath(), "test", "-A", "--no-check", `--junit-path=${folder}/r.xml`, folder]);
    return { code: r.code, ...countJUnit(await Deno.readTextFile(`${folder}/r.xml`)) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("countJUnit() counts what deno test reports: passed, failed, ignored", async () => {
  const good = `Deno.test("a <b> & \\"c\\"", () => {}); Deno.test.ignore("i", () => {});`;
  const bad = `Deno.test("x", () => { throw new Error("</testcase> <skipped/>"); }); Deno.test("y", () => {});`;
  assert.deepEqual(await count({ "a_test.ts": good, "b_test.ts": bad }), { code: 1, passed: 2, failed: 1 });
});

Deno.test("a test module that does not load makes deno test fail, whatever the report says", async () => {
  const r = await count({ "a_test.ts": `throw new Error("early");`, "b_test.ts": `Deno.test("y", () => {});` });
  assert.equal(r.code, 1);
  assert.equal(r.passed, 1);
});

Deno.test("runOnceMoreAfterSignal() asks again after a signal, once, and never after an exit code", async () => {
  const folder = await Deno.makeTempDir(), said: string[] = [];
  const run = (last: string) => {
    const script = `Deno.writeTextFileSync("runs", "x", { append: true });
      if (Deno.readTextFileSync("runs").length === 1) Deno.kill(Deno.pid, "SIGABRT"); ${last}`;
    return runOnceMoreAfterSignal(["eval", script], folder, (line) => said.push(line));
  };
  const runs = () => Deno.readTextFileSync(`${folder}/runs`).length;
  try {
    assert.deepEqual([await run(""), runs(), said.length], [0, 2, 1]);
    assert.match(said[0], /SIGABRT/);
    assert.deepEqual([await run("Deno.exit(4)"), runs()], [4, 3], "an exit code is taken at its word");
    await Deno.remove(`${folder}/runs`);
    assert.deepEqual([await run(`Deno.kill(Deno.pid, "SIGABRT")`), runs()], [134, 2], "a second signal fails");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
