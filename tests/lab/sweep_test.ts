import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sha256File } from "../../lib/io/digest.ts";
import { LabError } from "../../lib/io/errors.ts";
import { rng } from "../../lib/io/rng.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { readArguments } from "../../lib/lab/command.ts";
import { RECIPE_OPTIONS, recipeOf } from "../../lib/lab/commands/owq_options.ts";
import { recipeArguments } from "../../lib/lab/recipe_command.ts";
import {
  readShard,
  readSweepLines,
  runSweep,
  shardOf,
  type SweepLine,
  type SweepOptions,
} from "../../lib/lab/sweep.ts";
import { readSweep } from "../../lib/lab/sweep_file.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/models/llama", import.meta.url));
const quick = { device: "cpu" as const };

/** A sweep of four quantizations on two texts over a tiny model, as its author would write it. */
async function inFolder(work: (folder: string, text: string) => Promise<void>) {
  const folder = await Deno.makeTempDir(), stream = rng(5, "tokens");
  try {
    for (const name of ["calibration", "one", "two"]) {
      const data = Int32Array.from({ length: 4 * 32 }, () => stream.int(128));
      await writeSafetensors(join(folder, `${name}.safetensors`), [{
        name: "input_ids",
        dtype: "I32",
        shape: [4, 32],
        data,
      }]);
    }
    const text = (name: string) => join(folder, `${name}.safetensors`);
    await work(
      folder,
      JSON.stringify({
        name: "tiny",
        base: { model: MODEL, method: "owq", calibration: { text: text("calibration") } },
        cases: [{ label: "RTN", method: "rtn", bits: 3 }, { bits: 3.5 }, {
          bits: 3.5,
          options: { rule: "random" },
          label: "by chance",
        }],
        cross: { "evaluation.text": [text("one"), text("two")] },
      }),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Lines without what a clock says. */
const timeless = (lines: readonly SweepLine[]) =>
  lines.map(({ report, ...line }) => {
    const { date: _, resumedBlocks: __, ...provenance } = report.provenance;
    return { ...line, report: { ...report, seconds: {}, provenance } };
  });

/** SHA-256 of every block of every run, by folder and file. */
async function blocks(out: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const run of Deno.readDirSync(join(out, "runs"))) {
    for (const b of Deno.readDirSync(join(out, "runs", run.name, "blocks"))) {
      found[`${run.name}/${b.name}`] = await sha256File(join(out, "runs", run.name, "blocks", b.name));
    }
  }
  return found;
}

Deno.test("runSweep() stopped within a block and run again ends bit-identical, and does no finished cell again", () =>
  inFolder(async (folder, text) => {
    const sweep = readSweep(text, "tiny.json"), stop = new AbortController();
    let layers = 0;
    const run = (out: string, o: SweepOptions = {}) => runSweep(sweep, { ...quick, out: join(folder, out), ...o });
    const whole = await run("whole", { onLayer: () => void layers++ });
    assert.equal(layers, 3 * 14); // three quantizations of 2 × 7 linears serve six cells
    assert(whole.lines.every((l) => Number.isFinite(l.report.ppl.quantized) && Number.isFinite(l.report.ppl.fp)));
    const ppl = whole.lines.map((l) => l.report.ppl.quantized);
    assert.equal(new Set(ppl).size, 6, "each rule and each text has a perplexity of its own");

    for (const [one, two] of [[0, 1], [2, 3], [4, 5]].map((pair) => pair.map((i) => whole.lines[i].report.seconds))) {
      assert.equal(two.quantizationWall, one.quantizationWall, "the second text was quantized for again");
    }

    layers = 0;
    const onLayer = () => void (++layers === 14 + 9 && stop.abort()); // in the second block of the second quantization
    await assert.rejects(run("broken", { onLayer, signal: stop.signal }), { name: "AbortError" });
    const half = readSweepLines(await Deno.readTextFile(join(folder, "broken", "sweeps", "tiny.jsonl")), "tiny.jsonl");
    assert.deepEqual(half.missing, [3, 4, 5, 6]);
    layers = 0;
    const resumed = await run("broken", { onLayer: () => void layers++ });
    assert.equal(layers, 7 + 14);
    assert.deepEqual(timeless(resumed.lines), timeless(whole.lines));
    assert.deepEqual(await blocks(join(folder, "broken")), await blocks(join(folder, "whole")));

    const began: string[] = [];
    const again = await run("broken", {
      onCell: (_i, _n, label) => void began.push(label),
      onLayer: () => void layers++,
    });
    assert.deepEqual([again.lines, began, layers], [resumed.lines, [], 7 + 14]);
  }));

Deno.test("runSweep() in shards leaves lines that joined are those of the whole", () =>
  inFolder(async (folder, text) => {
    const sweep = readSweep(text, "tiny.json"), joined: string[] = [];
    for (const index of [2, 1]) {
      const part = await runSweep(sweep, {
        ...quick,
        out: join(folder, `machine${index}`),
        shard: { index, count: 2 },
      });
      joined.push(await Deno.readTextFile(part.file));
    }
    assert.equal(readSweepLines(joined[0], "part").missing.length, 4);
    const { lines, missing } = readSweepLines(joined.join(""), "joined");
    const whole = await runSweep(sweep, { ...quick, out: join(folder, "whole") });
    assert.deepEqual(missing, []);
    assert.deepEqual(timeless(lines), timeless(whole.lines));

    const other = joined[0].replace(/"quantized":[\d.]+/, '"quantized":1');
    assert.throws(() => readSweepLines(joined.join("") + other, "joined"), /line 7: cell 3 is there twice/);
    assert.throws(() => readSweepLines(joined[0] + "{}\n", "joined"), /line 3: is no line of a sweep/);
  }));

Deno.test("shardOf() keeps every cell in exactly one shard, and one quantization on one machine", () =>
  inFolder((_folder, text) => {
    const { cells } = readSweep(text, "tiny.json");
    for (const count of [1, 2, 3, 5]) {
      const shards = Array.from({ length: count }, (_, i) => shardOf(cells, { index: i + 1, count }));
      assert.deepEqual(shards.flat().map((c) => c.cell).sort(), [1, 2, 3, 4, 5, 6]);
      for (const shard of shards) assert.equal(shard.length % 2, 0);
    }
    for (const bad of ["0/2", "3/2", "2", "a/b", "1/0"]) assert.throws(() => readShard(bad), LabError);
    return Promise.resolve();
  }));

Deno.test("recipeArguments() say exactly the recipe that they came from", async () => {
  const text = JSON.stringify({
    name: "all",
    base: { model: "some/folder with spaces", calibration: { text: "moby-dick", samples: 8, seqLen: 64 } },
    cases: [
      { method: "rtn", bits: 3 },
      { bits: 3.01, rank: 4, seed: 3, layers: "^0\\.", weakLayers: "q_proj", injected: 16, trueSequential: true },
      {
        bits: 3.2,
        options: { rule: "hessian", damp: 0.1, actOrder: true },
        evaluation: { text: "wikitext2", samples: 0 },
      },
      { method: "optq", bits: 4, budget: "stored", options: { groupSize: 32 } },
      { method: "optq", bits: 4, linearBits: { "0.mlp.down_proj": 2, "1.self_attn.q_proj": 3 } },
    ],
  });
  const info = { name: "owq quantize", summary: "", options: RECIPE_OPTIONS };
  for (const { recipe } of readSweep(text, "all.json").cells) {
    assert.deepEqual(await recipeOf(readArguments(info, recipeArguments(recipe))), recipe);
  }
});

Deno.test("readSweep() names the field that does not fit", () => {
  const refuses = (sweep: unknown, pattern: RegExp) =>
    assert.throws(
      () => readSweep(JSON.stringify(sweep), "s.json"),
      (e) => e instanceof LabError && pattern.test(e.message),
    );
  refuses([], /s\.json: \[\] is not an object/);
  refuses({}, /s\.json: name: nothing is not a name/);
  refuses({ name: "x", cells: [] }, /s\.json: cells: there is no such field.*cross/);
  refuses({ name: "x", base: { bits: "3" } }, /s\.json: base\.bits: "3" is not a number/);
  refuses({ name: "x", base: { calibration: { sample: 3 } } }, /base\.calibration\.sample: there is no such field/);
  refuses(
    { name: "x", base: { evaluation: { samples: 2.5 } } },
    /base\.evaluation\.samples: 2\.5 is not a whole number/,
  );
  refuses({ name: "x", cases: [{}, { options: { damp: null } }] }, /cases\[1\]\.options\.damp/);
  refuses(
    { name: "x", cases: [{ bits: 3.1 }, { options: { dump: 1 } }] },
    /cases\[1\] \(cell 2\): --set dump: owq has no/,
  );
  refuses({ name: "x", cases: [{ method: "owk" }] }, /cases\[0\].*"owk": unknown/);
  refuses({ name: "x", cross: { bits: 3 } }, /s\.json: cross\.bits: 3 is not a list/);
  refuses({ name: "x", cross: { "options.rule": ["hessian", "colour"] } }, /cell 2.*"colour" is not one of/);
  refuses({ name: "x", cross: { seed: [0, 0] } }, /cell 2: "OWQ 3\.1, seed 0" is the same experiment as cell 1/);
  assert.throws(() => readSweep("{", "s.json"), /s\.json: is no JSON/);
});

Deno.test("readSweep() takes the base's options to cases of its method only, and fills texts as the command line does", () => {
  const base = { options: { damp: 0.1 }, evaluation: { text: "moby-dick" } };
  const { cells } = readSweep(
    JSON.stringify({ name: "x", base, cases: [{ bits: 3.1 }, { method: "rtn", bits: 3 }] }),
    "s.json",
  );
  assert.equal(cells[0].recipe.options.damp, 0.1);
  assert.equal("damp" in cells[1].recipe.options, false);
  assert.deepEqual(cells[0].recipe.evaluation, { text: "moby-dick", samples: 32, seqLen: 256 });
});
