import assert from "node:assert/strict";
import { multiplyAddTwin, openLimits } from "../../lib/kernels/limits.ts";
import { assertFinite } from "../assert.ts";
import { gpuTest } from "../gpu/gpu_test_helper.ts";

gpuTest("openLimits() runs every multiply-add it counts, in every lane", async (gpu) => {
  const limits = await openLimits(gpu, { groups: 3, copyBytes: 4096 });
  for (const [name, chains] of [["12 chains", 12], ["16 chains", 16]] as const) {
    const work = limits.multiplyAdd.get(name)!, got = await limits.chains(name, 3 * 64);
    assertFinite(got, name);
    for (let lane = 0; lane < 3 * 64; lane++) {
      assert.deepEqual([...got.subarray(4 * lane, 4 * lane + 4)], [...multiplyAddTwin(chains, lane, -1, 1)]);
    }
    assert.equal(work.operations, 3 * 64 * chains * 256 * 2);
  }
  limits.close();
});

gpuTest("a fence tells the time of the device: twice the work takes about twice as long", async (gpu) => {
  const limits = await openLimits(gpu, { groups: gpu.software ? 256 : 16384, copyBytes: 1024 });
  const work = limits.multiplyAdd.get("16 chains")!;
  await work.run(1);
  // Other work on the machine only ever adds time: the shortest of several is nearest to the device's own.
  let once = Infinity, twice = Infinity;
  for (let i = 0; i < 7; i++) {
    once = Math.min(once, await work.run(8));
    const begun = performance.now(), seconds = await work.run(16);
    assert.ok(seconds <= (performance.now() - begun) / 1000, "no longer than the clock saw");
    twice = Math.min(twice, seconds);
  }
  assert.ok(twice > 1.4 * once && twice < 3 * once, `${once} s and ${twice} s`);
  limits.close();
});
