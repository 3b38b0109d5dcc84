import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { LabError } from "../../lib/io/errors.ts";
import { decodeUtf8, textRows } from "../../lib/io/rows.ts";

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/text/${name}`, import.meta.url));
const expected = [
  "",
  " = A small heading = \n",
  "",
  " The first paragraph has seven words . \n",
  " Größe , naïveté and 雪 are words too . \n",
  "",
];

const all = (path: string, column = "text") => Array.fromAsync(textRows(path, column));

async function withFile(name: string, bytes: Uint8Array, body: (path: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${dir}/${name}`, bytes);
    await body(`${dir}/${name}`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const refusal = (pattern: RegExp) => (e: unknown) => {
  assert.ok(e instanceof LabError, String(e));
  assert.equal(e.kind, "format");
  assert.match(e.message, pattern);
  return true;
};

const utf8 = (text: string) => new TextEncoder().encode(text);

Deno.test("textRows() reads all row groups when a parquet file is packed with snappy or zstd", async () => {
  assert.deepEqual(await all(fixture("rows-snappy.parquet")), expected);
  assert.deepEqual(await all(fixture("rows-zstd.parquet")), expected);
});

Deno.test("textRows() names the row or the columns when a parquet file does not hold the text", async () => {
  await assert.rejects(
    all(fixture("rows-null.parquet")),
    refusal(/rows-null\.parquet row 1: has no text in its column/),
  );
  await assert.rejects(all(fixture("rows-zstd.parquet"), "sentence"), refusal(/It has text, line/));
  await assert.rejects(all(fixture("rows-zstd.parquet"), "line"), refusal(/row 0: has no text in its column "line"/));
});

Deno.test("textRows() gives a sentence when a parquet file is cut or damaged", async () => {
  const bytes = await Deno.readFile(fixture("rows-snappy.parquet"));
  await withFile("a.parquet", bytes.slice(0, bytes.length - 9), async (path) => {
    await assert.rejects(all(path), refusal(/a\.parquet: /));
  });
  await withFile("a.parquet", new Uint8Array(3), async (path) => {
    await assert.rejects(all(path), refusal(/a\.parquet: /));
  });
  for (let at = 0; at < bytes.length; at += 7) { // any byte may be wrong: rows or a LabError, nothing else
    const damaged = bytes.slice();
    damaged[at] ^= 0x55;
    await withFile("a.parquet", damaged, async (path) => {
      await all(path).catch((e) => assert.ok(e instanceof LabError, `byte ${at}: ${e}`));
    });
  }
});

Deno.test("textRows() reads JSON lines when they are packed in several gzip members", async () => {
  const one = gzipSync(utf8('{"text":"Größe\\n","url":1}\n{"te')), two = gzipSync(utf8('xt":"b"}\n\n{"text":"c"}'));
  await withFile("a.json.gz", new Uint8Array([...one, ...two]), async (path) => {
    assert.deepEqual(await all(path), ["Größe\n", "b", "c"]);
  });
  await withFile("a.json.gz", one.subarray(0, one.length - 6), async (path) => {
    await assert.rejects(all(path), refusal(/a\.json\.gz: cannot be unpacked/));
  });
});

Deno.test("textRows() names the line when JSON is wrong", async () => {
  await withFile("a.jsonl", utf8('{"text":"a"}\n{"text":\n'), async (path) => {
    await assert.rejects(all(path), refusal(/a\.jsonl line 2: is not JSON/));
  });
  await withFile("a.jsonl", utf8('{"text":"a"}\nnull\n'), async (path) => {
    await assert.rejects(all(path), refusal(/a\.jsonl line 2: has no text in its field "text"/));
  });
});

Deno.test("textRows() keeps line breaks when the file is plain text", async () => {
  const long = "x".repeat((1 << 20) - 1) + "é"; // a character across two pieces
  await withFile("a.raw", utf8(`${long}\n \nlast`), async (path) => {
    assert.deepEqual(await all(path), [`${long}\n`, " \n", "last"]);
  });
  await withFile("a.raw", Uint8Array.of(0x41, 0x0a, 0xff), async (path) => {
    await assert.rejects(all(path), refusal(/a\.raw: is not UTF-8 text/));
  });
});

Deno.test("decodeUtf8() names the first wrong byte when the text is long", () => {
  const bytes = utf8("雪".repeat(1000) + "a".repeat(1000));
  bytes[2500] = 0xff;
  assert.throws(() => decodeUtf8("a", bytes), refusal(/a: is not UTF-8 text at byte 2500/));
});

Deno.test("textRows() names the file when it is missing", async () => {
  await assert.rejects(all("no/such.txt"), (e) => e instanceof LabError && e.kind === "storage");
  await assert.rejects(all("no/such.parquet"), (e) => e instanceof LabError && e.kind === "storage");
});
