import assert from "node:assert/strict";
import { BLOCK_TYPES, dequantizeBlocks } from "../../lib/io/gguf_blocks.ts";
import { rng } from "../../lib/io/rng.ts";
import { inTempFolder, runPython } from "../python.ts";

const DEQUANTIZE = `
import sys, json, numpy as np, gguf
folder, types = sys.argv[1], json.loads(sys.argv[2])
for name in types:
    raw = np.fromfile(f"{folder}/{name}.bin", dtype=np.uint8)
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[name])
    np.asarray(values, dtype=np.float32).tofile(f"{folder}/{name}.f32")
print(json.dumps({t.name: [t.value, *size] for t, size in gguf.GGML_QUANT_SIZES.items()}))
`;

Deno.test("dequantizeBlocks() equals the gguf package bit for bit on seeded random blocks of every type", async () => {
  const random = rng(3, "gguf blocks"), BLOCKS = 400;
  const types = [...BLOCK_TYPES].filter(([, t]) => t.decode && !["I8", "I16", "I32", "I64", "F64"].includes(t.name));
  assert.equal(types.length, 13);
  await inTempFolder(async (folder) => {
    const inputs = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const [, type] of types) {
      const bytes = Uint8Array.from({ length: BLOCKS * type.bytes }, () => random.int(256));
      // Random halves are NaN or infinite one time in 32; the values of such blocks are not ours to define.
      if (type.name !== "F32") clearExponents(type.name, bytes, type.bytes);
      else new Float32Array(bytes.buffer).forEach((v, i, all) => Number.isFinite(v) || (all[i] = 1.5));
      inputs.set(type.name, bytes);
      await Deno.writeFile(`${folder}/${type.name}.bin`, bytes);
    }
    const sizes = JSON.parse(await runPython(DEQUANTIZE, folder, JSON.stringify([...inputs.keys()])));
    for (const [id, { name, elements, bytes }] of BLOCK_TYPES) {
      assert.deepEqual(sizes[name], [id, elements, bytes], name);
    }
    for (const [, type] of types) {
      const expected = new Uint32Array((await Deno.readFile(`${folder}/${type.name}.f32`)).buffer);
      const values = dequantizeBlocks(type, inputs.get(type.name)!), ours = new Uint32Array(values.buffer);
      assert.equal(ours.length, BLOCKS * type.elements, type.name);
      const bad = ours.findIndex((bits, i) => bits !== expected[i] && !(values[i] === 0 && expected[i] << 1 === 0));
      assert.equal(bad, -1, `${type.name} at ${bad}: ${values[bad]} against ${new Float32Array(expected.buffer)[bad]}`);
    }
  });
});

/** Makes each 16-bit scale finite by clearing the top bit of its exponent. */
function clearExponents(name: string, bytes: Uint8Array, size: number): void {
  const places: Record<string, number[]> = {
    F16: [0],
    BF16: [0],
    Q2_K: [80, 82],
    Q3_K: [108],
    Q6_K: [208],
    Q4_1: [0, 2],
    Q5_1: [0, 2],
    Q4_K: [0, 2],
    Q5_K: [0, 2],
  };
  for (let at = 0; at < bytes.length; at += size) {
    for (const place of places[name] ?? [0]) bytes[at + place + 1] &= ~0x40;
  }
}

Deno.test("dequantizeBlocks() reads blocks that lie at an odd address, and refuses broken ones", () => {
  const q8 = BLOCK_TYPES.get(8)!, bytes = new Uint8Array(35).subarray(1);
  bytes.set([0x00, 0x3c, 0xff, 0x7f]); // d = 1, then -1 and 127
  assert.deepEqual([...dequantizeBlocks(q8, bytes).subarray(0, 3)], [-1, 127, 0]);
  const bf16 = new Uint8Array(5).subarray(1);
  bf16.set([0x80, 0x3f, 0x20, 0xc0]);
  assert.deepEqual([...dequantizeBlocks(BLOCK_TYPES.get(30)!, bf16)], [1, -2.5]);
  assert.throws(() => dequantizeBlocks(q8, new Uint8Array(33)), /33 bytes are not whole Q8_0 blocks/);
  assert.throws(() => dequantizeBlocks(BLOCK_TYPES.get(20)!, new Uint8Array(18)), /IQ4_NL blocks/);
});
