// The whole table once, small: that it is whole, right and sane. How fast it is depends on the machine and is no test.
import assert from "node:assert/strict";
import { openTorch } from "../../../lib/lab/bench/torch.ts";
import type { BenchReport } from "../../../lib/lab/bench/run.ts";
import { runProcess } from "../../../lib/lab/process.ts";
import { labPaths } from "../../../lib/lab/paths.ts";
import { searchGridReference } from "../../../lib/kernels/grid_search.ts";
import { layerCase } from "../../../lib/lab/bench/cases.ts";
import { adapter } from "../../gpu/gpu_test_helper.ts";

const NAMES = [
  "weak-3.01",
  "weak-3.1",
  "matvec3-vs-f32",
  "matmul-vs-jax",
  "search-vs-torch",
  "optq-vs-torch",
  "decode",
];

/** `deno task bench` in a process of its own, as people call it. */
const bench = (...args: string[]) =>
  runProcess([Deno.execPath(), "task", "-q", "bench", ...args], { cwd: labPaths().root });

Deno.test(`deno task bench --quick --json prints one whole and sane table [${adapter ?? "no adapter"}]`, async () => {
  const r = await bench("--quick", "--json");
  assert.equal(r.code, 0, r.stderr);
  const report = JSON.parse(r.stdout) as BenchReport, names = report.rows.map((row) => row.name);
  assert.equal(r.stdout.trim().split("\n").length, 1, "one object and nothing else");
  for (const name of NAMES) assert.ok(names.includes(name), `row ${name}`);
  assert.equal(report.adapter, adapter ?? "none");
  if (adapter !== null) {
    assert.ok(report.limits!.mulAddGflops > 0.1 && report.limits!.copyGBps > 0.1, JSON.stringify(report.limits));
  }
  for (const row of report.rows) {
    const what = `${row.name} ${row.shape}`;
    if (row.seconds === null) {
      assert.match(row.note, /no WebGPU adapter/, what);
      assert.equal(adapter, null, what);
      continue;
    }
    assert.ok(row.seconds > 0 && row.seconds < 60, `${what}: ${row.seconds} s`);
    assert.ok(row.rounds >= 7, what);
    for (const [peer, seconds] of Object.entries(row.peers)) assert.ok(seconds > 0, `${what}, ${peer}`);
    // A peer that is not on this machine is named in the note, with the way to get it.
    if (row.ratio === null) {
      assert.ok(row.name === "dispatch" || /torch|adapter/.test(row.note), `${what}: ${row.note}`);
    } else assert.ok(row.ratio > 0.001 && row.ratio < 1e4, `${what}: ratio ${row.ratio}`);
    if (row.agreement !== undefined) assert.ok(row.agreement >= 0.999, `${what}: agreement ${row.agreement}`);
    for (const [name, value] of Object.entries(row.figures ?? {})) {
      assert.ok(Number.isFinite(value), `${what}, ${name}`);
    }
  }
});

Deno.test("deno task bench refuses a row that does not exist, and lists those that do", async () => {
  const r = await bench("--only", "nothing", "--json");
  assert.equal(r.code, 1);
  assert.equal(r.stdout, "");
  assert.match(r.stderr, /--only nothing.*weak-3\.01.*decode/s);
});

const torch = await openTorch(1).catch(() => null);
Deno.test({
  name: `torch's grid search is the reference's [${torch?.description ?? "no Python with torch"}]`,
  ignore: torch === null,
  fn: async () => {
    const { weight } = layerCase(12, 50, 3), o = { bits: 3, symmetric: false, steps: 30, exponent: 2.4 as const };
    const expected = searchGridReference(weight, o);
    await torch!.load("w", weight.data, [12, 50]);
    const { seconds } = await torch!.ask("search", { weight: "w", bits: 3, steps: 30, out: "g" });
    assert.ok(seconds > 0);
    const scale = new Float32Array(await torch!.take("g.scale")), zero = new Float32Array(await torch!.take("g.zero"));
    assert.deepEqual([...zero], [...expected.zero]);
    scale.forEach((v, r) => assert.ok(Math.abs(v / expected.scale[r] - 1) < 1e-6));
    await assert.rejects(torch!.ask("search", { weight: "absent", bits: 3, steps: 3 }), /torch, search.*absent/);
  },
});
addEventListener("unload", () => void torch?.close());
