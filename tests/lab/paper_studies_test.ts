import assert from "node:assert/strict";
import { join } from "node:path";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { spectrumOf } from "../../lib/lab/calibration_study.ts";
import { numberList } from "../../lib/lab/grid_cost.ts";
import { rankCases, saturation, saturationSentence, targetCases } from "../../lib/lab/column_count.ts";
import { ruleCases } from "../../lib/lab/column_choice.ts";
import type { Row } from "../../lib/lab/compare.ts";
import type { StudyLayer } from "../../lib/lab/layer_study.ts";
import { labPaths } from "../../lib/lab/paths.ts";
import { makeRecipe, type RecipeInput } from "../../lib/lab/recipe.ts";
import { readSweep } from "../../lib/lab/sweep_file.ts";
import {
  aloneSentence,
  bitsToReach,
  groupCases,
  groupedWeakCase,
  kindRatios,
  kindRatioSentence,
  overheadSentence,
  weakCases,
} from "../../lib/lab/overhead.ts";
import { taskCases } from "../../lib/lab/tasks/task_study.ts";
import { cutOf, truncationCases } from "../../lib/lab/truncation.ts";
import { dampCases, lengthCases, sampleCases, textCases } from "../../lib/lab/calibration_study.ts";
import { type Variant, variantNumbers, variantSentence, withSpread } from "../../lib/lab/variants.ts";
import { subsetCases, subsetLabels, subsetSentence } from "../../lib/lab/weak_subsets.ts";
import { workOrderCases, workOrderLabels, workOrderSentence } from "../../lib/lab/work_order.ts";
import { OWQ_DEFAULTS } from "../../lib/quant/owq.ts";
import { rng } from "../../lib/io/rng.ts";
import { SENSITIVITY_RULES } from "../../lib/quant/sensitivity.ts";
import { assertRelative } from "../assert.ts";

/** A row with nothing in it but what sentences read. */
function row(label: string, quantized: number, rank: number | null = null): Row {
  const report = { ppl: { fp: 30, quantized }, bits: { nominal: 3, stored: 3.1 }, layers: [], provenance: {} };
  return { label, recipe: { rank }, report } as unknown as Row;
}

Deno.test("saturation() finds the steep step and the flat tail, and says when there is none", () => {
  const curve = (p: number[]) => p.map((v, i) => ({ label: "", rows: [row("", v, [0, 1, 2, 4, 8, 16][i])] }));
  assert.deepEqual(saturation(curve([60, 45, 41, 40.5, 40.2, 40])), { gain: 20, first: 0.75, half: 1, most: 2 });
  assert.match(
    saturationSentence(curve([60, 45, 41, 40.5, 40.2, 40])),
    /weakest column brings 75 %.*the curve is flat/,
  );
  assert.match(saturationSentence(curve([60, 59, 58, 56, 52, 44])), /has not saturated/);
});

Deno.test("variantSentence() trusts an order only where it stands well beyond the spread over seeds", () => {
  const v = (label: string, p: number[]) => ({ label, rows: p.map((x) => row(label, x)) });
  assert.match(
    variantSentence([v("b", [50, 51]), v("a", [40, 40.5])]),
    /^Best first by perplexity: a .*< b .*well beyond/,
  );
  assert.match(variantSentence([v("b", [40, 42]), v("a", [40.5, 41])]), /not to be trusted/);
  assert.match(variantSentence([v("b", [40]), v("a", [41])]), /one seed only/);
  assert.equal(withSpread([40, 42]), "41.00 ± 1.00");
  assert.deepEqual(variantNumbers([v("a", [40, 42])])["a/perplexity"].value, [40, 42]);
});

Deno.test("cutOf() puts the harm of clipping where a loud input meets a large weight, and into the weak columns", async () => {
  const rows = 16, cols = 32, stream = rng(7, "weights"), data = new Float32Array(rows * cols);
  for (let i = 0; i < data.length; i++) data[i] = stream.float() + stream.float() + stream.float() - 1.5;
  for (let r = 0; r < rows; r++) data[r * cols + 5] *= 8; // only here a weight is far from the crowd
  const hessian = new Float32Array(cols * cols);
  for (let j = 0; j < cols; j++) hessian[j * cols + j] = j === 5 ? 400 : 1;
  const layer = {
    name: "0.q",
    weight: { data, rows, cols },
    hessian: { data: hessian, rows: cols, cols },
    seed: 0,
  } as unknown as StudyLayer;
  const kernels = await openKernels("cpu");
  const [cut, none] = [
    await cutOf(layer, OWQ_DEFAULTS, 1, { kernels }),
    await cutOf(layer, OWQ_DEFAULTS, 0, { kernels }),
  ];
  kernels.close();
  assert(cut.share < 1 && cut.shareWithout !== cut.share, JSON.stringify(cut));
  assert(cut.harmInWeak > 0.95 && cut.clipped > 0 && cut.clipped < 0.2, JSON.stringify(cut));
  assert.deepEqual([none.harmInWeak, none.chance, none.shareWithout], [0, 0, none.share]);
});

Deno.test("spectrumOf() sees the rank of a sum of outer products and the few directions that carry it", () => {
  const n = 12, stream = rng(3, "directions"), h = new Float32Array(n * n);
  for (let k = 0; k < 4; k++) {
    const v = Array.from({ length: n }, () => stream.float() - 0.5);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) h[i * n + j] += v[i] * v[j];
  }
  const s = spectrumOf({ data: h, rows: n, cols: n });
  assert.equal(s.rank, 4);
  assert(s.effective > 1 && s.effective <= 4);
  assertRelative(s.values.reduce((a, b) => a + b, 0), n, 1e-5, "eigenvalues over their mean sum to n");
});

/** A variant that stores so many bits and leaves such errors, by layer. */
function stored(label: string, bits: number, quantized: number, errors: Record<string, number> = {}): Variant {
  const layers = Object.entries(errors).map(([name, objective]) => ({ name, objective, weak: [] }));
  const report = { ppl: { fp: 30, quantized }, bits: { stored: bits }, layers };
  return { label, rows: [{ label, report }] } as unknown as Variant;
}

Deno.test("overheadSentence() says who gets more for the same bits, and at what overhead the winner has the loser's quality", () => {
  const groups = [stored("OPTQ", 2.1, 40), stored("g", 2.3, 36), stored("g", 2.6, 34)];
  const weak = [stored("none", 2.1, 40), stored("w", 2.3, 39), stored("w", 2.6, 38)];
  assert.match(
    overheadSentence(groups, weak, 2),
    /2\.60 and 2\.60 bits groups are ahead by 12 %.*columns reach with 0\.60 .*about 0\.20/,
  );
  assert.match(
    overheadSentence(weak, groups, 2),
    /weak columns are ahead.*groups reach with 0\.60.*weak columns reach with about 0\.20/,
  );
  assert.equal(bitsToReach([2, 2.5, 3], [40, 30, 28], 30), 2.5);
});

Deno.test("kindRatios() hears every kind of linear where the sum over layers hears one", () => {
  const a = stored("groups", 2.5, 36, {
    "0.self_attn.o_proj": 1,
    "0.mlp.down_proj": 90,
    "1.self_attn.o_proj": 1,
    "1.mlp.down_proj": 108,
  });
  const b = stored("weak", 2.5, 38, {
    "0.self_attn.o_proj": 2,
    "0.mlp.down_proj": 45,
    "1.self_attn.o_proj": 8,
    "1.mlp.down_proj": 54,
  });
  const [o, down] = kindRatios(a, b);
  assertRelative(o.ratio, 4, 1e-12, "the geometric mean of 2 and 8");
  assert.deepEqual([o.share, down.ratio, down.share], [0.01, 0.5, 0.99]);
  assert.match(
    kindRatioSentence(a, b),
    /less error in down \(0\.50\), groups in o \(4\.00\).*99 % of the sum.*groups win 1\.0 %/,
  );
  const [ga, gb] = [a, b].map((v) => ({ ...v, label: "down only, groups" }));
  assert.match(aloneSentence([ga, b]), /down alone .* 0\.55 times .*less error, and the worse model/);
  assert.match(aloneSentence([gb, a]), /more error, and the better model/);
});

Deno.test("workOrderCases() and subsetCases() change one thing each, and their sentences compare with the plain row", () => {
  const [plain, act, sequential, both] = workOrderCases("owq", 3.01).map((c) => makeRecipe(c));
  assert.deepEqual([plain, act, sequential, both].map((r) => [r.options.actOrder, r.trueSequential]), [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ]);
  const ran = [["OWQ", 40], ["OWQ, act-order", 39], ["OWQ, both", 41]].map(([l, p]) => stored(String(l), 3, Number(p)));
  assert.equal(workOrderSentence(ran), "OWQ with act-order: −2.5 %; OWQ with both: +2.5 % in perplexity.");
  assert.deepEqual(workOrderLabels(ran), ["OWQ", "OWQ act", "OWQ act seq"]);
  const [qk, down] = subsetCases("q_proj k_proj; down_proj", 3.1), name = "3.self_attn.k_proj";
  assert(new RegExp(qk.weakLayers!).test(name) && !new RegExp(down.weakLayers!).test(name));
  const [none, all] = [stored("no weak columns", 3, 40), stored("columns in all linears", 3, 36)];
  assert.match(subsetSentence(none, all, [stored(qk.label, 3, 39)]), /40\.00 to 36\.00, 10 %\. .*q, k only 25 %/);
  assert.match(subsetSentence(all, none, [all]), /no gain to share/);
  assert.deepEqual(subsetLabels([none, all, stored(qk.label, 3, 39)]), ["none", "all", "q k"]);
});

Deno.test("The sweeps of SmolLM2 are the very experiments of their notebooks", async () => {
  const text = { text: "moby-dick", samples: 16, seqLen: 512 }, wide = ["07-grid-search", "08-calibration"];
  const studies: Record<string, RecipeInput[]> = {
    "05-columns": [
      ...ruleCases(SENSITIVITY_RULES, 3.01),
      ...ruleCases(SENSITIVITY_RULES, 3.01, 16),
    ],
    "06-how-many": [
      ...rankCases(numberList("0 1 4 16 64"), 3),
      ...rankCases(numberList("0 4 16"), 3, 16),
      ...targetCases(numberList("3.01 3.1 3.2")),
    ],
    "07-grid-search": truncationCases(3, 3.01),
    "08-calibration": [
      ...sampleCases("optq", 3, [1, 4, 16], text),
      ...sampleCases("owq", 3.01, [1, 4, 16], text),
      ...lengthCases(3.01, [64, 512], text),
      ...textCases(3.01, ["moby-dick", "sotu"], text),
      ...dampCases(3.01, [0.001, 0.01, 0.1], text),
    ],
    "09-groups": [
      ...workOrderCases("optq", 3, ["", ", both"]),
      ...groupCases([3.15, 3.3]),
      ...rankCases([0], 3),
      ...weakCases([3.15, 3.3]),
      groupedWeakCase(3.3, 144),
      ...workOrderCases("owq", 3.01),
      { label: "columns in all linears", method: "owq", bits: 3.1 },
      ...subsetCases("q_proj k_proj", 3.1),
    ],
    "10-tasks": taskCases(3, 3.1),
  };
  for (const [name, cases] of Object.entries(studies)) {
    const path = join(labPaths().notebooks, "sweeps", `${name}.smollm2.json`);
    const cells = readSweep(await Deno.readTextFile(path), path).cells.map((c) => JSON.stringify(c.recipe));
    const samples = wide.includes(name) ? 16 : 8; // the others had to fit into the recorded hours
    const common = { calibration: { ...text, samples }, evaluation: { text: "sotu", samples, seqLen: 512 } };
    const wanted = cases.map((c) => JSON.stringify(makeRecipe({ ...common, ...c, model: "smollm2" })));
    assert.deepEqual(cells.sort(), [...new Set(wanted)].sort(), name);
  }
});
