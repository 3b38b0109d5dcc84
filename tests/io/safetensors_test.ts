import assert from "node:assert/strict";
import { openMemory } from "../../lib/io/bytes.ts";
import { LabError } from "../../lib/io/errors.ts";
import { openSafetensors, readSafetensors } from "../../lib/io/safetensors.ts";
import { safetensorsBytes } from "./safetensors_bytes.ts";

const open = (bytes: Uint8Array) => readSafetensors(openMemory("f", bytes));

function refused(bytes: Uint8Array, message: RegExp) {
  let error: unknown;
  try {
    open(bytes);
  } catch (e) {
    error = e;
  }
  assert.ok(error instanceof LabError, `expected ${message}, got ${error}`);
  assert.deepEqual([error.kind, error.thing], ["format", "f"]);
  assert.match(error.problem, message);
}

/** A header with one tensor "x" of the given fields. */
const one = (fields: string) => `{"x":{${fields}}}`;

Deno.test("readSafetensors() reads a file spelled out byte by byte", async () => {
  const header = `{"w":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"__metadata__":{"a":"b"}}`;
  const file = open(Uint8Array.from([
    ...[0x51, 0, 0, 0, 0, 0, 0, 0], // the header's length, 81
    ...new TextEncoder().encode(header),
    ...[0x00, 0x3c, 0x00, 0xc1], // 1 and -2.5
  ]));
  assert.deepEqual(await file.read("w"), { data: Float32Array.of(1, -2.5), shape: [1, 2] });
  assert.deepEqual(await file.readBytes("w"), Uint8Array.of(0x00, 0x3c, 0x00, 0xc1));
  assert.deepEqual([...file.metadata], [["a", "b"]]);
});

Deno.test("readSafetensors() accepts empty files, scalars, empty tensors, any order, spaces around, odd names", async () => {
  assert.equal(open(safetensorsBytes("{}")).tensors.size, 0);
  assert.equal(open(safetensorsBytes("  {}\n  ")).tensors.size, 0);
  const file = open(safetensorsBytes(
    `{"b":{"dtype":"U8","shape":[],"data_offsets":[2,3]},"e":{"dtype":"F32","shape":[0,4],"data_offsets":[2,2]},` +
      `"__proto__":{"dtype":"I8","shape":[2],"data_offsets":[0,2],"note":"ignored, as Python does"}}`,
    [0xff, 2, 7],
  ));
  assert.deepEqual([...file.tensors.keys()].toSorted(), ["__proto__", "b", "e"]);
  assert.deepEqual(await file.read("b"), { data: Float32Array.of(7), shape: [] });
  assert.deepEqual(await file.read("e"), { data: new Float32Array(0), shape: [0, 4] });
  assert.deepEqual((await file.read("__proto__")).data, Float32Array.of(-1, 2));
});

Deno.test("readSafetensors() refuses a file shorter than its first eight bytes", () => {
  refused(new Uint8Array(0), /is 0 bytes long/);
  refused(Uint8Array.of(2, 0, 0, 0, 0, 0, 0), /is 7 bytes long/);
});

Deno.test("readSafetensors() refuses a header longer than the cap or the file, before allocating", () => {
  refused(Uint8Array.of(0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, 0x7b, 0x7d), /header of 100000001 bytes, more than/);
  refused(Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255), /header of 18446744073709551615 bytes/);
  refused(Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d), /header of 3 bytes in a file of 10/);
});

Deno.test("readSafetensors() refuses a header that is not UTF-8, not JSON, or not an object", () => {
  refused(Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x22, 0xff, 0x7d), /not UTF-8/);
  refused(safetensorsBytes(""), /not strict JSON: the text ends too early/);
  refused(safetensorsBytes("{"), /not strict JSON/);
  refused(safetensorsBytes("\ufeff{}"), /not strict JSON/);
  refused(safetensorsBytes("{} x"), /not strict JSON/);
  refused(safetensorsBytes("[]"), /not a JSON object/);
  refused(safetensorsBytes(`{"x":[]}`), /entry of "x" is not an object/);
});

Deno.test("readSafetensors() refuses two equal keys at any depth", () => {
  const x = `"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}`;
  refused(safetensorsBytes(`{${x},${x}}`, [1]), /the key "x" appears twice/);
  refused(safetensorsBytes(one(`"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]`), [1]), /key "dtype"/);
  refused(safetensorsBytes(`{"__metadata__":{"a":"1","a":"2"}}`), /key "a"/);
});

Deno.test("readSafetensors() refuses metadata that is no object of strings", () => {
  refused(safetensorsBytes(`{"__metadata__":"a"}`), /entry of "__metadata__" is not an object/);
  refused(safetensorsBytes(`{"__metadata__":{"a":1}}`), /metadata of "a" is not a string/);
});

Deno.test("readSafetensors() refuses an unknown or missing type", () => {
  refused(safetensorsBytes(one(`"dtype":"F128","shape":[],"data_offsets":[0,16]`), new Uint8Array(16)), /"F128"/);
  refused(safetensorsBytes(one(`"dtype":"f32","shape":[],"data_offsets":[0,4]`), new Uint8Array(4)), /"f32"/);
  refused(safetensorsBytes(one(`"shape":[],"data_offsets":[0,4]`), new Uint8Array(4)), /dtype of tensor "x" is not/);
});

Deno.test("readSafetensors() refuses dimensions and offsets that are not written as integers of 0 or more", () => {
  for (const bad of ["1.0", "1e0", "-1", "-0", `"1"`, "null", "[1]", "true"]) {
    refused(
      safetensorsBytes(one(`"dtype":"U8","shape":[${bad}],"data_offsets":[0,1]`), [1]),
      /shape of tensor "x" holds/,
    );
    refused(
      safetensorsBytes(one(`"dtype":"U8","shape":[1],"data_offsets":[0,${bad}]`), [1]),
      /data_offsets of .* holds/,
    );
  }
  refused(safetensorsBytes(one(`"dtype":"U8","data_offsets":[0,1]`), [1]), /shape of tensor "x" is not a list/);
  refused(safetensorsBytes(one(`"dtype":"U8","shape":[1],"data_offsets":[0]`), [1]), /has 1 values instead of 2/);
  refused(safetensorsBytes(one(`"dtype":"U8","shape":[1],"data_offsets":[0,1,2]`), [1]), /has 3 values instead of 2/);
});

Deno.test("readSafetensors() refuses numbers and products beyond 2^53 - 1", () => {
  const x = (shape: string, end = "1") =>
    safetensorsBytes(one(`"dtype":"U8","shape":[${shape}],"data_offsets":[0,${end}]`), [1]);
  refused(x("9007199254740993"), /holds 9007199254740993, more than 2\^53/);
  refused(x("1", "9007199254740993"), /holds 9007199254740993, more than 2\^53/);
  refused(x("4294967296,4294967296"), /more than 2\^53 − 1 bytes/); // 2^64: 0 in 64 bits
  refused(x("4294967296,4294967296,0"), /more than 2\^53 − 1 bytes/); // Rust's checked product refuses it too
  refused(x(new Array(100_000).fill("2").join(",")), /more than 2\^53 − 1 bytes/); // must not take long
});

Deno.test("readSafetensors() refuses a span that is not elements times size", () => {
  const x = (shape: string, end: number) =>
    safetensorsBytes(one(`"dtype":"F32","shape":[${shape}],"data_offsets":[0,${end}]`), new Uint8Array(end));
  refused(x("2", 4), /F32 \[2\] needs 8 bytes, its span has 4/);
  refused(x("1", 8), /F32 \[1\] needs 4 bytes, its span has 8/);
  refused(x("1", 3), /needs 4 bytes, its span has 3/);
  refused(x("0", 4), /needs 0 bytes, its span has 4/);
});

Deno.test("readSafetensors() refuses spans that run backwards, leave the file, overlap, leave holes or a tail", () => {
  const u8 = (name: string, begin: number, end: number) =>
    `"${name}":{"dtype":"U8","shape":[${Math.abs(end - begin)}],"data_offsets":[${begin},${end}]}`;
  refused(safetensorsBytes(`{${u8("x", 2, 1)}}`, [1, 2]), /end \(1\) before they begin \(2\)/);
  refused(safetensorsBytes(`{${u8("x", 0, 3)}}`, [1, 2]), /end at 3, the file holds 2 bytes/);
  refused(safetensorsBytes(`{${u8("x", 0, 2)},${u8("y", 1, 3)}}`, [1, 2, 3]), /"y" overlaps the one before it by 1/);
  refused(safetensorsBytes(`{${u8("x", 0, 2)},${u8("y", 0, 2)}}`, [1, 2]), /"y" overlaps the one before it by 2/);
  refused(safetensorsBytes(`{${u8("x", 1, 2)}}`, [1, 2]), /1 bytes before tensor "x" belong to no tensor/);
  refused(safetensorsBytes(`{${u8("x", 0, 1)},${u8("y", 2, 3)}}`, [1, 2, 3]), /1 bytes before tensor "y"/);
  refused(safetensorsBytes(`{${u8("x", 0, 1)}}`, [1, 0x50, 0x4b]), /2 bytes after the last tensor/); // a polyglot's tail
  refused(safetensorsBytes("{}", [0]), /1 bytes after the last tensor/);
});

Deno.test("read() and readInts() name what is missing, of another type, or too large", async () => {
  const file = open(safetensorsBytes(
    `{"i":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"f8":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[16,17]}}`,
    [...new Uint8Array(BigInt64Array.of(5n, 2n ** 40n).buffer), 1],
  ));
  const problem = (message: RegExp) => (e: unknown) =>
    e instanceof LabError && e.kind === "format" && message.test(e.message);
  await assert.rejects(file.read("j"), problem(/f: has no tensor "j"\. It has i, f8/));
  await assert.rejects(file.read("f8"), problem(/f: f8: is stored as F8_E4M3\. The lab computes with F64, F32/));
  assert.deepEqual(await file.readBytes("f8"), Uint8Array.of(1));
  assert.deepEqual((await file.read("i")).data, Float32Array.of(5, 2 ** 40));
  assert.throws(() => file.readInts("i"), problem(/f: i: its value at index 1 does not fit in 32 bits/));
  assert.throws(() => file.readInts("f8"), problem(/f: f8: holds F8_E4M3 where integers were expected/));
});

Deno.test("openSafetensors() closes the file that it refuses", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeFile(path, safetensorsBytes("[]"));
  assert.throws(() => openSafetensors(path), LabError); // the test runner reports a file left open
  await Deno.remove(path);
});
