import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { firstNonFinite, requireFinite } from "../../lib/io/finite.ts";

Deno.test("firstNonFinite() finds NaN and both infinities wherever they sit, and nothing else", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const at of [0, 17, 99]) {
      const data = new Float32Array(100).fill(3.4e38);
      data[at] = bad;
      assert.equal(firstNonFinite(data), at);
    }
  }
  assert.equal(firstNonFinite(Float32Array.of(0, -0, 1e-45, -3.4e38)), -1);
  assert.equal(firstNonFinite([]), -1);
});

Deno.test("requireFinite() names the tensor, the value and the index in each dimension", () => {
  const t = { data: new Float32Array(24), shape: [2, 3, 4] };
  assert.equal(requireFinite("w", t), t);
  t.data[0 * 12 + 2 * 4 + 1] = -Infinity;
  assert.throws(
    () => requireFinite("model.norm.weight", t),
    (e) =>
      e instanceof LabError && e.kind === "numeric" && e.thing === "model.norm.weight" &&
      e.problem === "-Infinity at index [0, 2, 1] of shape [2, 3, 4]",
  );
});
