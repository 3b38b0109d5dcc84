import assert from "node:assert/strict";
import { searchGridTwin } from "../../lib/kernels/grid_search.ts";
import { openSafetensors } from "../../lib/io/safetensors.ts";

// The reference searched each row over the columns that are not weak, before OPTQ moved any of them.
const cases = [["owq2", 2], ["owq3", 3], ["owq4", 4], ["owq3-dead", 3], ["owq3-odd-shape", 3]] as const;
for (const [name, bits] of cases) {
  Deno.test(`searchGridTwin() finds the scales and zero points of the golden case ${name}`, async () => {
    const file = await openSafetensors(
      new URL(`../../fixtures/golden/owq/${name}.safetensors`, import.meta.url).pathname,
    );
    const [weight, scale, zero, ids] = await Promise.all(
      ["weight", "scale", "zero", "weak_ids"].map((n) => file.read(n)),
    );
    file.close();
    const [rows, cols] = weight.shape, weak = new Set(ids.data);
    const kept = Array.from({ length: cols }, (_, j) => j).filter((j) => !weak.has(j));
    const data = new Float32Array(rows * kept.length);
    for (let r = 0; r < rows; r++) kept.forEach((j, k) => data[r * kept.length + k] = weight.data[r * cols + j]);
    const o = { bits, symmetric: false, steps: 100, exponent: 2.4 as const };
    const grid = await searchGridTwin({ data, rows, cols: kept.length }, o);
    for (let r = 0; r < rows; r++) {
      assert.ok(Math.abs(grid.scale[r] - scale.data[r]) <= 1e-6 * scale.data[r], `scale of row ${r}`);
      assert.equal(grid.zero[r], zero.data[r], `zero of row ${r}`);
    }
  });
}
