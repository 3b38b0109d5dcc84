import assert from "node:assert/strict";
import { rng } from "../../lib/io/rng.ts";
import { damage, watched } from "./damage.ts";

Deno.test("watched() catches every kind of allocation beyond the allowance, and lets go afterwards", async () => {
  const bytes = new Uint8Array(10), twice = (n: number) => 2 * n;
  for (const allocate of [() => new Uint8Array(21), () => new ArrayBuffer(21), () => new Float32Array(6)]) {
    // deno-lint-ignore require-await
    const attempt = watched(bytes, twice, async () => allocate());
    await assert.rejects(attempt, /asked for, from a file of 10/);
  }
  // deno-lint-ignore require-await
  await watched(bytes, twice, async (access) => assert.ok(access.read(0, 10) instanceof Uint8Array));
  assert.equal(new Uint8Array(1000).length, 1000);
});

Deno.test("damage() is seeded, changes most inputs, and leaves its input alone", () => {
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i), copy = bytes.slice();
  const a = rng(1, "d"), b = rng(1, "d");
  let changed = 0;
  for (let i = 0; i < 200; i++) {
    const x = damage(bytes, a);
    assert.deepEqual(x, damage(bytes, b));
    if (x.length !== 100 || x.some((v, j) => v !== bytes[j])) changed++;
  }
  assert.ok(changed > 180);
  assert.deepEqual(bytes, copy);
});
