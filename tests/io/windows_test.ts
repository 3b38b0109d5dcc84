import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { LabError } from "../../lib/io/errors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import type { TextTokenizer } from "../../lib/io/text_tokenizer.ts";
import { openWindows, type WindowsOptions } from "../../lib/io/windows.ts";

/** A token a word, its id the number it is; 7 comes first as a BOS would. */
const numbers: TextTokenizer = {
  encode: (text) => [7, ...text.split(/\s+/).filter(Boolean).map(Number)],
  decode: (ids) => ids.join(" "),
  vocabSize: 1000,
  bosId: 7,
  eosId: null,
};
const base: WindowsOptions = { tokenizer: numbers, samples: 3, seqLen: 4, seed: 1, purpose: "evaluation" };

async function withFile(name: string, text: string, body: (path: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/${name}`, text);
    await body(`${dir}/${name}`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const counting = (n: number) => Array.from({ length: n }, (_, i) => 100 + i).join(" ");

const refusal = (kind: string, pattern: RegExp) => (e: unknown) => {
  assert.ok(e instanceof LabError, String(e));
  assert.equal(e.kind, kind);
  assert.match(e.message, pattern);
  return true;
};

Deno.test("openWindows() cuts side by side from the start and drops the tail when evaluating", () =>
  withFile("a.txt", counting(18), async (path) => {
    const all = await openWindows(path, { ...base, samples: 0 });
    assert.deepEqual([all.windows, all.length, all.label], [4, 4, "a.txt"]);
    assert.deepEqual([...all.ids], [7, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114]);
    const some = await openWindows(path, { ...base, samples: 2, seed: 99 });
    assert.deepEqual([...some.ids], [...all.ids].slice(0, 8));
    const sum = createHash("sha256").update(new Uint8Array(all.ids.buffer)).digest("hex");
    assert.equal(all.sha256, sum);
    assert.notEqual(some.sha256, sum);
  }));

Deno.test("openWindows() takes runs of the text that the seed decides when calibrating", () =>
  withFile("a.txt", counting(400), async (path) => {
    const options = { ...base, samples: 40, seqLen: 8, purpose: "calibration" } as const;
    const a = await openWindows(path, options), b = await openWindows(path, options);
    assert.deepEqual(a, b);
    assert.notEqual((await openWindows(path, { ...options, seed: 2 })).sha256, a.sha256);
    const starts = Array.from({ length: 40 }, (_, i) => a.ids[i * 8]);
    for (let i = 0; i < 40; i++) {
      const window = [...a.ids.slice(i * 8, i * 8 + 8)];
      assert.ok(window.every((id, k) => k === 0 || id === window[k - 1] + 1 || window[k - 1] === 7), window.join(" "));
    }
    const distinct = new Set(starts).size, middle = starts.filter((s) => s > 300).length;
    assert.ok(distinct > 30 && middle > 8 && middle < 32, `${distinct} ${middle}`); // all over the text
  }));

Deno.test("openWindows() can reach the first and the last token when calibrating", () =>
  withFile("a.txt", counting(4), async (path) => {
    const firsts = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      firsts.add((await openWindows(path, { ...base, samples: 1, seed, purpose: "calibration" })).ids[0]);
    }
    assert.deepEqual(firsts, new Set([7, 100]));
  }));

Deno.test("openWindows() gives both counts and what to try when the text is too short", () =>
  withFile("a.txt", counting(10), async (path) => {
    const short =
      /a\.txt: its 11 tokens make 2 windows of 4 where 3 were asked for\. Ask for at most 2 windows, or for windows of 3\./;
    await assert.rejects(openWindows(path, base), refusal("input", short));
    await assert.rejects(openWindows(path, { ...base, purpose: "calibration" }), refusal("input", short));
    const none = /make 0 windows of 100 where 1 were asked for\. Ask for shorter windows, or give a longer text\./;
    await assert.rejects(openWindows(path, { ...base, samples: 0, seqLen: 100 }), refusal("input", none));
  }));

Deno.test("openWindows() refuses when a number does not fit or there is no tokenizer", async () => {
  const bad = (o: Partial<WindowsOptions>, pattern: RegExp) =>
    assert.rejects(openWindows("moby-dick", { ...base, ...o }), refusal("input", pattern));
  await bad({ seqLen: 1 }, /sequence length: 1 is no integer of at least 2/);
  await bad({ seqLen: 2.5 }, /2\.5/);
  await bad({ samples: -1 }, /evaluation samples: -1/);
  await bad({ samples: 0, purpose: "calibration" }, /calibration samples: 0 is no integer of at least 1/);
  await bad({ tokenizer: null }, /the model has no tokenizer/);
});

Deno.test("openWindows() takes ids as they are when given a safetensors file", async () => {
  const dir = await Deno.makeTempDir(), path = `${dir}/ids.safetensors`;
  const write = (dtype: string, shape: number[], data: number[]) =>
    writeSafetensors(path, [{ name: "input_ids", dtype, shape, data }]);
  try {
    await write("I64", [2, 3], [5, 6, 7, 8, 9, 10]);
    const w = await openWindows(path, { ...base, tokenizer: null, samples: 1, seqLen: 512 });
    assert.deepEqual([w.windows, w.length, ...w.ids], [2, 3, 5, 6, 7, 8, 9, 10]);
    const same = w.sha256;
    await write("I32", [2, 3], [5, 6, 7, 8, 9, 10]);
    assert.equal((await openWindows(path, base)).sha256, same);
    await write("I32", [2, 3], [5, 6, 7, 8, -9, 10]);
    await assert.rejects(openWindows(path, base), refusal("format", /input_ids: -9 at \(1, 1\) is no token id/));
    await write("I32", [6], [5, 6, 7, 8, 9, 10]);
    await assert.rejects(openWindows(path, base), refusal("format", /has the shape \[6\].*\(windows, length\)/));
    await write("F32", [2, 3], [5, 6, 7, 8, 9, 10]);
    await assert.rejects(openWindows(path, base), refusal("format", /input_ids: holds F32/));
    await assert.rejects(openWindows(`${dir}/none.safetensors`, base), refusal("storage", /none\.safetensors/));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("openWindows() stops after 256 windows when evaluating c4", () =>
  withFile(
    "c4.jsonl",
    Array.from({ length: 1200 }, () => JSON.stringify({ text: "1 2 3" })).join("\n"),
    async (localCopy) => {
      const w = await openWindows("c4", { ...base, samples: 0, localCopy });
      assert.equal(w.windows, 256);
      assert.deepEqual([...w.ids.slice(0, 5)], [7, 1, 2, 3, 1]);
      await assert.rejects(
        openWindows("c4", { ...base, samples: 257, localCopy }),
        refusal("input", /make 256 windows/),
      );
    },
  ));

Deno.test("openWindows() draws from long documents only, each window from one, when calibrating on c4", () => {
  const line = (from: number, n: number) =>
    JSON.stringify({ text: Array.from({ length: n }, (_, i) => from + i).join(" ") });
  const lines = Array.from({ length: 3000 }, (_, i) => line(1000 * (i + 1), i % 3 === 0 ? 20 : 5));
  return withFile("c4.jsonl", lines.join("\n"), async (localCopy) => {
    const options = { ...base, samples: 20, seqLen: 10, purpose: "calibration", localCopy } as const;
    const w = await openWindows("c4", options);
    assert.deepEqual(w, await openWindows("c4", options));
    const documents = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const window = [...w.ids.slice(i * 10 + 1, i * 10 + 10)];
      const document = Math.floor(window[0] / 1000) - 1;
      assert.equal(document % 3, 0, "a long one");
      assert.ok(window.every((id) => Math.floor(id / 1000) - 1 === document), window.join(" "));
      documents.add(document);
    }
    assert.equal(documents.size, 20);
    assert.ok([...documents].some((d) => d > 1500) && [...documents].some((d) => d < 1500));
    await assert.rejects(
      openWindows("c4", { ...options, seqLen: 50 }),
      refusal("input", /c4 train: only 0 of the \d+ documents tried \(of 3000\) are longer than 50 tokens/),
    );
  });
});
