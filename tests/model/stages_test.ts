// What is laid out for speed against what it stands for.
import { defaultDevice, init, jit, nn, numpy as np } from "@jax-js/jax";
import { rng } from "../../lib/io/rng.ts";
import { expNegative, siluFast } from "../../lib/model/fast_math.ts";
import { attend, type Tables } from "../../lib/model/forward.ts";
import { causalBias } from "../../lib/model/positions.ts";
import { attendByHead } from "../../lib/model/stages.ts";
import { assertWithin } from "../assert.ts";

await init("wasm");
defaultDevice("wasm");

const normal = (seed: number, shape: number[], scale = 1) => {
  const random = rng(seed, "test");
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => scale * random.normal());
  return np.array(data, { shape });
};

for (const [name, alibi] of [["", false], [" with alibi", true]] as const) {
  Deno.test(`attendByHead() equals attend() on four strips of two windows${name}`, async () => {
    const [b, heads, group, n, d] = [2, 2, 3, 256, 16], q = normal(1, [b, heads, n, group, d], 2);
    const k = normal(2, [b, n, heads, d]), v = normal(3, [b, n, heads, d]);
    const t: Tables = { causal: np.array(causalBias(0, n, n, 100), { shape: [n, 1, n] }) };
    if (alibi) t.alibi = normal(4, [heads, 1, group, n]);
    const plain = await attend(t, q.ref, k.ref, v.ref).data(), fast = await jit(attendByHead)(t, q, k, v).data();
    assertWithin(fast as Float32Array, plain as Float32Array, 1e-5);
  });
}

Deno.test("expNegative() is right to 3e-6 of each value down to −10, and nowhere off by more than 1e-6", async () => {
  const xs = Float32Array.from({ length: 8192 }, (_, i) => -i / 64);
  const y = await jit(expNegative)(np.array(xs)).data() as Float32Array;
  assertWithin(y, xs.map(Math.exp), (i) => xs[i] >= -10 ? 3e-6 * Math.exp(xs[i]) : 1e-6);
});

Deno.test("siluFast() equals silu", async () => {
  const xs = Float32Array.from({ length: 8192 }, (_, i) => (i - 4096) / 64);
  const y = await jit(siluFast)(np.array(xs)).data() as Float32Array;
  assertWithin(y, xs.map((x) => x / (1 + Math.exp(-x))), (i) => 1e-6 * Math.max(1, Math.abs(xs[i])));
  assertWithin(await nn.silu(np.array(xs)).data() as Float32Array, y, (i) => 2e-6 * Math.max(1, Math.abs(xs[i])));
});
