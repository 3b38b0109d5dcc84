import assert from "node:assert/strict";
import { countJUnit } from "../../lib/lab/gate.ts";
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
