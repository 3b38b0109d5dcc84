import assert from "node:assert/strict";
import { openMemory } from "../../lib/io/bytes.ts";
import { LabError } from "../../lib/io/errors.ts";
import { openGguf, readGguf } from "../../lib/io/gguf.ts";
import { inTempFolder, runPython } from "../python.ts";
import { Bytes, ggufBytes, head, key, type TensorBytes, TYPES } from "./gguf_bytes.ts";

const open = (bytes: Uint8Array) => readGguf(openMemory("f", bytes));

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

const F32 = 0, Q8_0 = 8;
const tensor = (change: Partial<TensorBytes> = {}): TensorBytes => ({
  name: "x",
  dims: [2],
  type: F32,
  data: new Uint8Array(8),
  ...change,
});

Deno.test("readGguf() reads a file spelled out byte by byte", async () => {
  const file = open(Uint8Array.from([
    ...[0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0], // "GGUF", version 3
    ...[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // one tensor, one key
    ...[1, 0, 0, 0, 0, 0, 0, 0, 0x6b, 4, 0, 0, 0, 7, 0, 0, 0], // "k": unsigned 32 bits, 7
    ...[1, 0, 0, 0, 0, 0, 0, 0, 0x77, 2, 0, 0, 0], // "w", two dimensions:
    ...[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // 2 (fastest) by 1
    ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // F32, at offset 0
    ...new Array(14).fill(0), // 82 bytes so far, aligned to 32: 96
    ...[0, 0, 128, 63, 0, 0, 32, 192], // 1, -2.5
  ]));
  assert.equal(file.version, 3);
  assert.deepEqual([...file.metadata], [["k", 7]]);
  assert.deepEqual(await file.read("w"), { data: Float32Array.of(1, -2.5), shape: [1, 2] });
});

Deno.test("readGguf() reads every type of value, alone and in lists", () => {
  const scalars: [number, (b: Bytes) => unknown, unknown][] = [
    [TYPES.U8, (b) => b.raw(255), 255],
    [TYPES.I8, (b) => b.raw(255), -1],
    [TYPES.U16, (b) => b.raw(1, 2), 513],
    [TYPES.I16, (b) => b.raw(254, 255), -2],
    [TYPES.U32, (b) => b.u32(0xfffffffe), 0xfffffffe],
    [TYPES.I32, (b) => b.u32(0xfffffffe), -2],
    [TYPES.F32, (b) => b.f32(-0.5), -0.5],
    [TYPES.BOOL, (b) => b.raw(1), true],
    [TYPES.STRING, (b) => b.string("é▁\0"), "é▁\0"],
    [TYPES.U64, (b) => b.u64(2n ** 53n), 2n ** 53n],
    [TYPES.U64, (b) => b.u64(2n ** 53n - 1n), 2 ** 53 - 1],
    [TYPES.I64, (b) => b.u64(-3), -3],
    [TYPES.F64, (b) => b.raw(0, 0, 0, 0, 0, 0, 0xe0, 0x3f), 0.5],
  ];
  for (const [type, write, expected] of scalars) {
    const alone = open(ggufBytes([(b) => write(b.string("k").u32(type))], []));
    assert.equal(alone.metadata.get("k"), expected);
    const list = open(ggufBytes([(b) => write(b.string("k").u32(TYPES.ARRAY, type).u64(1))], []));
    const values = Array.from(list.metadata.get("k") as ArrayLike<unknown>);
    assert.equal(values.length, 1);
    assert.equal(
      typeof values[0] === "bigint" ? Number(values[0]) : values[0],
      typeof expected === "bigint" ? Number(expected) : expected,
    );
  }
});

Deno.test("readGguf() reads version 2, another alignment, scalars, no tensors, unsorted offsets", async () => {
  assert.equal(open(ggufBytes([], [], { version: 2 })).version, 2);
  const aligned = ggufBytes([key("general.alignment", { u32: 8 })], [
    tensor({ data: [...new Uint8Array(4), 0, 0, 128, 63] }),
  ], { alignment: 8 });
  assert.deepEqual((await open(aligned).read("x")).data, Float32Array.of(0, 1));
  const unsorted = ggufBytes([], [
    tensor({ name: "a", offset: 32 }),
    tensor({ name: "b", offset: 0, data: [0, 0, 128, 63, 0, 0, 0, 0] }),
  ]);
  const swapped = unsorted.slice();
  swapped.set(unsorted.subarray(unsorted.length - 8), unsorted.length - 40);
  assert.deepEqual((await open(swapped).read("b")).data, Float32Array.of(1, 0));
  assert.deepEqual((await open(ggufBytes([], [tensor({ dims: [], data: new Uint8Array(4) })])).read("x")).shape, []);
});

Deno.test("readGguf() refuses a file that is too short, has another magic word, version or byte order", () => {
  refused(new Uint8Array(0), /is 0 bytes long/);
  refused(head(0, 0).done().subarray(0, 23), /is 23 bytes long/);
  refused(Uint8Array.from(head(0, 0).done()).with(3, 0x4c), /does not begin with "GGUF"/);
  for (const version of [0, 1, 4, 0xffffffff]) refused(head(0, 0, version).done(), /has version/);
  refused(head(0, 0, 0x03000000).done(), /big-endian/);
});

Deno.test("readGguf() refuses counts and lengths beyond the bytes present, before it loops or allocates", () => {
  refused(head(-1, 0).done(), /number of tensors is 18446744073709551615, too many/);
  refused(head(0, -1).done(), /number of keys is 18446744073709551615, too many/);
  refused(head(1, 0).done(), /number of tensors is 1, too many for the 8 bytes/);
  refused(head(0, 2).string("k").u32(TYPES.U8).raw(1).done(), /number of keys is 2, too many/);
  refused(head(0, 1).u64(1000).raw(...new Array(20)).done(), /length of the name of key 0 is 1000, too many/);
  const value = (...rest: ((b: Bytes) => Bytes)[]) => rest.reduce((b, f) => f(b), head(0, 1).string("k")).done();
  refused(value((b) => b.u32(TYPES.STRING).u64(1n << 40n)), /length of "k" is 1099511627776, too many/);
  refused(value((b) => b.u32(TYPES.ARRAY, TYPES.F64).u64(1n << 61n)), /length of "k" is 2305843009213693952, too many/);
  refused(value((b) => b.u32(TYPES.ARRAY, TYPES.STRING).u64(2).string("a")), /length of "k" is 2, too many/);
  refused(value((b) => b.u32(TYPES.ARRAY, TYPES.U8).u64(5).raw(1, 2, 3, 4)), /length of "k" is 5, too many/);
  refused(value((b) => b.u32(TYPES.U64).raw(1, 2, 3, 4)), /"k" needs 8 bytes at 37, the file ends after 4/);
});

Deno.test("readGguf() refuses names that are empty, too long, doubled, or not UTF-8", () => {
  refused(ggufBytes([key("", "v")], []), /the name of key 0 is empty/);
  refused(ggufBytes([key("a".repeat(65536), "v")], []), /is 65536 bytes long, more than the 65535/);
  refused(ggufBytes([key("k", "v"), key("k", "w")], []), /the key "k" appears twice/);
  refused(head(0, 1).u64(1).raw(0xff).u32(TYPES.U8).raw(1).done(), /the name of key 0 is not UTF-8/);
  refused(ggufBytes([(b) => b.string("k").u32(TYPES.STRING).u64(1).raw(0x80)], []), /"k" is not UTF-8/);
  refused(ggufBytes([], [tensor({ name: "" })]), /the name of tensor 0 is empty/);
  refused(ggufBytes([], [tensor(), tensor()]), /two tensors are named "x"/);
});

Deno.test("readGguf() refuses values of unknown types, lists of lists, and booleans that are neither", () => {
  refused(ggufBytes([(b) => b.string("k").u32(13).raw(1)], []), /"k" has the unknown type 13/);
  refused(ggufBytes([(b) => b.string("k").u32(TYPES.ARRAY, 13).u64(0)], []), /array of the unknown type 13/);
  refused(ggufBytes([(b) => b.string("k").u32(TYPES.ARRAY, TYPES.ARRAY).u64(0)], []), /array of arrays/);
  refused(ggufBytes([(b) => b.string("k").u32(TYPES.BOOL).raw(2)], []), /"k" is 2, neither true nor false/);
});

Deno.test("readGguf() refuses an alignment of another type or no power of two", () => {
  for (const u32 of [0, 3, 48]) refused(ggufBytes([key("general.alignment", { u32 })], []), /not a power of 2/);
  refused(ggufBytes([key("general.alignment", "32")], []), /is not an unsigned integer of 32 bits/);
  const wide = (b: Bytes) => b.string("general.alignment").u32(TYPES.U64).u64(32);
  refused(ggufBytes([wide], []), /is not an unsigned integer of 32 bits/);
  refused(ggufBytes([key("general.alignment", { u32: 2 ** 31 })], [tensor()], { alignment: 32 }), /the file ends at/);
});

Deno.test("readGguf() refuses shapes that are too many, zero, overflowing, or no whole blocks", () => {
  refused(ggufBytes([], [tensor({ dims: [1, 1, 1, 1, 2] })]), /has 5 dimensions, more than 4/);
  refused(ggufBytes([], [tensor({ dims: [2, 0] })]), /has a dimension of 0/);
  refused(ggufBytes([], [tensor({ dims: [-1] })]), /a dimension of "x" is 18446744073709551615, more than/);
  refused(ggufBytes([], [tensor({ dims: [2n ** 32n, 2n ** 32n] })]), /has more than 2\^53/); // 2^64: 0 in 64 bits
  refused(
    ggufBytes([], [tensor({ dims: [33], type: Q8_0, data: new Uint8Array(68) })]),
    /rows of 33, Q8_0 stores blocks of 32/,
  );
  refused(ggufBytes([], [tensor({ dims: [16, 2], type: Q8_0, data: new Uint8Array(34) })]), /rows of 16, Q8_0/);
  for (const type of [4, 5, 31, 36, 1000]) refused(ggufBytes([], [tensor({ type })]), /has the unknown type/);
});

Deno.test("readGguf() refuses tensors that are unaligned, outside the file, or overlap", () => {
  refused(ggufBytes([], [tensor({ offset: 4, data: new Uint8Array(64) })]), /begins at 4, not a multiple of 32/);
  refused(ggufBytes([], [tensor({ data: new Uint8Array(7) })]), /"x" needs 8 bytes at 64, the file ends at 71/);
  refused(ggufBytes([], [tensor({ dims: [2n ** 50n] })]), /"x" needs 4503599627370496 bytes/);
  refused(ggufBytes([], [tensor({ offset: 2n ** 52n })]), /the file ends at/);
  refused(ggufBytes([], [tensor({ offset: -32 })]), /the offset of "x" is 18446744073709551584/);
  refused(
    ggufBytes([], [tensor({ dims: [9], data: new Uint8Array(36) }), tensor({ name: "y", offset: 32 })]),
    /"x" and "y" overlap/,
  );
});

Deno.test("read() names a tensor that is missing or of a type that the lab cannot compute with", async () => {
  const IQ4_NL = 20, file = open(ggufBytes([], [tensor({ dims: [32], type: IQ4_NL, data: new Uint8Array(18) })]));
  await assert.rejects(file.read("y"), /f: has no tensor "y"\. It has x/);
  await assert.rejects(file.read("x"), /f: x: is stored as IQ4_NL\. The lab reads F32, F16, Q4_0/);
  assert.equal((await file.readBytes("x")).length, 18);
});

Deno.test("openGguf() reads what Python's GGUFWriter wrote", async () => {
  const script = `
import sys, numpy as np
from gguf import GGUFWriter
w = GGUFWriter(sys.argv[1], "llama")
w.add_block_count(2); w.add_rope_freq_base(10000.5); w.add_bool("b", True); w.add_array("words", ["x", "yé", ""]); w.add_array("ints", [1, -2])
w.add_uint64("big", 2**60); w.add_custom_alignment(64)
w.add_tensor("m", np.arange(6, dtype=np.float32).reshape(2, 3)); w.add_tensor("h", np.array([0.5, -1], dtype=np.float16)); w.add_tensor("i", np.array([[7], [8]], dtype=np.int32))
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()`;
  await inTempFolder(async (folder) => {
    await runPython(script, `${folder}/a.gguf`);
    const file = openGguf(`${folder}/a.gguf`);
    assert.equal(file.label, "a.gguf");
    assert.deepEqual(Object.fromEntries(file.metadata), {
      "general.architecture": "llama",
      "llama.block_count": 2,
      "llama.rope.freq_base": 10000.5,
      b: true,
      words: ["x", "yé", ""],
      ints: Int32Array.of(1, -2),
      big: 2n ** 60n,
      "general.alignment": 64,
    });
    assert.deepEqual(await file.read("m"), { data: Float32Array.of(0, 1, 2, 3, 4, 5), shape: [2, 3] });
    assert.deepEqual(await file.read("h"), { data: Float32Array.of(0.5, -1), shape: [2] });
    assert.deepEqual(await file.read("i"), { data: Float32Array.of(7, 8), shape: [2, 1] });
    file.close();
  });
});
