import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { inTempFolder, runPython } from "../python.ts";
import { safetensorsBytes } from "./safetensors_bytes.ts";

const x = `"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}`;
const two = [1, 2];

/** [name, bytes, our verdict, the verdict of Python's safetensors 0.8.0]; where they differ, the name says which rule. */
const FILES: [string, Uint8Array<ArrayBuffer>, "read" | "refused", "read" | "refused"][] = [
  ["plain", safetensorsBytes(`{${x}}`, two), "read", "read"],
  ["empty", safetensorsBytes("{}"), "read", "read"],
  ["spaces behind", safetensorsBytes(`{${x}}    `, two), "read", "read"],
  ["spaces before", safetensorsBytes(`  {${x}}`, two), "read", "read"],
  [
    "scalar",
    safetensorsBytes(`{"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, [0, 0, 128, 63]),
    "read",
    "read",
  ],
  ["no elements", safetensorsBytes(`{"x":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}`), "read", "read"],
  [
    "an unknown field",
    safetensorsBytes(`{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"more":1}}`, two),
    "read",
    "read",
  ],
  ["metadata of strings", safetensorsBytes(`{"__metadata__":{"a":"b"},${x}}`, two), "read", "read"],
  ["metadata with a number", safetensorsBytes(`{"__metadata__":{"a":1},${x}}`, two), "refused", "refused"],
  [
    "a dimension 2.0",
    safetensorsBytes(`{"x":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}}`, two),
    "refused",
    "refused",
  ],
  [
    "a negative dimension",
    safetensorsBytes(`{"x":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}}`, two),
    "refused",
    "refused",
  ],
  ["a tail", safetensorsBytes(`{${x}}`, [1, 2, 3]), "refused", "refused"],
  ["a hole", safetensorsBytes(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, two), "refused", "refused"],
  [
    "an overlap",
    safetensorsBytes(`{${x},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, [1, 2, 3]),
    "refused",
    "refused",
  ],
  [
    "a span too long",
    safetensorsBytes(`{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,2]}}`, two),
    "refused",
    "refused",
  ],
  [
    "a product beyond 64 bits",
    safetensorsBytes(`{"x":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`),
    "refused",
    "refused",
  ],
  [
    "an unknown type",
    safetensorsBytes(`{"x":{"dtype":"U7","shape":[2],"data_offsets":[0,2]}}`, two),
    "refused",
    "refused",
  ],
  ["no JSON", safetensorsBytes("{x}"), "refused", "refused"],
  ["no UTF-8", Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x22, 0xff, 0x7d), "refused", "refused"],
  ["a header longer than the file", Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d), "refused", "refused"],
  ["DIFFERS: the same tensor twice", safetensorsBytes(`{${x},${x}}`, two), "refused", "read"],
  [
    "DIFFERS: the same tensor twice, of two types",
    safetensorsBytes(`{"x":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},${x}}`, two),
    "refused",
    "read",
  ],
  [
    "DIFFERS: the same metadata key twice",
    safetensorsBytes(`{"__metadata__":{"a":"1","a":"2"},${x}}`, two),
    "refused",
    "read",
  ],
];

const VERDICTS = `
import json, os, sys
from safetensors import safe_open
out = {}
for name in os.listdir(sys.argv[1]):
    try:
        with safe_open(os.path.join(sys.argv[1], name), framework="numpy") as f:
            out[name] = {k: f.get_tensor(k).astype("float64").flatten().tolist() for k in f.keys()}
    except Exception as e:
        out[name] = None
print(json.dumps(out))
`;

Deno.test("readSafetensors() and Python's reader agree on crafted files, but for the listed differences", async () => {
  await inTempFolder(async (folder) => {
    for (const [i, [, bytes]] of FILES.entries()) await Deno.writeFile(`${folder}/${i}`, bytes);
    const python = JSON.parse(await runPython(VERDICTS, folder)) as Record<string, Record<string, number[]> | null>;
    for (const [i, [name, , ours, theirs]] of FILES.entries()) {
      assert.equal(python[i] === null ? "refused" : "read", theirs, `Python on "${name}"`);
      assert.equal(theirs !== ours, name.startsWith("DIFFERS"), name);
      let file;
      try {
        file = openSafetensors(`${folder}/${i}`);
      } catch (error) {
        assert.ok(error instanceof LabError, name);
      }
      assert.equal(file ? "read" : "refused", ours, `ours on "${name}"`);
      if (!file) continue;
      const values: Record<string, number[]> = {};
      for (const tensor of file.tensors.keys()) values[tensor] = [...(await file.read(tensor)).data];
      assert.deepEqual(values, python[i], name);
      file.close();
    }
  });
});
