import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { rng } from "../../lib/io/rng.ts";
import { readSafetensors } from "../../lib/io/safetensors.ts";
import { assertBothOutcomes, damage, watched } from "./damage.ts";
import { safetensorsBytes } from "./safetensors_bytes.ts";

const CASES = 10_000;

/** Small valid files with every type, metadata, an empty tensor and a scalar. */
function seeds(): Uint8Array<ArrayBuffer>[] {
  const random = rng(1, "safetensors seeds");
  const data = (n: number) => Uint8Array.from({ length: n }, () => random.int(256));
  return [
    safetensorsBytes(
      `{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},` +
        `"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"ids":{"dtype":"I64","shape":[2],"data_offsets":[32,48]}}`,
      data(48),
    ),
    safetensorsBytes(
      `{"h":{"dtype":"F16","shape":[1,2,2],"data_offsets":[8,16]},"d":{"dtype":"F64","shape":[],"data_offsets":[0,8]},` +
        `"e":{"dtype":"I32","shape":[0],"data_offsets":[16,16]},"u":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}}   `,
      data(19),
    ),
    safetensorsBytes(`{"m":{"dtype":"BOOL","shape":[16],"data_offsets":[0,16]}}`, data(16)),
  ];
}

/** What an accepted file holds, read without any check: [type, shape, bytes] by name. */
function naive(bytes: Uint8Array): Map<string, [string, number[], number[]]> {
  const n = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(8, 8 + n)));
  const found = new Map<string, [string, number[], number[]]>();
  for (const [name, entry] of Object.entries<{ dtype: string; shape: number[]; data_offsets: number[] }>(header)) {
    if (name === "__metadata__") continue;
    const [begin, end] = entry.data_offsets;
    found.set(name, [entry.dtype, entry.shape, [...bytes.subarray(8 + n + begin, 8 + n + end)]]);
  }
  return found;
}

Deno.test(`readSafetensors() ends ${CASES} damaged files in a LabError or the right data, allocating no more than the file`, async () => {
  const random = rng(7, "safetensors damage"), originals = seeds();
  let read = 0, refused = 0;
  const slowest = { milliseconds: 0, case: -1 };
  for (let i = 0; i < CASES; i++) {
    const bytes = damage(originals[i % originals.length], random), start = performance.now();
    try {
      // BOOL and U8 grow fourfold when they become float32.
      await watched(bytes, (size) => 4 * size + 64, async (access) => {
        const file = readSafetensors(access);
        const contents = [];
        for (const [name, { dtype, shape }] of file.tensors) {
          const raw = await file.readBytes(name);
          contents.push([name, [dtype, shape, [...raw]]]);
          let n = -1;
          try {
            n = (await file.read(name)).data.length;
          } catch (error) {
            if (!(error instanceof LabError)) throw error; // a type that is carried, not computed with
          }
          assert.ok(n === -1 || n === shape.reduce((a, b) => a * b, 1), `case ${i}`);
        }
        assert.deepEqual(new Map(contents as never), naive(bytes), `case ${i}`);
      });
      read++;
    } catch (error) {
      if (!(error instanceof LabError)) throw new Error(`case ${i}`, { cause: error });
      refused++;
    }
    const milliseconds = performance.now() - start;
    if (milliseconds > slowest.milliseconds) Object.assign(slowest, { milliseconds, case: i });
  }
  assertBothOutcomes(read, refused);
  assert.ok(slowest.milliseconds < 1000, `case ${slowest.case} took ${slowest.milliseconds} ms`);
});
