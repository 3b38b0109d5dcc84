import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sha256File } from "../../lib/io/digest.ts";
import { rng } from "../../lib/io/rng.ts";

const owq = fileURLToPath(new URL("../../lib/lab/commands/owq.ts", import.meta.url));

function start(out: string, ...more: string[]) {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      owq,
      "quantize",
      "--bits",
      "3.2",
      "--calib-samples",
      "6",
      "--eval-samples",
      "2",
      "--seq-len",
      "128",
    ]
      .concat("--device", "cpu", "--out", out, "--json", ...more),
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** SHA-256 of everything that makes the packed model, by file name. */
async function sums(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = { rest: await sha256File(join(folder, "rest.safetensors")) };
  for await (const e of Deno.readDir(join(folder, "blocks"))) {
    found[e.name] = await sha256File(join(folder, "blocks", e.name));
  }
  return found;
}

Deno.test("owq quantize, killed five times at random moments, resumes and ends bit-identical", async () => {
  const folder = await Deno.makeTempDir(), whole = join(folder, "whole"), broken = join(folder, "broken");
  try {
    const begun = performance.now(), first = await start(whole).output();
    const text = (b: Uint8Array) => new TextDecoder().decode(b);
    assert.equal(first.code, 0, text(first.stderr));
    const seconds = (performance.now() - begun) / 1000, moments = rng(Date.now(), "moments");
    let killed = 0;
    for (let i = 0; i < 5; i++) {
      const child = start(broken, "--resume"), at = seconds * (0.2 + 0.7 * moments.float());
      const timer = setTimeout(() => child.kill("SIGKILL"), at * 1000);
      const { signal } = await child.output();
      clearTimeout(timer);
      if (signal === "SIGKILL") killed++;
    }
    assert(killed >= 3, `only ${killed} of 5 runs were killed before they ended`);
    const last = await start(broken, "--resume").output();
    assert.equal(last.code, 0, text(last.stderr));
    assert.deepEqual(await sums(broken), await sums(whole));
    const [a, b] = [first, last].map((r) => JSON.parse(text(r.stdout)));
    assert.deepEqual(b.ppl, a.ppl);
    assert(Number.isFinite(a.ppl.quantized) && Number.isFinite(a.ppl.fp));
    assert.deepEqual(b.layers, a.layers);

    const other = await start(broken, "--resume", "--seed", "1").output();
    assert.equal(other.code, 1);
    assert.match(text(other.stderr), /recipe.*this run has/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
