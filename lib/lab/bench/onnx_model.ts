// The smallest ONNX file that holds one node: what onnxruntime, a peer in the table, takes as its input. Written by hand because
// the format is a dozen protobuf fields here, and the packages that write it bring code generated for all of ONNX.

/** Element types of ONNX's TensorProto. */
export const ONNX_FLOAT = 1, ONNX_UINT8 = 2;

/** A constant of the graph. */
export interface OnnxConstant {
  readonly name: string;
  readonly type: number;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** One node: `input` (shape) and constants in, `output` (shape) out, all float32 but for constants. */
export interface OnnxNode {
  readonly operator: string;
  /** "" for ONNX's own operators, else "com.microsoft". */
  readonly domain: string;
  readonly attributes: Readonly<Record<string, number>>;
  readonly inputs: readonly { readonly name: string; readonly shape: readonly number[] }[];
  readonly constants: readonly OnnxConstant[];
  readonly output: readonly number[];
}

type Field = readonly [number: number, value: number | string | Uint8Array];

/**
 * A model of one node as the bytes of an .onnx file.
 *
 * @param node its inputs come first, its constants behind them; its output is named "y".
 * @returns ModelProto, serialized.
 * Source: onnx.proto3 of ONNX 1.16 (IR version 9); protobuf's wire format.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { onnxModel } from "./onnx_model.ts";
 * const bytes = onnxModel({
 *   operator: "Relu", domain: "", attributes: {}, inputs: [{ name: "x", shape: [1, 2] }], constants: [], output: [1, 2],
 * });
 * assert.deepEqual([...bytes.subarray(0, 2)], [8, 9]); // field 1, a number: IR version 9
 * ```
 */
export function onnxModel(node: OnnxNode): Uint8Array<ArrayBuffer> {
  const value = (name: string, shape: readonly number[]) => {
    const dims = shape.map((n): Field => [1, message([[1, n]])]);
    return message([[1, name], [2, message([[1, message([[1, ONNX_FLOAT], [2, message(dims)]])]])]]);
  };
  const graph = message([
    [
      1,
      message([
        ...[...node.inputs, ...node.constants].map((v): Field => [1, v.name]),
        [2, "y"],
        [4, node.operator],
        ...Object.entries(node.attributes).map(([name, i]): Field => [5, message([[1, name], [3, i], [20, 2]])]),
        [7, node.domain],
      ]),
    ],
    [2, "bench"],
    ...node.constants.map((c): Field => [
      5,
      message([...c.shape.map((n): Field => [1, n]), [2, c.type], [8, c.name], [9, c.data]]),
    ]),
    ...node.inputs.map((v): Field => [11, value(v.name, v.shape)]),
    [12, value("y", node.output)],
  ]);
  return message([
    [1, 9],
    [7, graph],
    [8, message([[1, ""], [2, 17]])],
    [8, message([[1, "com.microsoft"], [2, 1]])],
  ]);
}

/** Fields one after another: numbers as varints, texts and bytes with their length before them. */
function message(fields: readonly Field[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (const [number, value] of fields) {
    if (typeof value === "number") parts.push(varint(number << 3), varint(value));
    else {
      const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
      parts.push(varint(number << 3 | 2), varint(bytes.length), bytes);
    }
  }
  const out = new Uint8Array(parts.reduce((a, p) => a + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push(value % 128 | 128);
  bytes.push(value);
  return Uint8Array.from(bytes);
}
