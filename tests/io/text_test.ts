import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { book } from "../../lib/io/books.ts";
import { LabError } from "../../lib/io/errors.ts";
import { openText, type TextOptions } from "../../lib/io/text.ts";
import { withLittleHub } from "./little_hub.ts";

const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/text/${name}`, import.meta.url));
const evaluation = { purpose: "evaluation" } as const, calibration = { purpose: "calibration" } as const;
const utf8 = (text: string) => new TextEncoder().encode(text);
// the rows of fixtures/text/rows-*.parquet with "\n\n" between them
const WIKITEXT =
  "\n\n = A small heading = \n\n\n\n\n The first paragraph has seven words . \n\n\n Größe , naïveté and 雪 are words too . \n\n\n";

async function inTempDir(files: Record<string, string>, body: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${dir}/${name}`, text);
    await body(dir);
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

Deno.test("openText() keeps the two ends of a book apart when the purpose differs", async () => {
  const read = await openText("moby-dick", calibration), held = await openText("moby-dick", evaluation);
  const { train, heldOut } = book("moby-dick");
  assert.equal(read.text, train);
  assert.equal(held.text, heldOut.trimStart());
  assert.notEqual(read.label, held.label);
});

Deno.test("openText() joins rows with two line breaks when the text is wikitext2 from the hub", async () => {
  const test = "datasets/Salesforce/wikitext/wikitext-2-raw-v1/test-00000-of-00001.parquet";
  await withLittleHub({ [test]: await Deno.readFile(fixture("rows-snappy.parquet")) }, async (hub) => {
    const { text, label, maxWindows } = await openText("wikitext2", { ...hub, ...evaluation });
    assert.equal(text, WIKITEXT);
    assert.equal(label, "wikitext2 test");
    assert.equal(maxWindows, Infinity);
    assert.equal((await openText("wikitext2", { ...hub, ...evaluation, offline: true })).text, WIKITEXT);
    await assert.rejects(
      openText("wikitext2", { ...hub, ...calibration, offline: true }),
      refusal(
        "network",
        /train-00000-of-00001\.parquet: is not in the cache.*Or give a local copy of its train split\./,
      ),
    );
  });
});

Deno.test("openText() gives the hub's text when wikitext2 is a local copy of the raw file or of the table", async () => {
  assert.equal(
    (await openText("wikitext2", { ...evaluation, localCopy: fixture("rows-zstd.parquet") })).text,
    WIKITEXT,
  );
  const raw =
    " \n = A small heading = \n \n The first paragraph has seven words . \n Größe , naïveté and 雪 are words too . \n \n";
  await inTempDir({ "wiki.test.raw": raw, "wiki.train.raw": " one \r\n two \r\n" }, async (localCopy) => {
    assert.equal((await openText("wikitext2", { ...evaluation, localCopy })).text, WIKITEXT);
    assert.equal((await openText("wikitext2", { ...calibration, localCopy })).text, " one \n\n\n two \n");
    const before = Deno.env.get("OWQ_LAB_CACHE");
    await inTempDir({}, async (cache) => {
      await Deno.mkdir(`${cache}/texts`);
      await Deno.rename(localCopy, `${cache}/texts/wikitext2`);
      Deno.env.set("OWQ_LAB_CACHE", cache);
      try {
        assert.equal((await openText("wikitext2", evaluation)).text, WIKITEXT); // laid there, no hub asked
      } finally {
        if (before === undefined) Deno.env.delete("OWQ_LAB_CACHE");
        else Deno.env.set("OWQ_LAB_CACHE", before);
        await Deno.rename(`${cache}/texts/wikitext2`, localCopy);
      }
    });
  });
});

Deno.test("openText() joins rows with a space when the text is ptb, and tries the other name of its file", async () => {
  await inTempDir({ "ptb.test.txt": " no it was n't \n <unk> \n" }, async (dir) => {
    const localCopy = `${dir}/ptb.test.txt`;
    assert.equal((await openText("ptb", { ...evaluation, localCopy })).text, "no it was n't <unk>");
  });
  const file = "datasets/ptb-text-only/ptb_text_only/penn_treebank/ptb_text_only-test.parquet";
  await withLittleHub({ [file]: await Deno.readFile(fixture("rows-zstd.parquet")) }, async (hub, requests) => {
    // the little table's column is "text", so what must come is the sentence about the column, after both names were tried
    const wrong = openText("ptb", { ...hub, ...evaluation });
    await assert.rejects(wrong, refusal("format", /has no column "sentence"/));
    assert.equal(requests.filter((r) => r.startsWith("HEAD")).length, 2);
  });
});

Deno.test("openText() takes the first 1100 documents and 256 windows when the text is c4", async () => {
  const lines = Array.from({ length: 1102 }, (_, i) => JSON.stringify({ text: `document ${i}`, url: "" })).join("\n");
  const validation = "datasets/allenai/c4/en/c4-validation.00000-of-00008.json.gz";
  const train = "datasets/allenai/c4/en/c4-train.00000-of-01024.json.gz";
  const packed = new Uint8Array(gzipSync(utf8(lines)));
  await withLittleHub({ [validation]: packed, [train]: packed }, async (hub) => {
    const { text, documents, maxWindows } = await openText("c4", { ...hub, ...evaluation });
    assert.ok(text?.startsWith("document 0 document 1 ") && text.endsWith("document 1098 document 1099"));
    assert.equal(maxWindows, 256);
    assert.equal(documents, null);
    const read = await openText("c4", { ...hub, ...calibration });
    assert.equal(read.text, null);
    assert.equal((await Array.fromAsync(read.documents!)).length, 1102);
  });
});

Deno.test("openText() reads a file as Python does when it has other line breaks", () =>
  inTempDir({ "a.txt": "\ufeffone\r\ntwo\rthree\n" }, async (dir) => {
    const { text, label } = await openText(`${dir}/a.txt`, evaluation);
    assert.equal(text, "one\ntwo\nthree\n");
    assert.equal(label, "a.txt");
  }));

Deno.test("openText() lists the forms when the name is unknown, and says what is wrong with a file", () =>
  inTempDir({ "test-1": "", "test-2": "" }, async (dir) => {
    await assert.rejects(
      openText("wikitext3", evaluation),
      refusal("input", /neither a text the lab knows nor a file.*wikitext2, ptb or c4/),
    );
    await Deno.writeFile(`${dir}/b.txt`, Uint8Array.of(0x41, 0xff));
    await assert.rejects(
      openText(`${dir}/b.txt`, evaluation),
      refusal("format", /b\.txt: is not UTF-8 text at byte 1/),
    );
    await assert.rejects(openText(dir, evaluation), refusal("storage", /cannot read/));
    const local = (localCopy: string): TextOptions => ({ ...evaluation, localCopy });
    await assert.rejects(openText("ptb", local(dir)), refusal("input", /holds 2 files with "test".*test-1, test-2/));
    await assert.rejects(
      openText("ptb", local(`${dir}/none`)),
      refusal("storage", /none: cannot read, it does not exist/),
    );
  }));
