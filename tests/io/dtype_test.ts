import assert from "node:assert/strict";
import { bfloatToFloat, decodeInts, DTYPES, floatToBfloat, floatToHalf, halfToFloat } from "../../lib/io/dtype.ts";

const ALL = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The value of a binary16 pattern, straight from its definition. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

Deno.test("halfToFloat() gives the defined value for every one of the 65,536 patterns", () => {
  const values = halfToFloat(ALL);
  for (let i = 0; i < 65536; i++) assert.ok(Object.is(values[i], half(i)), `${i}: ${values[i]} is not ${half(i)}`);
});

Deno.test("floatToHalf() gives every pattern back, and NaN for NaN", () => {
  const back = floatToHalf(halfToFloat(ALL));
  for (let i = 0; i < 65536; i++) {
    if (Number.isNaN(half(i))) assert.ok((back[i] & 0x7fff) > 0x7c00);
    else assert.equal(back[i], i);
  }
});

Deno.test("floatToHalf() rounds a tie to the even neighbour and anything beside it to the nearer one", () => {
  for (let i = 0; i < 0x7bff; i++) { // every positive finite pattern but the last, subnormals included
    const low = half(i), middle = (low + half(i + 1)) / 2, gap = half(i + 1) - low;
    const [tie, below, above] = floatToHalf([middle, middle - gap / 8, middle + gap / 8]);
    assert.deepEqual([tie, below, above], [i % 2 === 0 ? i : i + 1, i, i + 1]);
  }
  assert.deepEqual([...floatToHalf([65519.99, 65520, -65520, 2 ** -25, -(2 ** -25)])], [
    0x7bff,
    0x7c00,
    0xfc00,
    0,
    0x8000,
  ]);
});

Deno.test("bfloatToFloat() and floatToBfloat() are inverse, ties go to even, NaN stays NaN", () => {
  const values = bfloatToFloat(ALL), back = floatToBfloat(values), bits = new Uint32Array(values.buffer);
  for (let i = 0; i < 65536; i++) {
    assert.equal(bits[i], i * 65536);
    if (Number.isNaN(values[i])) assert.ok((back[i] & 0x7fff) > 0x7f80);
    else assert.equal(back[i], i);
  }
  const patterns = new Float32Array(
    Uint32Array.of(0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, 0x7f7fffff, 0x7f800001, 0x00008000, 0x00018000)
      .buffer,
  );
  // The sixth is a NaN whose payload would round away; a Float32Array of JavaScript keeps its bits or makes it quiet.
  assert.deepEqual([...floatToBfloat(patterns)].with(5, 0), [
    0x3f80,
    0x3f82,
    0x3f80,
    0x3f81,
    0x7f80,
    0,
    0x0000,
    0x0002,
  ]);
  assert.ok((floatToBfloat(patterns)[5] & 0x7fff) > 0x7f80);
});

Deno.test("DTYPES convert numbers to bytes and back for each type that the lab computes with", () => {
  for (const dtype of DTYPES.values()) {
    if (!dtype.decode || !dtype.encode) continue;
    const values = dtype.range
      ? [0, 1, Math.max(dtype.range[0], -(2 ** 24)), Math.min(dtype.range[1], 2 ** 24)]
      : [0, 1, -1.5, 0.0078125];
    const bytes = dtype.encode(values);
    assert.equal(bytes.length, values.length * dtype.size, dtype.name);
    assert.deepEqual([...dtype.decode(bytes)], values, dtype.name);
    const shifted = new Uint8Array(bytes.length + 1).subarray(1); // starts on no boundary
    shifted.set(bytes);
    assert.deepEqual([...dtype.decode(shifted)], values, `${dtype.name}, unaligned`);
  }
});

Deno.test("decodeInts() is exact at the edges of 32 bits and names the first value outside", () => {
  const i64 = DTYPES.get("I64")!, u64 = DTYPES.get("U64")!, u32 = DTYPES.get("U32")!;
  const wide = (...v: bigint[]) => new Uint8Array(BigInt64Array.from(v).buffer);
  assert.deepEqual(decodeInts(i64, wide(-(2n ** 31n), 2n ** 31n - 1n)), Int32Array.of(-(2 ** 31), 2 ** 31 - 1));
  assert.equal(decodeInts(i64, wide(0n, -(2n ** 31n) - 1n)), 1);
  assert.equal(decodeInts(i64, wide(2n ** 32n)), 0); // would be 0 in its low half
  assert.equal(decodeInts(u64, wide(-1n)), 0);
  assert.equal(decodeInts(u32, new Uint8Array(Uint32Array.of(1, 0x80000000).buffer)), 1);
  assert.deepEqual(decodeInts(DTYPES.get("I8")!, Uint8Array.of(0x80, 0x7f)), Int32Array.of(-128, 127));
});
