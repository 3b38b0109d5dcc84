import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import type { Figure } from "../../lib/lab/figure.ts";
import {
  bitSentence,
  groupFigure,
  partsFigure,
  perplexityByBitsFigure,
  perplexitySentence,
  rangeFigure,
  rowFigure,
  staircaseFigure,
  surfaceFigure,
  widthFigure,
} from "../../lib/lab/grid_figures.ts";
import { errorByGroups } from "../../lib/lab/grid_cost.ts";
import { lossSurface, minmaxGridOf, rangeCurve, rowOf } from "../../lib/lab/grid_study.ts";
import {
  calmestProfile,
  compareInjected,
  findProfile,
  injectedTable,
  profilesOfKind,
} from "../../lib/lab/injection_study.ts";
import { openStudy, type StudyLayer } from "../../lib/lab/layer_study.ts";
import {
  countFigure,
  decideFigure,
  factorFigure,
  inputFigure,
  lorenzFigure,
  mapFigure,
  scoreFigure,
} from "../../lib/lab/outlier_figures.ts";
import { errorAgainstCount, overlapOfRules, profileLayers, scoreMap } from "../../lib/lab/outlier_study.ts";
import {
  concentrationTable,
  exactShareSentence,
  outlierSentence,
  overlapTable,
  winnerSentence,
} from "../../lib/lab/outlier_tables.ts";
import { firstSentences } from "../../lib/lab/tour.ts";
import { OWQ_DEFAULTS } from "../../lib/quant/owq.ts";
import { SENSITIVITY_RULES } from "../../lib/quant/sensitivity.ts";
import { assertRelative } from "../assert.ts";
import { randomProblem } from "../quant/problems.ts";

const context = { kernels: await openKernels("cpu") }, options = { ...OWQ_DEFAULTS, bits: 3 };

function layers(tag = ""): StudyLayer[] {
  return [0, 1, 2].map((block) => {
    const problem = randomProblem(12, 24, { seed: block + 1, outliers: [7] }), name = `${block}.self_attn.q_proj`;
    const linear = { name: "self_attn.q_proj", out: 12, in: 24, input: "attention", stage: 0, ratio: 1, bias: false };
    return { ...problem, name, label: name + tag, block, linear, hessian: problem.hessian!, windowLength: 96 };
  });
}

/** What every figure owes its reader. */
function checkFigure(f: Figure): void {
  const { xaxis, yaxis } = f.layout as Record<"xaxis" | "yaxis", { title: { text: string } }>;
  for (const axis of [xaxis, yaxis]) assert.ok(axis.title.text.length > 2, `${f.title}: an axis without a name`);
  assert.ok(f.caption.length > 20 && !/cannot be drawn/.test(f.caption), `${f.title}: ${f.caption}`);
  assert.ok(!/NaN|Infinity/.test(JSON.stringify(f.data)), f.title);
}

Deno.test("the figures of the grid draw every value and name their axes", () => {
  const { weight } = layers()[0], row = rowOf(weight, 0), points = rangeCurve(row, 3, 20);
  const errors = [2, 3].map((bits) => ({ bits, symmetric: 0.2 / bits, minmax: 0.3 / bits, searched: 0.1 / bits }));
  for (
    const f of [
      rowFigure(row, minmaxGridOf(row, { bits: 3 }), "row"),
      staircaseFigure(row, { minmax: minmaxGridOf(row, { bits: 3 }) }, "row"),
      partsFigure(points, "row"),
      rangeFigure(new Map([[3, points]]), "row"),
      surfaceFigure(lossSurface(row, 2, 10), "row"),
      widthFigure(errors, "w"),
      groupFigure(errorByGroups(weight, [3, 4], [0, 8]), "w"),
      perplexityByBitsFigure([{ bits: 3, perplexity: 20 }], 15, "model"),
    ]
  ) checkFigure(f);
  const points2 = [{ bits: 2, perplexity: 30 }, { bits: 8, perplexity: 19.99 }];
  assert.equal(perplexitySentence(points2, 20), "Perplexity against float: 8 bits −0.05 %, 2 bits +50.0 %.");
  assert.match(bitSentence(errors, 3, 2), /grows 1\.5-fold.*1\.5-fold/);
  assert.throws(() => bitSentence(errors, 4, 3), RangeError);
});

Deno.test("the figures of the columns draw every value, name their axes and mark the weak ones", async () => {
  const all = layers(), profiles = await profileLayers(all, options, context);
  const points = await errorAgainstCount(all[0], SENSITIVITY_RULES, [0, 2], options, context);
  for (
    const f of [
      inputFigure(profiles[0]),
      scoreFigure(profiles[0], 2),
      factorFigure(profiles[0], 2),
      lorenzFigure(profiles),
      mapFigure(scoreMap(profiles), "q"),
      countFigure(points, "plain", "q"),
      countFigure(points, "compensated", "q"),
      decideFigure(profiles),
    ]
  ) checkFigure(f);
  const weak = scoreFigure(profiles[0], 1).data.find((d) => /weakest/.test(String(d.name)));
  assert.deepEqual(weak?.x, [7]);
  assert.equal(concentrationTable(profiles).rows[0][6], 1);
  assert.match(
    overlapTable(overlapOfRules(profiles, ["hessian", "random"], 6), ["hessian", "random"], 6, profiles).caption,
    /25\.0 %/,
  );
  assert.match(winnerSentence(points, "plain"), /of the 1 numbers of columns: OWQ: input × rounding \(1\)/);
  assert.match(
    await exactShareSentence(all[0], profiles[0], 24, options, context),
    /24 weakest of 24 columns carry 100 %.* it is 100 %/,
  );
});

Deno.test("outlierSentence() says which kinds have outliers, and that none has where none has", async () => {
  const loud = await profileLayers(layers(), options, context);
  assert.match(outlierSentence(loud), /^3 of these 3 layers have outlier inputs .*: self_attn\.q_proj\./);
  const calm = loud.map((p) => ({ ...p, inputRms: new Float64Array(24).fill(1) }));
  assert.match(outlierSentence(calm), /^None of these 3 layers/);
});

Deno.test("a model with outliers injected says so in every label and computes the same", async () => {
  const text = { text: "moby-dick", samples: 2, seqLen: 64, seed: 0 };
  const [natural, loud] = [await openStudy("fixture", text), await openStudy("fixture", { ...text, injected: 16 })];
  try {
    const pair = await compareInjected(natural, loud, "1.self_attn.q_proj", 4, options, context), [a, b] = pair.sides;
    assertRelative(b.perplexity, a.perplexity, 1e-4);
    assert.ok(b.rounded > a.rounded && b.kept < b.rounded, "harder to round, and the weak columns are why");
    assert.match(b.label, /outliers injected × 16/);
    assert.match(loud.files.note, /outliers injected/);
    for (
      const f of [
        inputFigure(b.profile),
        scoreFigure(b.profile, 4),
        decideFigure([b.profile]),
        lorenzFigure([b.profile]),
      ]
    ) {
      assert.match(f.title, /outliers injected × 16/);
    }
    assert.match(injectedTable(pair).columns[2], /outliers injected/);
    assert.throws(() => findProfile(pair.profiles, "9.q"), /"9\.q" was not profiled.*1\.self_attn\.q_proj/);
    const flat = { ...a.profile, label: "flat", score: a.profile.score.map(() => 1) };
    assert.equal(calmestProfile([a.profile, flat, b.profile]).label, "flat");
    assert.throws(() => calmestProfile([]), /norm's output/);
    assert.equal(profilesOfKind(pair.profiles, "query_key_value").length, 2); // families without q_proj
  } finally {
    natural.close();
    loud.close();
  }
});

Deno.test("firstSentences() cuts after closing quotes and joins lines", () => {
  assert.equal(firstSentences('He said "Go." Then\nhe  went. And', 2), 'He said "Go." Then he went.');
  assert.equal(firstSentences("", 1), "…");
});
