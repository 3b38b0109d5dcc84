import assert from "node:assert/strict";
import { ONNX_FLOAT, onnxModel } from "../../../lib/lab/bench/onnx_model.ts";

type Fields = Map<number, (number | Uint8Array)[]>;

/** Protobuf's wire format, read back: numbers as they are, everything else as bytes. */
function read(bytes: Uint8Array): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint(), kind = key & 7;
    assert.ok(kind === 0 || kind === 2, `wire type ${kind}`);
    const value = varint();
    fields.set(key >> 3, [...fields.get(key >> 3) ?? [], kind === 0 ? value : bytes.subarray(at, at += value)]);
  }
  assert.equal(at, bytes.length);
  return fields;
}

const inner = (f: Fields, number: number, i = 0) => read(f.get(number)![i] as Uint8Array);
const text = (v: number | Uint8Array) => new TextDecoder().decode(v as Uint8Array);

Deno.test("onnxModel() writes one node with its constant, attribute, inputs and shapes", () => {
  const data = new Uint8Array(Float32Array.from({ length: 300 }, (_, i) => i).buffer);
  const model = read(onnxModel({
    operator: "MatMulNBits",
    domain: "com.microsoft",
    attributes: { K: 300 },
    inputs: [{ name: "x", shape: [1, 300] }],
    constants: [{ name: "w", type: ONNX_FLOAT, shape: [300, 1], data }],
    output: [1, 1],
  }));
  assert.deepEqual(model.get(1), [9]);
  assert.deepEqual([0, 1].map((i) => inner(model, 8, i).get(2)![0]), [17, 1]);
  const graph = inner(model, 7), node = inner(graph, 1);
  assert.deepEqual(node.get(1)!.map(text), ["x", "w"]);
  assert.deepEqual([text(node.get(2)![0]), text(node.get(4)![0]), text(node.get(7)![0])], [
    "y",
    "MatMulNBits",
    "com.microsoft",
  ]);
  const attribute = inner(node, 5);
  assert.deepEqual([text(attribute.get(1)![0]), attribute.get(3), attribute.get(20)], ["K", [300], [2]]);
  const constant = inner(graph, 5);
  assert.deepEqual([constant.get(1), constant.get(2), text(constant.get(8)![0])], [[300, 1], [1], "w"]);
  assert.deepEqual(constant.get(9)![0], data);
  const tensor = inner(inner(inner(graph, 11), 2), 1);
  assert.equal(tensor.get(1)![0], ONNX_FLOAT);
  assert.deepEqual(inner(tensor, 2).get(1)!.map((d) => read(d as Uint8Array).get(1)![0]), [1, 300]);
});
