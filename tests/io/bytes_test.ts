import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { openFile, openMemory } from "../../lib/io/bytes.ts";
import { LabError } from "../../lib/io/errors.ts";
import { inTempFolder } from "../python.ts";

const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i * 7);

Deno.test("openFile() and openMemory() read the same bytes anywhere and refuse what reaches outside", async () => {
  await inTempFolder(async (folder) => {
    const path = `${folder}/some.bin`;
    await Deno.writeFile(path, bytes);
    const file = openFile(path), memory = openMemory("some.bin", bytes);
    for (const access of [file, memory]) {
      assert.equal(access.label, "some.bin");
      assert.equal(access.size, 5000);
      for (const [at, n] of [[0, 5000], [4999, 1], [100, 0], [5000, 0], [1234, 77]]) {
        assert.deepEqual(access.read(at, n), bytes.subarray(at, at + n));
      }
      for (const [at, n] of [[0, 5001], [5000, 1], [-1, 2], [0, -1], [0.5, 1], [2 ** 53, 1], [NaN, 1]]) {
        assert.throws(() => access.read(at, n), (e) => e instanceof LabError && e.kind === "format");
      }
    }
    const sum = createHash("sha256").update(bytes).digest("hex");
    assert.equal(await file.sha256(), sum);
    assert.equal(await memory.sha256(), sum);
    file.close();
    file.close();
    assert.throws(() => file.read(0, 1), /some.bin: was closed before this read/);
  });
});

Deno.test("openMemory() reads into memory of its own", () => {
  const access = openMemory("m", bytes), part = access.read(10, 3);
  part.fill(0);
  assert.notDeepEqual(access.read(10, 3), part);
});

Deno.test("openFile() says so when the file is missing, is a folder, or shrinks while it is read", async () => {
  await inTempFolder(async (folder) => {
    const storage = (message: RegExp) => (e: unknown) =>
      e instanceof LabError && e.kind === "storage" && message.test(e.message);
    assert.throws(() => openFile(`${folder}/none`), storage(/none: cannot read, it does not exist/));
    assert.throws(() => openFile(folder), storage(/cannot read, it is a folder/));
    const path = `${folder}/shrinks`;
    await Deno.writeFile(path, bytes);
    const file = openFile(path);
    await Deno.truncate(path, 10);
    assert.throws(() => file.read(0, 100), storage(/shrinks: became shorter than 5000 bytes while it was read/));
    file.close();
  });
});
