import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { rng } from "../../lib/io/rng.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { type TensorToWrite, writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { inTempFolder, runPython } from "../python.ts";

const NUMPY = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  I64: "int64",
  I32: "int32",
  I16: "int16",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
};

/** Reads a file with Python's library and prints each tensor as [type, shape, values]; writes it again under another name. */
const ROUND_TRIP = `
import json, sys
from safetensors import safe_open
from safetensors.numpy import save_file
with safe_open(sys.argv[1], framework="numpy") as f:
    tensors = {k: f.get_tensor(k) for k in f.keys()}
    print(json.dumps({"meta": f.metadata(), "tensors": {k: [str(v.dtype), list(v.shape), v.astype("float64").flatten().tolist()] for k, v in tensors.items()}}))
save_file(tensors, sys.argv[2], metadata={"by": "python"})
`;

Deno.test("writeSafetensors() and Python's library read each other's files, every type, twenty seeded cases", async () => {
  const random = rng(1, "safetensors round trip");
  const tensors: TensorToWrite[] = [], expected: Record<string, [string, number[], number[]]> = {};
  for (let i = 0; i < 20; i++) {
    const dtype = Object.keys(NUMPY)[i % 9] as keyof typeof NUMPY;
    const shape = Array.from({ length: random.int(4) }, () => random.int(5));
    const n = shape.reduce((a, b) => a * b, 1);
    const data = Array.from({ length: n }, () => {
      if (dtype === "BOOL") return random.int(2);
      if (dtype === "U8") return random.int(256);
      return dtype.startsWith("I") ? random.int(200) - 100 : Math.fround((random.int(2048) - 1024) / 64);
    });
    tensors.push({ name: `t.${i}é`, dtype, shape, data });
    expected[`t.${i}é`] = [NUMPY[dtype], shape, data];
  }
  await inTempFolder(async (folder) => {
    await writeSafetensors(`${folder}/ours`, tensors, { format: "pt", "ключ": "wert" });
    const out = JSON.parse(await runPython(ROUND_TRIP, `${folder}/ours`, `${folder}/theirs`));
    assert.deepEqual(out, { meta: { format: "pt", "ключ": "wert" }, tensors: expected });
    const theirs = openSafetensors(`${folder}/theirs`);
    assert.deepEqual([...theirs.metadata], [["by", "python"]]);
    for (const [name, [, shape, values]] of Object.entries(expected)) {
      const read = await theirs.read(name);
      assert.deepEqual([read.shape, [...read.data]], [shape, values]);
    }
    theirs.close();
  });
});

Deno.test("writeSafetensors() gives the same aligned bytes in whatever order the tensors come", async () => {
  const tensors: TensorToWrite[] = [
    { name: "b", dtype: "U8", shape: [3], bytes: Uint8Array.of(1, 2, 3) },
    { name: "a", dtype: "BF16", shape: [1], data: [1] },
    { name: "7", dtype: "F32", shape: [2], data: () => Promise.resolve(Float32Array.of(1, 2)) },
    { name: "__proto__", dtype: "I64", shape: [1], data: () => [-9] },
  ];
  await inTempFolder(async (folder) => {
    await writeSafetensors(`${folder}/1`, tensors);
    await writeSafetensors(`${folder}/2`, tensors.toReversed());
    const bytes = await Deno.readFile(`${folder}/1`);
    assert.deepEqual(bytes, await Deno.readFile(`${folder}/2`));
    assert.equal(new DataView(bytes.buffer).getUint32(0, true) % 8, 0);
    const file = openSafetensors(`${folder}/1`);
    assert.deepEqual([...file.tensors.keys()], ["__proto__", "7", "a", "b"]); // wide types first
    assert.deepEqual(file.readInts("__proto__").data, Int32Array.of(-9));
    file.close();
  });
});

Deno.test("writeSafetensors() refuses what does not fit and leaves nothing behind, not even a temporary file", async () => {
  const t = (change: Partial<TensorToWrite>): TensorToWrite => ({
    name: "x",
    dtype: "F32",
    shape: [2],
    data: [1, 2],
    ...change,
  });
  const cases: [TensorToWrite[], RegExp][] = [
    [[t({}), t({})], /two tensors are named "x"/],
    [[t({ dtype: "F31" })], /x: cannot be stored as "F31"/],
    [[t({ name: "__metadata__" })], /the format's own key/],
    [[t({ name: "\ud800" })], /not well-formed/],
    [[t({ shape: [-1] })], /no valid shape \[-1\]/],
    [[t({ shape: [2 ** 30, 2 ** 30] })], /no valid shape/],
    [[t({ shape: [3] })], /shape \[3\] needs 3 values, got 2/],
    [[{ name: "x", dtype: "F32", shape: [2], bytes: new Uint8Array(7) }], /needs 8 bytes, got 7/],
    [[{ name: "x", dtype: "F32", shape: [2] }], /needs either bytes or data/],
    [[t({ dtype: "F8_E4M3" })], /F8_E4M3 only from bytes/],
    [[t({ dtype: "U8", data: [1, 256] })], /256 at index 1 is no integer that U8 can hold/],
    [[t({ dtype: "I64", data: [1, 0.5] })], /0.5 at index 1 is no integer/],
    [[t({ dtype: "I8", data: [NaN, 0] })], /NaN at index 0/],
    [[t({ dtype: "BOOL", data: [1, 2] })], /2 at index 1/],
  ];
  await inTempFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/f`, "before");
    for (const [tensors, message] of cases) {
      await assert.rejects(
        writeSafetensors(`${folder}/f`, tensors),
        (e) => e instanceof LabError && e.kind === "input" && message.test(e.message),
        `${message}`,
      );
    }
    const boom = new Error("boom");
    await assert.rejects(writeSafetensors(`${folder}/f`, [t({ data: () => Promise.reject(boom) })]), boom);
    assert.equal(await Deno.readTextFile(`${folder}/f`), "before");
    assert.deepEqual([...Deno.readDirSync(folder)].map((e) => e.name), ["f"]);
  });
});

Deno.test("writeSafetensors() says so when the folder is missing or cannot be written", async () => {
  await inTempFolder(async (folder) => {
    const storage = (e: unknown) => e instanceof LabError && e.kind === "storage";
    await assert.rejects(writeSafetensors(`${folder}/no/f`, []), storage);
    await Deno.writeTextFile(`${folder}/file`, "");
    await assert.rejects(writeSafetensors(`${folder}/file/f`, []), storage);
  });
});
