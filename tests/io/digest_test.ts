import assert from "node:assert/strict";
import { sha256File, sha256Hex } from "../../lib/io/digest.ts";
import { LabError } from "../../lib/io/errors.ts";

Deno.test("sha256File() equals sha256Hex() when the file is longer than one piece", async () => {
  const bytes = new Uint8Array((1 << 20) + 17).map((_, i) => i * 31);
  const path = await Deno.makeTempFile();
  await Deno.writeFile(path, bytes);
  assert.equal(await sha256File(path), sha256Hex(bytes));
  await Deno.remove(path);
});

Deno.test("sha256Hex() gives the standard's value when hashing abc", () => {
  assert.equal(
    sha256Hex(new TextEncoder().encode("abc")),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

Deno.test("sha256File() names the file when it is missing", async () => {
  await assert.rejects(sha256File("no/such/file"), (e) => e instanceof LabError && /no\/such\/file/.test(e.message));
});
