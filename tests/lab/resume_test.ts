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

/** How many blocks lie finished in a run's folder. */
function finishedBlocks(out: string): number {
  try {
    return [...Deno.readDirSync(join(out, "blocks"))].filter((e) => e.name.endsWith(".safetensors")).length;
  } catch (e) {
    if (e instanceof Deno.errors.NotFound) return 0;
    throw e;
  }
}

/** Kills a run a random moment after it has `blocks` finished blocks. @returns whether it was killed before it ended. */
async function killAfter(out: string, blocks: number, longest: number, random: () => number): Promise<boolean> {
  const child = start(out, "--resume");
  let ended = false;
  const output = child.output().finally(() => ended = true);
  while (!ended && finishedBlocks(out) < blocks) await delay(5);
  await delay(longest * random());
  if (!ended) child.kill("SIGKILL");
  return (await output).signal === "SIGKILL";
}

const delay = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

Deno.test("owq quantize, killed five times at random moments, resumes and ends bit-identical", async () => {
  const folder = await Deno.makeTempDir(), whole = join(folder, "whole"), broken = join(folder, "broken");
  try {
    const begun = performance.now(), first = await start(whole).output();
    const text = (b: Uint8Array) => new TextDecoder().decode(b);
    assert.equal(first.code, 0, text(first.stderr));
    const blocks = finishedBlocks(whole), moments = rng(Date.now(), "moments");
    assert.ok(blocks >= 4, `${blocks} blocks`);
    // A kill in the first block, and one after each further; the moment is drawn from about a block's time. A run that was too
    // fast for it is begun anew with a shorter wait, so that five are always killed, on any machine.
    let longest = (performance.now() - begun) / (2 * blocks), killed = 0, resumed = 0;
    for (let attempt = 0; killed < 5; attempt++) {
      assert.ok(attempt < 20, `only ${killed} of 20 runs could be killed before they ended`);
      const before = finishedBlocks(broken);
      if (await killAfter(broken, Math.min(killed, blocks - 1), longest, () => moments.float())) {
        killed++;
        if (before > 0) resumed++;
      } else {
        await Deno.remove(broken, { recursive: true });
        longest /= 2;
      }
    }
    assert.ok(resumed > 0, "no killed run had blocks of another to go on from");
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
