import assert from "node:assert/strict";
import {
  atomicWrite,
  atomicWriteBytes,
  atomicWriteText,
  ensureWritableFolder,
  storageError,
} from "../../lib/io/atomic.ts";
import { LabError } from "../../lib/io/errors.ts";

async function inTempDir(body: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await body(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const names = (dir: string) => [...Deno.readDirSync(dir)].map((e) => e.name).sort();

Deno.test("atomicWriteBytes() leaves only the file when it succeeds", () =>
  inTempDir(async (dir) => {
    await atomicWriteBytes(`${dir}/a`, new Uint8Array([1, 2, 3]));
    await atomicWriteBytes(`${dir}/a`, new Uint8Array([4]));
    assert.deepEqual([...await Deno.readFile(`${dir}/a`)], [4]);
    assert.deepEqual(names(dir), ["a"]);
  }));

Deno.test("atomicWrite() keeps the old file when the writer throws", () =>
  inTempDir(async (dir) => {
    await atomicWriteText(`${dir}/a`, "old");
    const thrown = new RangeError("mine");
    await assert.rejects(
      atomicWrite(`${dir}/a`, async (file) => {
        await file.write(new Uint8Array(10));
        throw thrown;
      }),
      (e) => e === thrown,
    );
    assert.equal(await Deno.readTextFile(`${dir}/a`), "old");
    assert.deepEqual(names(dir), ["a"]);
  }));

Deno.test("atomicWriteText() says which path when the folder is missing", () =>
  inTempDir(async (dir) => {
    await assert.rejects(atomicWriteText(`${dir}/none/a`, "x"), (e) => {
      assert.ok(e instanceof LabError);
      assert.equal(e.kind, "storage");
      assert.match(e.message, /none\/a: cannot write, it does not exist/);
      return true;
    });
  }));

Deno.test("ensureWritableFolder() makes parents and leaves nothing behind", () =>
  inTempDir(async (dir) => {
    await ensureWritableFolder(`${dir}/x/y`);
    assert.deepEqual(names(`${dir}/x/y`), []);
  }));

Deno.test("ensureWritableFolder() refuses when a part of the path is a file", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/file`, "");
    await assert.rejects(ensureWritableFolder(`${dir}/file/out`), (e) => e instanceof LabError && e.kind === "storage");
  }));

Deno.test("atomicWrite() names a full disk when the device has no space", async () => {
  try {
    await Deno.stat("/dev/full"); // Linux only: every write to it fails with ENOSPC
  } catch {
    return;
  }
  using full = await Deno.open("/dev/full", { write: true });
  await inTempDir(async (dir) => {
    await assert.rejects(
      atomicWrite(`${dir}/a`, async () => {
        await full.write(new Uint8Array(1));
      }),
      (e) => e instanceof LabError && /the disk is full/.test(e.message),
    );
    assert.deepEqual(names(dir), []);
  });
});

Deno.test("storageError() passes a LabError through when it gets one", () => {
  const e = new LabError("input", "a", "b");
  assert.equal(storageError("p", "cannot write", e), e);
});
