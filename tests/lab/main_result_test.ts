import assert from "node:assert/strict";
import { join } from "node:path";
import { type Case, compare, comparisonCases, type Row } from "../../lib/lab/compare.ts";
import {
  compareTexts,
  gapSentence,
  mainNumbers,
  textsFigure,
  textsSentence,
  textsTable,
} from "../../lib/lab/main_result.ts";
import { labPaths } from "../../lib/lab/paths.ts";
import { makeRecipe } from "../../lib/lab/recipe.ts";
import { readSweep } from "../../lib/lab/sweep_file.ts";

const row = (label: string, quantized: number) => ({ label, report: { ppl: { fp: 30, quantized } } }) as unknown as Row;
const variant = (label: string, p: number[]) => ({ label, rows: p.map((x) => row(label, x)) });

Deno.test("gapSentence() judges the differences under the same draws, not the draws", () => {
  const say = (a: number[], b: number[]) => gapSentence(variant("OWQ", a), variant("OPTQ", b));
  assert.match(say([40, 50], [41, 51.2]), /OWQ is 1\.1 below OPTQ, ± 0\.10 .* wins 2 of 2\. That is a difference\./);
  assert.match(say([40, 44], [43, 44.5]), /no difference that counts/);
  assert.match(say([50, 51], [40, 41]), /wins 0 of 2\. That is a difference the other way/);
  assert.match(say([40], [50]), /no difference that counts/);
});

Deno.test("compareTexts() gives on each text what an experiment on that text alone gives", async () => {
  const folder = await Deno.makeTempDir(), texts = ["sotu", "moby-dick"];
  const window = { samples: 2, seqLen: 64 };
  const common = {
    model: "fixture",
    calibration: { text: "moby-dick", ...window },
    evaluation: { text: "sotu", ...window },
  };
  const cases: Case[] = [{ label: "RTN 2", method: "rtn", bits: 2 }, { label: "RTN 3", method: "rtn", bits: 3 }];
  try {
    const groups = await compareTexts(common, cases, texts, { folder: join(folder, "a") });
    assert.deepEqual(groups.map((g) => g.text), texts);
    for (const g of groups) {
      const alone = await compare({ ...common, evaluation: { text: g.text, ...window } }, cases, {
        folder: join(folder, "b"),
      });
      assert.deepEqual(g.rows.map((r) => r.report.ppl), alone.map((r) => r.report.ppl));
    }
    assert.notEqual(groups[0].rows[0].report.ppl.fp, groups[1].rows[0].report.ppl.fp);
    const numbers = mainNumbers(groups, {});
    assert.equal(numbers["RTN 3 on moby-dick/perplexity"].value, groups[1].rows[1].report.ppl.quantized);
    assert.deepEqual(textsTable(groups).rows[2].slice(2), groups.map((g) => g.rows[1].report.ppl.quantized));
    assert.equal(textsFigure(groups).data.length, 2);
    assert.match(textsSentence(groups), /No two of the 2 rows change places/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("The sweep of SmolLM2 is notebook 13's own list", async () => {
  const calibration = { text: "moby-dick", samples: 8, seqLen: 512 },
    evaluation = { text: "sotu", samples: 8, seqLen: 512 };
  const headline = comparisonCases("3", "3.1").filter((c) => c.method !== "rtn");
  const wanted = [
    ...comparisonCases("3 4", "3.01 3.05 3.1 3.2 4.01").flatMap((c) =>
      ["sotu", "moby-dick", "wikitext2"].map((text) => ({ ...c, evaluation: { ...evaluation, text } }))
    ),
    ...headline.flatMap((c) =>
      ["moby-dick", "sotu"].flatMap((text) =>
        [0, 1, 2].map((seed) => ({ ...c, seed, calibration: { ...calibration, text } }))
      )
    ),
  ].map((c) => JSON.stringify(makeRecipe({ calibration, evaluation, ...c, model: "smollm2" })));
  const path = join(labPaths().notebooks, "sweeps", "13-main-result.smollm2.json");
  const cells = readSweep(await Deno.readTextFile(path), path).cells.map((c) => JSON.stringify(c.recipe));
  assert.deepEqual(cells.sort(), [...new Set(wanted)].sort());
});
