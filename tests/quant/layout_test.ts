import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { rng } from "../../lib/io/rng.ts";
import { type CompressedTensors, fromCompressed, toCompressed } from "../../lib/quant/compressed_layout.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { fromGptq, type GptqTensors, toGptq } from "../../lib/quant/gptq_layout.ts";
import { NO_REPORT, type QuantizedLayer } from "../../lib/quant/layer.ts";
import { isSymmetric, type LayoutShape } from "../../lib/quant/layout.ts";

interface Kind {
  rows: number;
  cols: number;
  bits: number;
  groupSize?: number;
  order?: boolean;
  symmetric?: boolean;
  /** The smallest zero point. */
  from?: number;
}

/** A layer of random codes on random grids; no quantizer is needed to test where bits go. */
function randomLayer(k: Kind): QuantizedLayer {
  const stream = rng(k.bits * 1000 + k.cols, "layout"), top = 2 ** k.bits - 1, groupSize = k.groupSize ?? 0;
  const groups = groupSize > 0 ? k.cols / groupSize : 1, half = 2 ** (k.bits - 1), from = k.from ?? 0;
  const order = Array.from({ length: k.cols }, (_, j) => j);
  for (let j = k.cols - 1; j > 0; j--) {
    const other = stream.int(j + 1);
    [order[j], order[other]] = [order[other], order[j]];
  }
  return {
    name: "fc",
    method: "test",
    rows: k.rows,
    cols: k.cols,
    bits: k.bits,
    groupSize,
    scaleBits: 16,
    codes: Uint8Array.from({ length: k.rows * k.cols }, () => stream.int(top + 1)),
    scale: Float32Array.from({ length: k.rows * groups }, () => Math.f16round(0.01 + stream.int(1000) / 7000)),
    zero: Float32Array.from({ length: k.rows * groups }, () => k.symmetric ? half : from + stream.int(top + 1 - from)),
    groupOf: k.order ? Int32Array.from(order, (i) => Math.floor(i / groupSize)) : null,
    weakIds: new Int32Array(0),
    weak: new Float32Array(0),
    report: NO_REPORT,
  };
}

const KINDS: Kind[] = [
  { rows: 32, cols: 64, bits: 2 },
  { rows: 64, cols: 96, bits: 3, from: 1 },
  { rows: 96, cols: 96, bits: 3, groupSize: 32, order: true },
  { rows: 32, cols: 128, bits: 4, groupSize: 16, from: 1 },
  { rows: 64, cols: 64, bits: 4, groupSize: 32, order: true, symmetric: true },
  { rows: 32, cols: 32, bits: 8, from: 1 },
];
const ODD: Kind[] = [
  { rows: 1, cols: 1, bits: 3 },
  { rows: 7, cols: 33, bits: 3, groupSize: 11 },
  { rows: 31, cols: 257, bits: 2 },
  { rows: 33, cols: 45, bits: 4, groupSize: 9, order: true },
];

const shapeOf = (l: QuantizedLayer): LayoutShape => ({ ...l, symmetric: isSymmetric(l) });
const refuses = (kind: string, message: RegExp) => (e: unknown) => {
  assert.ok(e instanceof LabError, String(e));
  assert.equal(e.kind, kind, e.message);
  assert.match(e.message, message);
  return true;
};

function assertSame(back: QuantizedLayer, layer: QuantizedLayer) {
  for (const key of ["codes", "scale", "zero", "groupOf", "rows", "cols", "bits", "groupSize", "scaleBits"] as const) {
    assert.deepEqual(back[key], layer[key], key);
  }
  assert.deepEqual(dequantize(back).data, dequantize(layer).data);
}

for (const kind of KINDS) {
  Deno.test(`fromGptq() undoes toGptq() exactly in both versions: ${JSON.stringify(kind)}`, () => {
    const layer = randomLayer(kind);
    assertSame(fromGptq(toGptq(layer, 2), shapeOf(layer), 2, 16), layer);
    if (layer.zero.includes(0)) assert.throws(() => toGptq(layer, 1), refuses("input", /zero points are 0.*gptq-v2/));
    else {
      assertSame(fromGptq(toGptq(layer, 1), shapeOf(layer), 1, 16), layer);
      assert.notDeepEqual(toGptq(layer, 1).qzeros, toGptq(layer, 2).qzeros);
    }
  });
}
for (const kind of [...KINDS, ...ODD]) {
  Deno.test(`fromCompressed() undoes toCompressed() exactly: ${JSON.stringify(kind)}`, () => {
    const layer = randomLayer(kind);
    assertSame(fromCompressed(toCompressed(layer, isSymmetric(layer)), shapeOf(layer), 16), layer);
    assertSame(fromCompressed(toCompressed(layer, false), { ...shapeOf(layer), symmetric: false }, 16), layer);
  });
}

Deno.test("toGptq() packs 3 bits as the 10-1-10-1-10 scheme of its inventors does", () => {
  const layer = randomLayer({ rows: 32, cols: 32, bits: 3 }), words = new Uint32Array(toGptq(layer, 2).qweight.buffer);
  const code = (i: number) => layer.codes[5 * 32 + i], expected = [0, 0, 0];
  for (let i = 0; i < 10; i++) expected[0] |= code(i) << (3 * i);
  expected[0] |= code(10) << 30;
  expected[1] |= (code(10) >> 2) & 1;
  for (let i = 0; i < 10; i++) expected[1] |= code(11 + i) << (3 * i + 1);
  expected[1] |= code(21) << 31;
  expected[2] |= (code(21) >> 1) & 3;
  for (let i = 0; i < 10; i++) expected[2] |= code(22 + i) << (3 * i + 2);
  assert.deepEqual([0, 1, 2].map((w) => words[w * 32 + 5]), expected.map((w) => w >>> 0));
});

Deno.test("fromGptq() reads v1 zero points of 0 as their writer meant them: field by field, or by whole words", () => {
  const zero = [0, 8, 15, 0, 0, 3, 1, 0, ...new Array(24).fill(7)];
  const base = { ...randomLayer({ rows: 32, cols: 32, bits: 4 }), zero: Float32Array.from(zero) };
  const v2 = toGptq(base, 2),
    read = (
      qzeros: number[],
      how: "fields" | "words",
    ) => [...fromGptq({ ...v2, qzeros: Int32Array.from(qzeros) }, shapeOf(base), 1, 16, how).zero];
  const fields = [0, 8, 16, 24].map((at) => {
    let word = 0;
    for (let i = 0; i < 8; i++) word |= ((zero[at + i] + 15) % 16) << (4 * i);
    return word;
  });
  const words = [...v2.qzeros].map((w) => (w - 0x11111111) | 0);
  assert.notDeepEqual(fields, words);
  assert.deepEqual(read(fields, "fields"), zero);
  assert.deepEqual(read(words, "words"), zero);
  assert.notDeepEqual(read(words, "fields"), zero);
});

Deno.test("fromCompressed() reads 3 bits of compressed-tensors before 0.18, ten codes a word", () => {
  const layer = randomLayer({ rows: 64, cols: 96, bits: 3 });
  const old = (values: ArrayLike<number>, rows: number, cols: number) => {
    const width = Math.ceil(cols / 10), words = new Int32Array(rows * width);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) words[r * width + Math.floor(c / 10)] |= values[r * cols + c] << (3 * (c % 10));
    }
    return words;
  };
  const t = toCompressed(layer, false), zeroPoint = old(layer.zero, 1, 64); // one group: a column of words is the row itself
  assertSame(fromCompressed({ ...t, packed: old(layer.codes, 64, 96), zeroPoint }, shapeOf(layer), 16), layer);
});

Deno.test("fromGptq() refuses tensors that do not fit, each with its name", () => {
  const layer = randomLayer({ rows: 32, cols: 64, bits: 4, groupSize: 16, from: 1 }),
    s = shapeOf(layer),
    t = toGptq(layer, 2);
  const bad = (change: Partial<GptqTensors>, shape: Partial<LayoutShape>, kind: string, message: RegExp) =>
    assert.throws(() => fromGptq({ ...t, ...change }, { ...s, ...shape }, 2, 16), refuses(kind, message));
  bad({ qweight: t.qweight.slice(1) }, {}, "format", /fc\.qweight: 255 values, not 256/);
  bad({ qzeros: t.qzeros.slice(0, -1) }, {}, "format", /fc\.qzeros: 15 values, not 16/);
  bad({ scales: t.scales.slice(32) }, {}, "format", /fc\.scales: 96 values, not 128/);
  bad({}, { bits: 3 }, "format", /fc\.qweight/);
  bad({}, { groupSize: 32 }, "format", /fc\.qzeros/);
  bad({}, { rows: 64 }, "format", /fc\.qweight/);
  bad({ gIdx: t.gIdx!.slice(1) }, {}, "format", /63 entries for 64 columns/);
  bad({ gIdx: t.gIdx!.map((g, j) => j === 9 ? 4 : g) }, {}, "format", /column 9 to group 4 of 4/);
  bad({ gIdx: t.gIdx!.map((g, j) => j === 9 ? -1 : g) }, {}, "format", /column 9 to group -1/);
  bad({ gIdx: t.gIdx!.map((g, j) => j === 9 ? 1 : g) }, {}, "format", /group 1 17 columns, a group has 16/);
  bad({ scales: t.scales.map((v, i) => i === 40 ? NaN : v) }, {}, "numeric", /is NaN/);
  bad({ scales: t.scales.map((v, i) => i === 40 ? Infinity : v) }, {}, "numeric", /is Infinity/);
});

Deno.test("fromGptq() notices a symmetric file that was read in the wrong version, and names the other", () => {
  const layer = randomLayer({ rows: 32, cols: 32, bits: 4, symmetric: true }), s = shapeOf(layer);
  assert.throws(() => fromGptq(toGptq(layer, 1), s, 2, 16), refuses("format", /zero point is 7, not 8.*"gptq"\./));
  assert.throws(() => fromGptq(toGptq(layer, 2), s, 1, 16), refuses("format", /zero point is 9, not 8.*"gptq_v2"\./));
});

Deno.test("fromCompressed() refuses tensors that do not fit, each with its name", () => {
  const layer = randomLayer({ rows: 33, cols: 48, bits: 4, groupSize: 16, from: 1 }), s = shapeOf(layer);
  const t = toCompressed(layer, false);
  const bad = (change: Partial<CompressedTensors>, shape: Partial<LayoutShape>, kind: string, message: RegExp) =>
    assert.throws(() => fromCompressed({ ...t, ...change }, { ...s, ...shape }, 16), refuses(kind, message));
  bad({ packed: t.packed.slice(1) }, {}, "format", /fc\.weight_packed: 197 words, not 198/);
  bad({ scale: t.scale.slice(1) }, {}, "format", /fc\.weight_scale: 98 values, not 99/);
  bad({ zeroPoint: t.zeroPoint!.slice(1) }, {}, "format", /fc\.weight_zero_point/);
  bad({ zeroPoint: t.zeroPoint!.slice(3) }, {}, "format", /fc\.weight_zero_point: 12 words, not 15/);
  bad({ zeroPoint: null }, {}, "format", /fc\.weight_zero_point: is missing/);
  bad({}, { symmetric: true }, "format", /called symmetric/);
  bad({ gIdx: new Int32Array(48) }, {}, "format", /group 0 48 columns/);
  bad({ scale: t.scale.map(() => NaN) }, {}, "numeric", /NaN/);
});

Deno.test("toGptq() and toCompressed() refuse what the formats cannot hold, and say what to do instead", () => {
  const layer = randomLayer({ rows: 32, cols: 32, bits: 4, from: 1 });
  const weak = { ...layer, weakIds: Int32Array.of(3, 9), weak: new Float32Array(64) };
  for (const write of [(l: QuantizedLayer) => toGptq(l, 1), (l: QuantizedLayer) => toCompressed(l, false)]) {
    assert.throws(() => write(weak), refuses("input", /fc: keeps 2 weak columns.*PACKED\.md.*--format hf.*--rank 0/));
    assert.throws(() => write({ ...layer, groupSize: 24 }), refuses("input", /32 columns are no whole groups of 24/));
    assert.throws(() => write({ ...layer, bits: 5 }), refuses("input", /codes of 5 bits/));
  }
  const odd = randomLayer({ rows: 31, cols: 33, bits: 4 });
  assert.throws(() => toGptq(odd, 2), refuses("input", /\(31, 33\) are no multiples of 32.*compressed-tensors/));
  assert.throws(() => toCompressed(layer, true), refuses("input", /zero points other than the middle/));
});
