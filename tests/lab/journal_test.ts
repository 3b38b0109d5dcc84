import assert from "node:assert/strict";
import { join } from "node:path";
import { sha256File } from "../../lib/io/digest.ts";
import { LabError } from "../../lib/io/errors.ts";
import { openJournal } from "../../lib/lab/journal.ts";

const made = { recipe: "r", "model sha256": "m" };

async function inFolder(work: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function finish(folder: string, block: number, text: string) {
  const file = `block-${block}`;
  await Deno.writeTextFile(join(folder, file), text);
  return { block, file, sha256: await sha256File(join(folder, file)), layers: {}, seconds: { sweep: 1 } };
}

Deno.test("openJournal() gives back finished blocks, and none whose line or file was cut", () =>
  inFolder(async (folder) => {
    const journal = await openJournal(folder, made, false);
    assert.deepEqual(journal.finished, []);
    for (let b = 0; b < 4; b++) await journal.append(await finish(folder, b, `contents ${b}`));
    assert.equal((await openJournal(folder, made, true)).finished.length, 4);
    const path = join(folder, "journal.jsonl"), text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.slice(0, -20)); // killed while the last line was being written
    assert.equal((await openJournal(folder, made, true)).finished.length, 3);
    const again = await openJournal(folder, made, true);
    await again.append(await finish(folder, 3, "contents 3"));
    assert.equal((await openJournal(folder, made, true)).finished.length, 4);
    await Deno.writeTextFile(join(folder, "block-1"), "conten"); // a damaged file ends what counts as finished
    assert.equal((await openJournal(folder, made, true)).finished.length, 1);
    await Deno.remove(join(folder, "block-0"));
    assert.equal((await openJournal(folder, made, true)).finished.length, 0);
  }));

Deno.test("openJournal() refuses a run made of something else and names the field with both values", () =>
  inFolder(async (folder) => {
    await openJournal(folder, made, false);
    await assert.rejects(
      openJournal(folder, { ...made, "model sha256": "other" }, true),
      (e) => e instanceof LabError && e.kind === "resume" && /model sha256 m, this run has other/.test(e.message),
    );
    await assert.rejects(openJournal(folder, made, false), /holds a run already.*--resume/);
    await Deno.writeTextFile(join(folder, "run.json"), "{");
    await assert.rejects(openJournal(folder, made, true), /run\.json: cannot be read/);
  }));

Deno.test("openJournal() says before any work that a folder cannot be written", async () => {
  const file = await Deno.makeTempFile();
  await assert.rejects(
    openJournal(join(file, "run"), made, false),
    (e) => e instanceof LabError && e.kind === "storage",
  );
  await Deno.remove(file);
});
