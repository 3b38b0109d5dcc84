import assert from "node:assert/strict";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { NO_REPORT, type QuantizedLayer } from "../../lib/quant/layer.ts";
import { packedEntry, packedTensors, readPacked } from "../../lib/lab/packed.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { inTempFolder } from "../python.ts";

interface Example {
  rows: number;
  cols: number;
  bits: number;
  groupSize: number;
  weakIds: number[];
  codes: number[][];
  zero: number[][];
  scale: number[][];
  weak: number[][];
  "words of codes": string[];
  "words of zero": string[];
  weights: number[][];
}

const page = await Deno.readTextFile(new URL("../../lib/lab/PACKED.md", import.meta.url));
const example = JSON.parse(/```json\n([\s\S]*?)```/.exec(page)![1]) as Example;

function exampleLayer(): QuantizedLayer {
  const { rows, cols, bits, groupSize, weakIds } = example, shape = { rows, cols, bits, groupSize };
  return {
    ...shape,
    name: "example",
    method: "owq",
    scaleBits: 16,
    groupOf: null,
    report: NO_REPORT,
    codes: Uint8Array.from(example.codes.flat()),
    zero: Float32Array.from(example.zero.flat()),
    scale: Float32Array.from(example.scale.flat()),
    weakIds: Int32Array.from(weakIds),
    weak: Float32Array.from(example.weak.flat()),
  };
}

Deno.test("packedTensors() writes the words and gives the weights of the example in PACKED.md", () =>
  inTempFolder(async (folder) => {
    const layer = exampleLayer(), path = `${folder}/example.safetensors`;
    await writeSafetensors(path, packedTensors("example", layer));
    const file = openSafetensors(path);
    const words = (name: string) =>
      [...new Uint32Array(file.readInts(`example.${name}`).data)].map((w) => `0x${w.toString(16).padStart(8, "0")}`);
    assert.deepEqual(words("codes"), example["words of codes"]);
    assert.deepEqual(words("zero"), example["words of zero"]);
    const back = await readPacked(file, "example", packedEntry("example.safetensors", layer));
    assert.deepEqual([...dequantize(back).data], example.weights.flat());
    file.close();
  }));

Deno.test("PACKED.md's sentence on the code that crosses a word is true", () => {
  const [first, second] = example["words of codes"].map(Number);
  assert.equal(first >>> 30, example.codes[0][10] & 3);
  assert.equal(second & 1, example.codes[0][10] >> 2);
  assert.equal((second >>> 1) & 7, example.codes[0][11]);
});
