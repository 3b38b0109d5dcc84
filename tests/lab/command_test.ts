import assert from "node:assert/strict";
import { readArguments } from "../../lib/lab/command.ts";
import { runProcess } from "../../lib/lab/process.ts";

const info = {
  name: "deno task x",
  summary: "",
  options: { only: { value: "NAME", help: "", multiple: true }, write: { help: "" } },
};
const command = (name: string, ...args: string[]) =>
  runProcess([
    Deno.execPath(),
    "run",
    "-A",
    new URL(`../../lib/lab/commands/${name}.ts`, import.meta.url).href,
    ...args,
  ]);

Deno.test("readArguments() collects repeated options in order", () => {
  const input = readArguments(info, ["--only", "01", "--only=03", "--write"]);
  assert.deepEqual(input.all("only"), ["01", "03"]);
  assert.equal(input.on("write"), true);
});

Deno.test("readArguments() names the option it does not know and the command's help", () => {
  assert.throws(() => readArguments(info, ["--onyl", "3"]), /Unknown option '--onyl'.*deno task x --help/);
  assert.throws(() => readArguments(info, ["--only"]), /--only/);
  assert.throws(() => readArguments(info, ["stray"]), /stray/);
});

for (const name of ["setup", "start", "lab", "notebooks", "check_cells", "ok"]) {
  Deno.test(`${name} --help ends with 0 and a usage line`, async () => {
    const r = await command(name, "--help");
    assert.equal(r.code, 0, r.stderr);
    assert.match(r.stdout, /^usage: deno task /m);
  });
}

Deno.test("a command ends with 2 for an unknown option and with 1 for a notebook that is not there", async () => {
  assert.equal((await command("notebooks", "--nothing")).code, 2);
  const r = await command("notebooks", "--only", "no-such-notebook");
  assert.equal(r.code, 1);
  assert.match(r.stderr, /--only no-such-notebook: fits no notebook/);
});
