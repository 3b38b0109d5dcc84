import assert from "node:assert/strict";
import { bindRotary, quadsOf, type RotarySpec, rotaryTwin } from "../../lib/kernels/rotary.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";
import { assertWithin } from "../assert.ts";
import { normals, runKernel, U } from "./bound_kernel_cases.ts";

function turnsFor(dim: number, capacity: number): Float32Array<ArrayBuffer> {
  const turns = new Float32Array(capacity * dim);
  for (let i = 0; i < capacity * dim / 2; i++) turns.set([Math.cos(i * 0.7), Math.sin(i * 0.7)], 2 * i);
  return turns;
}

/** Separate q, k, v in one row, or each key head's queries, key and value side by side. */
function places(heads: number, keyHeads: number, dim: number, side: boolean): Pick<RotarySpec, "q" | "k" | "v"> {
  const group = heads / keyHeads, stride = (heads + 2 * keyHeads) * dim, step = (group + 2) * dim;
  if (side) {
    const at = (i: number) => ({ stride, at: i * dim, step });
    return { q: at(0), k: at(group), v: at(group + 1) };
  }
  const keys = heads * dim, values = keys + keyHeads * dim;
  return {
    q: { stride, at: 0, step: group * dim },
    k: { stride, at: keys, step: dim },
    v: { stride, at: values, step: dim },
  };
}

/** A cache of values as textures hold it, (keyHeads, quads, capacity, 4), from (keyHeads, capacity, quads, 4). */
function byQuad(values: Float64Array, keyHeads: number, capacity: number, quads: number): Float64Array<ArrayBuffer> {
  return Float64Array.from(values, (_, i) => {
    const s = Math.floor(i / 4) % capacity, row = Math.floor(i / 4 / capacity), h = Math.floor(row / quads);
    return values[((h * capacity + s) * quads + row % quads) * 4 + i % 4];
  }).subarray(0, keyHeads * capacity * quads * 4);
}

for (const kind of ["group", "lanes"] as const) {
  gpuTest(`bindRotary() stays within rounding of rotaryTwin() and writes nowhere else as "${kind}"`, async (gpu) => {
    for (const [heads, keyHeads, dim] of [[1, 1, 2], [4, 2, 16], [9, 3, 64], [6, 1, 10], [3, 3, 33]]) {
      for (const side of [false, true]) {
        const capacity = 12, start = 5, vectors = 3, quads = quadsOf(dim), all = heads + 2 * keyHeads;
        const spec: RotarySpec = {
          ...places(heads, keyHeads, dim, side),
          heads,
          keyHeads,
          dim,
          capacity,
          bias: side ? null : normals(all * dim, "bias"),
          turns: dim % 2 === 0 ? turnsFor(dim, capacity) : null,
          scale: 1 / Math.sqrt(dim),
        };
        const x = normals(vectors * all * dim, "x"), cache = keyHeads * capacity * quads * 4;
        const got = await runKernel(gpu, start, vectors, async ({ input, output, texels, step }) => {
          const q = input(x), bias = input(spec.bias ?? [0, 0, 0, 0]), turns = input(spec.turns ?? [0, 0, 0, 0]);
          const store = kind === "group"
            ? { kind, queries: output(vectors * heads * quads * 4), keys: output(cache), values: output(cache) }
            : {
              kind,
              queries: texels(quads, vectors * heads),
              keys: texels(capacity, keyHeads * quads),
              values: texels(capacity, keyHeads * quads),
            };
          const kernel = await bindRotary(gpu, spec, { step, q, k: q, v: q, bias, turns }, store);
          return { kernel, outputs: [store.queries, store.keys, store.values] };
        });
        const empty = () => new Float64Array(cache).fill(NaN);
        const into = { queries: new Float64Array(vectors * heads * quads * 4), keys: empty(), values: empty() };
        const want = rotaryTwin(spec, x, x, x, start, vectors, into);
        const values = kind === "group" ? want.values : byQuad(want.values, keyHeads, capacity, quads);
        // Two products, two biases, a sum and a scale of numbers below 6.
        const bound = 8 * U * 6, what = `${heads} heads of ${dim}, ${keyHeads} of keys${side ? ", side by side" : ""}`;
        assertWithin(got[0], want.queries, bound, `queries, ${what}`);
        for (const [name, mine, w] of [["keys", got[1], want.keys], ["values", got[2], values]] as const) {
          const known = [...w.keys()].filter((i) => !Number.isNaN(w[i]));
          assertWithin(known.map((i) => mine[i]), known.map((i) => w[i]), bound, `${name}, ${what}`);
          assert.ok(
            w.every((v, i) => !Number.isNaN(v) || Number.isNaN(mine[i])),
            `${name} of other positions, ${what}`,
          );
        }
      }
    }
  });
}
